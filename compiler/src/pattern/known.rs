//! Values that are known when a model is compiled: what depends on nothing but constants.

use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::{Def, DimEnv, NodeId, Tensor, Value};

use super::Scope;

/// Nodes that a known value may be computed from.
const MAX_NODES: usize = 256;

/// Elements of the largest tensor on the way.
const MAX_ELEMENTS: usize = 1 << 31;

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
        for node in self.dependencies(v.node)? {
            let tensors = self.results(node, &results)?;
            results.insert(node, tensors);
        }
        results.remove(&v.node)?.into_iter().nth(v.result as usize)
    }

    fn results(&self, node: NodeId, earlier: &FxHashMap<NodeId, Vec<Tensor>>) -> Option<Vec<Tensor>> {
        let Def::Op(op) = self.graph.def(node) else {
            return Some(vec![self.tensor(Value { node, result: 0 })?]);
        };
        let is_small = |v: Value| {
            let count = self.graph.ty(v).count().and_then(|c| c.as_const());
            count.is_some_and(|c| c <= MAX_ELEMENTS)
        };
        if !self.graph.results(node).all(is_small) {
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
