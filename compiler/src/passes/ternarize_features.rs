//! `f(x)  →  f(sign(x)·1[|x| > τ])`, or `f(1[x > τ])`, for all that reads one value
//!
//! Features of few values can tell classes apart better than those they are made of (arXiv 2504.13792); `trine features`
//! says which `τ` is the best. A linear layer that reads them, once its weights are ternary too, sums integers without
//! a multiplication: int8 activations hold -1, 0 and 1 with one scale, exactly. Lossy, and only by name. Options: those of
//! [`Features`].

use trine_ir::ops::{Abs, Cast, Greater, Matmul, ReduceMean, TernarySign};
use trine_ir::{Elem, Graph, Literal, MAIN, Module, OpResult, Value};

use super::ternarize::last_linear;
use crate::discrimination::Form;
use crate::pass::{Cx, PassError};
use crate::rounding::{Features, Request};

const NAME: &str = "ternarize-features";

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let refused = |message: String| PassError::Refused { pass: NAME, message };
    let Features { form, threshold, value } = Features::read(&cx.options)?;
    if value.is_none() && last_linear(module).is_none() {
        cx.note("no linear layer reads features");
        return Ok(0);
    }
    let value = features(module, value.as_deref()).map_err(refused)?;
    let Some(function) = module.functions.get_mut(MAIN) else { return Ok(0) };
    let graph = &mut function.graph;
    let users = graph.users(value);
    if users.is_empty() {
        return Err(refused(format!("no op reads `%{}`", graph.name(value))));
    }
    let rounded = round(graph, value, threshold, form).map_err(|e| refused(e.0))?;
    for (user, slot) in users {
        graph.set_operand(user, slot, Some(rounded));
    }
    let beyond = threshold.map_or("their mean magnitude".into(), |t| t.to_string());
    cx.note(format!("`%{}`: {} features beyond {beyond}", graph.name(value), form.name()));
    Ok(1)
}

/// The value of `@main` that is called `name`, or what the last linear layer reads; the message says why there is none.
pub(crate) fn features(module: &Module, name: Option<&str>) -> Result<Value, String> {
    let graph = &module.main().ok_or("there is no `@main`")?.graph;
    let value = match name {
        None => {
            let layer = last_linear(module).ok_or("there is no linear layer with known weights")?;
            graph.operand(layer, Matmul::a).ok_or("the last linear layer reads nothing")?
        }
        Some(name) => {
            let mut values = graph.order().into_iter().flat_map(|node| graph.results(node));
            let named = values.find(|v| graph.name(*v) == name);
            named.ok_or_else(|| format!("`@main` has no value `%{}`", name.escape_debug()))?
        }
    };
    match graph.ty(value).elem {
        Elem::F32 if graph.const_key(value).is_none() => Ok(value),
        _ => Err(format!("`%{}` is {}, and features are of f32", graph.name(value), graph.ty(value))),
    }
}

fn round(graph: &mut Graph, x: Value, threshold: Option<f32>, form: Form) -> OpResult<Value> {
    let threshold = match (threshold, graph.ty(x).rank().checked_sub(1)) {
        (Some(threshold), _) => graph.literal(Literal::F32(threshold)),
        (None, None) => return Err("a scalar has no axis to take a mean along".into()),
        (None, Some(last)) => {
            let magnitude = graph.add(Abs {}, &[x])?;
            graph.add(ReduceMean { axes: vec![last], keepdims: true }, &[magnitude])?
        }
    };
    if form == Form::Ternary {
        return graph.add(TernarySign {}, &[x, threshold]);
    }
    let above = graph.add(Greater {}, &[x, threshold])?;
    graph.add(Cast { to: Elem::F32 }, &[above])
}
