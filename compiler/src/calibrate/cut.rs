//! Where a model is cut so that calibration runs every op once: after each stage only the values that later ones
//! need are held, and the ops between two cuts are a program of their own.
//!
//! What no rounded layer has touched (positions, masks, embeddings) is not held but computed again from the
//! model's inputs.

use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::{Def, Function, FunctionKind, Graph, MAIN, Module, NodeId, Value};

use super::layers::Stage;

/// The values that are held once the input of each stage is known.
pub fn cuts(graph: &Graph, stages: &[Stage]) -> Vec<Vec<Value>> {
    let order = graph.order();
    let layers: FxHashSet<NodeId> = stages.iter().flat_map(|s| &s.layers).map(|l| l.site).collect();
    let mut touched: FxHashSet<NodeId> = FxHashSet::default();
    for node in &order {
        let mut operands = graph.operands(*node).into_iter().flatten();
        if layers.contains(node) || operands.any(|v| touched.contains(&v.node)) {
            touched.insert(*node);
        }
    }
    let first = first_needed(graph, stages);
    let later = |node: &NodeId, i: usize| first.get(node).is_some_and(|stage| *stage > i);
    let is_held = |v: Value, i: usize| {
        first.get(&v.node).is_some_and(|stage| *stage <= i)
            && touched.contains(&v.node)
            && (graph.users(v).iter().any(|(user, _)| later(user, i))
                || stages[i + 1..].iter().any(|s| s.input == v))
    };
    let values: Vec<Value> = order.iter().flat_map(|node| graph.results(*node)).collect();
    (0..stages.len()).map(|i| values.iter().copied().filter(|v| is_held(*v, i)).collect()).collect()
}

/// The first stage whose input needs a node.
fn first_needed(graph: &Graph, stages: &[Stage]) -> FxHashMap<NodeId, usize> {
    let mut first = FxHashMap::default();
    for (i, stage) in stages.iter().enumerate() {
        let mut stack = vec![stage.input.node];
        while let Some(node) = stack.pop() {
            if let std::collections::hash_map::Entry::Vacant(entry) = first.entry(node) {
                entry.insert(i);
                stack.extend(graph.operands(node).into_iter().flatten().map(|v| v.node));
            }
        }
    }
    first
}

/// The ops that lead from the model's inputs and the values `held` to `targets`, as a module whose parameters are
/// the inputs, then `held`.
pub fn segment(module: &Module, graph: &Graph, held: &[Value], targets: &[Value]) -> Module {
    let mut cut = Graph::default();
    let mut map: FxHashMap<Value, Value> = FxHashMap::default();
    for param in graph.params() {
        map.insert(*param, cut.param(graph.name(*param), graph.ty(*param).clone()));
    }
    for value in held {
        map.insert(*value, cut.param("held", graph.ty(*value).clone()));
    }
    let wanted = needed(graph, held, targets);
    for node in graph.order().into_iter().filter(|node| wanted.contains(node)) {
        copy(graph, node, &mut cut, &mut map);
    }
    cut.set_outputs(targets.iter().map(|v| map[v]).collect());
    let mut part = Module {
        stage: module.stage,
        requires: module.requires.clone(),
        consts: module.consts.clone(),
        ..Module::default()
    };
    part.functions.insert(MAIN.into(), Function { kind: FunctionKind::Graph, graph: cut });
    for (name, function) in module.functions.iter().filter(|(name, _)| *name != MAIN) {
        part.functions.insert(name.clone(), function.clone());
    }
    part.sweep();
    part
}

fn copy(graph: &Graph, node: NodeId, cut: &mut Graph, map: &mut FxHashMap<Value, Value>) {
    let value = Value { node, result: 0 };
    match graph.def(node) {
        Def::Param { .. } => {}
        Def::Const(key) => {
            let constant = cut.constant(key, graph.ty(value).clone());
            map.insert(value, constant);
        }
        Def::Literal(literal) => {
            map.insert(value, cut.literal(*literal));
        }
        Def::Op(op) => {
            let operands: Vec<_> = graph.operands(node).iter().map(|o| o.map(|v| map[&v])).collect();
            let results = graph.results(node).map(|v| (graph.name(v), graph.ty(v).clone())).collect();
            let new = cut.insert_named(op.clone(), &operands, results);
            cut.set_loc(new, graph.loc(node).cloned());
            for (old, new) in graph.results(node).zip(cut.results(new)) {
                map.entry(old).or_insert(new);
            }
        }
    }
}

fn needed(graph: &Graph, held: &[Value], targets: &[Value]) -> FxHashSet<NodeId> {
    let held: FxHashSet<Value> = held.iter().copied().collect();
    let mut nodes = FxHashSet::default();
    let mut stack: Vec<Value> = targets.to_vec();
    while let Some(value) = stack.pop() {
        if !held.contains(&value) && nodes.insert(value.node) {
            stack.extend(graph.operands(value.node).into_iter().flatten());
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::layers::stages;
    use trine_ir::{Tensor, eval, text};

    /// Two layers of one input, a residual around them, and a mask that no layer touches.
    const SOURCE: &str = "\
const @a: f32[2,2] = [0.5, 1, 2, 4]
const @b: f32[2,2] = [0.25, 3, 1, 0.125]
const @c: f32[2,2] = [7, 1, 0.5, 2]
const @d: f32[2,2] = [1, 2, 3, 4]
graph @main(%x: f32[n,2], %m: f32[n,2]) -> (%y: f32[n,2]) {
  %mask = neg %m : f32[n,2]
  %a = matmul %x, @a {trans_b=false} : f32[n,2]
  %b = matmul %x, @b {trans_b=false} : f32[n,2]
  %ab = mul %a, %b : f32[n,2]
  %masked = add %ab, %mask : f32[n,2]
  %c = matmul %masked, @c {trans_b=false} : f32[n,2]
  %r = add %c, %a : f32[n,2]
  %s = add %r, %mask : f32[n,2]
  %y = matmul %s, @d {trans_b=false} : f32[n,2]
}
";

    #[test]
    fn only_what_later_stages_need_is_held_and_segments_give_what_the_whole_does() {
        let module = text::parse(SOURCE).unwrap();
        let graph = &module.main().unwrap().graph;
        let (stages, kept) = stages(&module, &[], &["none".into()]).unwrap();
        assert!(kept.is_empty());
        let shape: Vec<usize> = stages.iter().map(|s| s.layers.len()).collect();
        assert_eq!(shape, [2, 1, 1]);
        let cuts = cuts(graph, &stages);
        let names = |values: &[Value]| values.iter().map(|v| graph.name(*v)).collect::<Vec<_>>();
        assert_eq!(names(&cuts[0]), Vec::<&str>::new(), "`x` is an input, and `mask` is made of one");
        assert_eq!(names(&cuts[1]), ["a", "masked"]);
        let x = Tensor::from_vec(vec![1, 2], vec![1.5f32, -2.0]).unwrap();
        let m = Tensor::from_vec(vec![1, 2], vec![0.5f32, 3.0]).unwrap();
        let inputs = vec![x, m];
        let mut targets = cuts[1].clone();
        targets.push(stages[2].input);
        let first = eval::run(&segment(&module, graph, &[], &cuts[1]), inputs.clone()).unwrap();
        let part = segment(&module, graph, &cuts[1], &[stages[2].input]);
        assert!(!part.consts.contains_key("a"), "{}", text::print(&part));
        let second = eval::run(&part, [inputs.clone(), first].concat()).unwrap();
        let whole = eval::run(&segment(&module, graph, &[], &[stages[2].input]), inputs).unwrap();
        assert_eq!(second, whole);
    }
}
