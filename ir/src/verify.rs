//! The verifier: what must hold of every module between any two passes.
//!
//! Result types are inferred again and compared; ops are legal in the module's stage; constants and
//! functions exist with the types that are claimed; there is no cycle among ops or functions; and the values of a
//! kernel lie in one domain.

use rustc_hash::FxHashSet;

use crate::domain::Domain;
use crate::error::{Error, Place};
use crate::eval::MAX_DEPTH;
use crate::graph::{Def, Graph, NodeId, Value};
use crate::module::{FunctionKind, MAIN, Module};
use crate::op::{Demands, Stage};
use crate::ops::Op;
use crate::ty::Type;

/// Checks the whole module; the first broken rule is the error.
pub fn verify(module: &Module) -> Result<(), Error> {
    if module.main().is_none() {
        return Err(whole(MAIN, "the module has no such function"));
    }
    for (name, function) in &module.functions {
        verify_function(module, name, &function.graph)?;
    }
    let mut done = FxHashSet::default();
    for name in module.functions.keys() {
        no_recursion(module, name, &mut vec![], &mut done)?;
    }
    Ok(())
}

fn verify_function(module: &Module, name: &str, graph: &Graph) -> Result<(), Error> {
    if graph.outputs().is_empty() {
        return Err(whole(name, "the function has no results"));
    }
    // Where nothing is compiled, what were kernels are functions as any other.
    let takes_constants =
        module.functions[name].kind == FunctionKind::Kernel || module.stage == Stage::Kernel && name != MAIN;
    if !takes_constants && let Some(param) = graph.params().iter().find(|p| graph.is_constant_param(**p)) {
        return Err(whole(name, &format!("`%{}` is const, which is for kernels", graph.name(*param))));
    }
    let order = graph
        .try_order()
        .map_err(|node| Place::new(name, graph, node).verify("the value depends on itself"))?;
    for node in order {
        verify_node(module, name, graph, node)?;
    }
    if module.stage == Stage::Kernel && module.functions[name].kind == FunctionKind::Kernel {
        Domain::of(graph).map_err(|stray| Place::new(name, graph, stray.node).verify(stray.message))?;
    }
    Ok(())
}

fn verify_node(module: &Module, name: &str, graph: &Graph, node: NodeId) -> Result<(), Error> {
    let fail = |message: String| Err(Place::new(name, graph, node).verify(message));
    let op = match graph.def(node) {
        Def::Param { .. } | Def::Literal(_) => return Ok(()),
        Def::Const(key) => {
            let claimed = graph.results(node).map(|v| graph.ty(v).clone()).next();
            return match module.consts.get(key).map(|t| t.ty()) {
                None => fail(format!("no constant `@{key}`")),
                Some(ty) if Some(&ty) != claimed.as_ref() => {
                    fail(format!("constant `@{key}` is {ty}, used as {}", claimed.expect("one result")))
                }
                Some(_) => Ok(()),
            };
        }
        Def::Op(op) => op,
    };
    let (first, last) = op.kind().stages();
    if module.stage < first || module.stage > last {
        return fail(format!("not legal in stage `{}`", module.stage.name()));
    }
    let operands = graph.operands(node);
    if let Op::Call(call) = op
        && let Some(callee) = module.functions.get(&call.f.0).map(|f| &f.graph)
    {
        let mut passed = operands.iter().zip(callee.params());
        let is_constant = |v: Option<Value>| v.is_some_and(|v| graph.const_key(v).is_some());
        if let Some((_, param)) = passed.find(|(v, p)| callee.is_constant_param(**p) && !is_constant(**v)) {
            return fail(format!("`%{}` of `@{}` has to be a constant", callee.name(*param), call.f.0));
        }
    }
    let types: Vec<_> = operands.iter().map(|o| o.map(|v| graph.ty(v))).collect();
    let demands = Demands::new(module);
    let inferred = op.infer(&types, &demands).map_err(|e| Place::new(name, graph, node).verify(e))?;
    if module.functions[name].kind == FunctionKind::Kernel
        && let Some((a, b)) = demands.into_pairs().iter().find(|(a, b)| !module.implies(a, b))
    {
        return fail(format!("`{a}` and `{b}` have to be equal, which nothing says"));
    }
    if inferred.len() != graph.results(node).len() {
        return fail(format!("has {} results, not {}", inferred.len(), graph.results(node).len()));
    }
    for (value, ty) in graph.results(node).zip(&inferred) {
        let alike = |a: &Type, b: &Type| {
            let dims = |t: &Type| t.dims.iter().map(|d| module.simplified(d)).collect::<Vec<_>>();
            a == b || a.elem == b.elem && a.rank() == b.rank() && dims(a) == dims(b)
        };
        if !alike(graph.ty(value), ty) {
            return fail(format!("`%{}` has type {ty}, not {}", graph.name(value), graph.ty(value)));
        }
    }
    Ok(())
}

/// Functions may call one another, but none itself, and not without end.
fn no_recursion(
    module: &Module,
    name: &str,
    path: &mut Vec<String>,
    done: &mut FxHashSet<String>,
) -> Result<(), Error> {
    if path.iter().any(|p| p == name) {
        return Err(whole(name, "the function calls itself"));
    }
    if path.len() > MAX_DEPTH {
        return Err(whole(name, &format!("calls nest deeper than {MAX_DEPTH}")));
    }
    let Some(function) = module.functions.get(name) else { return Ok(()) };
    if done.contains(name) {
        return Ok(());
    }
    path.push(name.into());
    for node in function.graph.order() {
        for callee in function.graph.op(node).map(|op| op.callees()).unwrap_or_default() {
            no_recursion(module, &callee, path, done)?;
        }
    }
    path.pop();
    done.insert(name.to_string());
    Ok(())
}

fn whole(function: &str, message: &str) -> Error {
    let place = Place { function: function.into(), value: String::new(), op: None, loc: None };
    Error::Verify { place, message: message.into() }
}
