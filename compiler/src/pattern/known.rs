//! Values that are known when a model is compiled: what depends on nothing but constants.

use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::{Def, DimEnv, NodeId, Tensor, Value};

use super::Scope;

/// Nodes that a known value may be computed from.
const MAX_NODES: usize = 256;

/// Elements of the largest tensor on the way, and as how many times those of the constants it may have where that is more:
/// a few numbers can ask for a shape of any size.
const MAX_ELEMENTS: usize = 1 << 24;
const MAX_GROWTH: usize = 8;

impl Scope<'_> {
    /// Whether the value depends on a few constants alone.
    pub fn is_known(&self, v: Value) -> bool {
        self.dependencies(v.node).is_some()
    }

    /// The constants that a known value is computed from.
    pub fn leaves(&self, v: Value) -> Vec<Value> {
        let mut nodes = self.dependencies(v.node).unwrap_or_default();
        nodes.retain(|node| self.graph.op(*node).is_none());
        nodes.into_iter().map(|node| Value { node, result: 0 }).collect()
    }

    /// The tensor of a value that depends on constants alone, computed by the interpreter. `None` where it
    /// depends on an input or on too many nodes, is too large, or cannot be evaluated.
    pub fn known(&self, v: Value) -> Option<Tensor> {
        if let Some(tensor) = self.tensor(v) {
            return Some(tensor);
        }
        let mut results: FxHashMap<NodeId, Vec<Tensor>> = FxHashMap::default();
        let nodes = self.dependencies(v.node)?;
        let constants = nodes.iter().filter(|node| self.graph.op(**node).is_none());
        let given: usize = constants.filter_map(|node| self.count(Value { node: *node, result: 0 })).sum();
        let most = MAX_ELEMENTS.max(given.saturating_mul(MAX_GROWTH));
        for node in nodes {
            let tensors = self.results(node, &results, most)?;
            results.insert(node, tensors);
        }
        results.remove(&v.node)?.into_iter().nth(v.result as usize)
    }

    fn count(&self, v: Value) -> Option<usize> {
        self.graph.ty(v).count().and_then(|c| c.as_const())
    }

    /// The results of a node, unless they have more than `most` elements.
    fn results(
        &self,
        node: NodeId,
        earlier: &FxHashMap<NodeId, Vec<Tensor>>,
        most: usize,
    ) -> Option<Vec<Tensor>> {
        let Def::Op(op) = self.graph.def(node) else {
            return Some(vec![self.tensor(Value { node, result: 0 })?]);
        };
        if !self.graph.results(node).all(|v| self.count(v).is_some_and(|c| c <= most)) {
            return None;
        }
        let operands = self.graph.operands(node);
        let args: Vec<_> = operands.iter().map(|o| o.map(|v| &earlier[&v.node][v.result as usize])).collect();
        op.eval(&args, &DimEnv::default()).ok()
    }

    /// The node and what it depends on, operands first; `None` if that is an input, a function or too much.
    fn dependencies(&self, node: NodeId) -> Option<Vec<NodeId>> {
        let (mut order, mut done) = (vec![], FxHashSet::default());
        let mut stack = vec![(node, false)];
        while let Some((node, expanded)) = stack.pop() {
            if done.contains(&node) {
                continue;
            }
            if expanded {
                done.insert(node);
                order.push(node);
                continue;
            }
            let pure = match self.graph.def(node) {
                Def::Param { .. } => false,
                Def::Const(_) | Def::Literal(_) => true,
                Def::Op(op) => op.callees().is_empty(),
            };
            if !pure || stack.len() + order.len() > MAX_NODES {
                return None;
            }
            stack.push((node, true));
            stack.extend(self.graph.operands(node).into_iter().flatten().map(|v| (v.node, false)));
        }
        Some(order)
    }
}
