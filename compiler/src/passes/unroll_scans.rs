//! `scan(body, s, xs)  →  body(… body(body(s, xs[0]), xs[1]) …, xs[n-1])` for a few steps, whose number is known
//!
//! A loop is run by the interpreter, and what a loop holds becomes no kernel. Steps one after the other do; those that
//! are alike share one.

use rustc_hash::FxHashMap;
use trine_ir::ops::{Concat, Reshape, Scan, Split};
use trine_ir::{Def, Dim, Graph, Module, NodeId, Op, Value};

use crate::pass::{Cx, PassError};
use crate::pattern::{Refusal, Rewrite, refuse};

const NAME: &str = "unroll-scans";

/// Ops that a loop may become.
const MAX_NODES: usize = 4096;

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let mut count = 0;
    for name in module.functions.keys().cloned().collect::<Vec<_>>() {
        // Taken out, so that bodies can be read meanwhile.
        let mut graph = std::mem::take(&mut module.functions[&name].graph);
        for node in graph.order() {
            let Some(Op::Scan(scan)) = graph.op(node).cloned() else { continue };
            match unroll(module, &mut graph, node, &scan) {
                Ok(()) => count += 1,
                Err(refusal) => cx.miss(NAME, &name, &graph, node, refusal),
            }
        }
        module.functions[&name].graph = graph;
    }
    // Functions that nothing calls any more.
    drop_uncalled(module);
    Ok(count)
}

fn unroll(module: &mut Module, graph: &mut Graph, node: NodeId, scan: &Scan) -> Result<(), Refusal> {
    let Some(body) = module.functions.get(&scan.body.0).map(|f| f.graph.clone()) else {
        return refuse("its body calls it");
    };
    let args: Vec<Value> = graph.operands(node).into_iter().flatten().collect();
    let (states, rest) = args.split_at(scan.states);
    let (sequences, captures) = rest.split_at(scan.axes.len());
    let length =
        sequences.first().zip(scan.axes.first()).and_then(|(s, axis)| graph.ty(*s).dims[*axis].as_const());
    let Some(length) = length else { return refuse("the number of steps is not known") };
    let ops = body.order().iter().filter(|node| body.op(**node).is_some()).count();
    match length.checked_mul(ops) {
        None => return refuse("too many steps"),
        Some(0) if length == 0 => return refuse("there are no steps"),
        Some(n) if n > MAX_NODES => return refuse(format!("{n} ops of {length} steps are too many")),
        Some(_) => {}
    }
    let mut g = Rewrite::new(graph, &mut module.consts);
    let mut elements = vec![];
    for ((sequence, axis), reverse) in sequences.iter().zip(&scan.axes).zip(&scan.reverse) {
        let mut parts = split(&mut g, *sequence, *axis, length)?;
        if *reverse {
            parts.reverse();
        }
        elements.push(parts);
    }
    let (mut states, mut stacks) = (states.to_vec(), vec![vec![]; scan.out_axes.len()]);
    for step in 0..length {
        let mut given = states;
        given.extend(elements.iter().map(|parts| parts[step]));
        given.extend(captures);
        let mut results = call(module, graph, &body, &given)?;
        for (stack, output) in stacks.iter_mut().zip(results.split_off(scan.states)) {
            stack.push(output);
        }
        states = results;
    }
    let mut g = Rewrite::new(graph, &mut module.consts);
    for ((mut stack, axis), reverse) in stacks.into_iter().zip(&scan.out_axes).zip(&scan.out_reverse) {
        if *reverse {
            stack.reverse();
        }
        states.push(stacked(&mut g, &stack, *axis)?);
    }
    let olds: Vec<Value> = g.graph().results(node).collect();
    for (old, new) in olds.iter().zip(&states) {
        if g.ty(*old) != g.ty(*new) {
            return refuse(format!("the type would change from {} to {}", g.ty(*old), g.ty(*new)));
        }
    }
    olds.into_iter().zip(states).try_for_each(|(old, new)| g.replace(old, new))
}

/// What a sequence of so many elements holds.
fn split(g: &mut Rewrite, sequence: Value, axis: usize, length: usize) -> Result<Vec<Value>, Refusal> {
    let mut shape = g.ty(sequence).dims.clone();
    shape.remove(axis);
    let node = g.add_node(Split { axis, sizes: vec![Dim::constant(1); length] }, &[Some(sequence)])?;
    let parts: Vec<Value> = g.graph().results(node).collect();
    parts.into_iter().map(|part| Ok(g.add(Reshape { shape: shape.clone() }, &[part])?)).collect()
}

fn stacked(g: &mut Rewrite, parts: &[Value], axis: usize) -> Result<Value, Refusal> {
    let mut with_axis = vec![];
    for part in parts {
        let mut shape = g.ty(*part).dims.clone();
        shape.insert(axis, Dim::constant(1));
        with_axis.push(g.add(Reshape { shape }, &[*part])?);
    }
    Ok(g.add(Concat { axis }, &with_axis)?)
}

/// The ops of `body` on `given`. Its symbols are those of the caller, or it is refused.
fn call(module: &Module, graph: &mut Graph, body: &Graph, given: &[Value]) -> Result<Vec<Value>, Refusal> {
    let mut map: FxHashMap<Value, Value> = FxHashMap::default();
    for (param, value) in body.params().iter().zip(given) {
        if body.ty(*param) != graph.ty(*value) {
            return refuse(format!(
                "`%{}` is {}, given {}",
                body.name(*param),
                body.ty(*param),
                graph.ty(*value)
            ));
        }
        map.insert(*param, *value);
    }
    for node in body.order() {
        let value = Value { node, result: 0 };
        let new = match body.def(node) {
            Def::Param { .. } => continue,
            Def::Const(key) => graph.constant(key, body.ty(value).clone()),
            Def::Literal(literal) => graph.literal(*literal),
            Def::Op(op) => {
                let args: Vec<_> = body.operands(node).into_iter().map(|o| o.map(|v| map[&v])).collect();
                let new = graph.add_node(op.clone(), &args, module)?;
                graph.set_loc(new, body.loc(node).cloned());
                for (old, new) in body.results(node).zip(graph.results(new)) {
                    if body.ty(old) != graph.ty(new) {
                        return refuse(format!(
                            "`%{}` is {} in the body alone",
                            body.name(old),
                            body.ty(old)
                        ));
                    }
                    graph.set_name(new, body.name(old));
                    map.insert(old, new);
                }
                continue;
            }
        };
        map.insert(value, new);
    }
    Ok(body.outputs().iter().map(|v| map[v]).collect())
}

fn drop_uncalled(module: &mut Module) {
    let mut live = vec![trine_ir::MAIN.to_string()];
    let mut done = 0;
    while done < live.len() {
        let callees = module.functions.get(&live[done]).map(|f| callees(&f.graph)).unwrap_or_default();
        for callee in callees {
            if !live.contains(&callee) {
                live.push(callee);
            }
        }
        done += 1;
    }
    module.functions.retain(|name, _| live.contains(name));
}

fn callees(graph: &Graph) -> Vec<String> {
    graph.order().into_iter().filter_map(|node| graph.op(node)).flat_map(Op::callees).collect()
}
