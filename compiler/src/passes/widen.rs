//! `f(x: f16)  →  cast(f(cast(x: f32)): f16)` for every op of f16 and bf16, and `cast(cast(x: f16): f32)  →  x`
//!
//! Lossy, and only on request, though what is lost is rounding: a model of halves becomes one of f32, whose inputs and
//! outputs keep their types. Weights are exact in f32, and all that is known of f32 models is known of it: rotary
//! embeddings, norms and the model's own int8 rows are found, and kernels have no conversions. Tables whose rows are read
//! stay as they are, and so do caches.

use trine_ir::ops::Gather;
use trine_ir::{Elem, Kind, Module, NodeId, Op, Value};

use super::fold_constants::is_pure;
use super::widen_halves::{is_cache, is_half, narrow, wide};
use crate::pass::{Cx, PassError};
use crate::pattern::{Refusal, Rewrite, Rule, any, cast, refuse, rule};

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let mut count = 0;
    for (name, function) in &mut module.functions {
        let mut g = Rewrite::new(&mut function.graph, &mut module.consts);
        for node in g.graph().order() {
            match g.graph().op(node).cloned().filter(|op| computes(&g, node, op)) {
                Some(op) => match widen(&mut g, node, op) {
                    Ok(()) => count += 1,
                    Err(refusal) => cx.miss("widen", name, g.graph(), node, refusal),
                },
                None => continue,
            }
        }
    }
    Ok(count + cx.apply(module, &[not_rounded()]))
}

/// Whether the op makes or reads halves, by computing or by moving what is computed.
fn computes(g: &Rewrite, node: NodeId, op: &Op) -> bool {
    let operands = g.graph().operands(node);
    let mut values = g.graph().results(node).chain(operands.iter().copied().flatten());
    let halves = values.any(|v| is_half(g.ty(v).elem));
    let is_param = |v: &Value| g.graph().params().contains(v);
    let stays = match op.kind() {
        Kind::Cast | Kind::Shape | Kind::Size => true,
        // A table whose rows are read, and a cache that grows.
        Kind::Gather => operands[Gather::x].is_some_and(|table| g.scope().is_known(table)),
        Kind::Concat => operands.iter().flatten().any(is_param),
        _ => false,
    };
    halves && is_pure(op) && !stays
}

fn widen(g: &mut Rewrite, node: NodeId, mut op: Op) -> Result<(), Refusal> {
    if let Op::Rotary(rotary) = &mut op {
        rotary.rounded = None;
    }
    let mut args = g.graph().operands(node);
    for (slot, arg) in args.iter_mut().enumerate() {
        if let Some(v) = arg.filter(|v| is_half(g.ty(*v).elem) && !is_cache(&op, slot)) {
            *arg = Some(wide(g, v)?);
        }
    }
    let new = g.add_node(op, &args)?;
    let pairs: Vec<(Value, Value)> = g.graph().results(node).zip(g.graph().results(new)).collect();
    for (old, new) in &pairs {
        let (old, new) = (g.ty(*old), g.ty(*new));
        if new != old && !(is_half(old.elem) && *new == old.with(Elem::F32)) {
            return refuse(format!("{old} would become {new}"));
        }
    }
    for (old, mut new) in pairs {
        let elem = g.ty(old).elem;
        if g.ty(new).elem != elem {
            new = narrow(g, new, elem)?;
        }
        g.replace(old, new)?;
    }
    Ok(())
}

/// What was rounded to halves and is f32 again.
fn not_rounded() -> Rule {
    let x = any();
    let halves = cast(&x);
    let root = cast(&halves);
    rule("not-rounded", root.clone(), move |m, g| {
        let elem = |v| g.ty(v).elem;
        match (elem(m[&x]), elem(m[&halves]), elem(m[&root])) {
            (Elem::F32, half, Elem::F32) if is_half(half) => Ok(m[&x]),
            (from, by, to) => refuse(format!("a cast from {from} by {by} to {to}")),
        }
    })
}
