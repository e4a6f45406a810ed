//! The order in which nodes run.
//!
//! A node runs after its operands. One that reads the values of symbols in its attributes, as `expand 0.0 {shape=[n]}`
//! does, runs after the one that finds them, as `nonzero %x {count=n}` does, although nothing passes between the two:
//! no edge says so, since rewrites change who that is.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::{Def, Graph, NodeId, NodeIndexable};
use crate::dim::{Dim, Factor, Symbol};
use crate::op::Sizes;
use crate::ops::Kind;
use crate::ty::Type;

/// How far the search for an order is with a node.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    /// What it needs is being put in order.
    Open,
    Done,
}

/// Nodes that one needs to have run, and how many of them come from operands.
struct Needs {
    nodes: SmallVec<[NodeId; 4]>,
    operands: usize,
}

impl Graph {
    /// All nodes that outputs need, each after what it needs, depth first from the outputs: a function of
    /// the graph alone, not of how it was built. Parameters come first. `Err` names a node on a cycle.
    pub fn try_order(&self) -> Result<Vec<NodeId>, NodeId> {
        let sizers = self.sizers();
        let mut order: Vec<_> = self.params.iter().map(|p| p.node).collect();
        let mut marks = vec![Mark::New; self.dag.node_bound()];
        order.iter().for_each(|node| marks[node.index()] = Mark::Done);
        // Nodes on the way, with what they need and how much of that has been seen.
        let mut stack: Vec<(NodeId, Needs, usize)> = vec![];
        for output in &self.outputs {
            let mut next = Some(output.node).filter(|node| marks[node.index()] == Mark::New);
            loop {
                if let Some(node) = next.take() {
                    marks[node.index()] = Mark::Open;
                    stack.push((node, self.needs(node, &sizers), 0));
                }
                let Some((node, needs, seen)) = stack.last_mut() else { break };
                let Some(needed) = needs.nodes.get(*seen).copied() else {
                    marks[node.index()] = Mark::Done;
                    order.push(*node);
                    stack.pop();
                    continue;
                };
                *seen += 1;
                match marks[needed.index()] {
                    Mark::New => next = Some(needed),
                    Mark::Open if *seen <= needs.operands => return Err(needed),
                    // Who finds a size may itself need who reads it, where two could have found it.
                    Mark::Open | Mark::Done => {}
                }
            }
        }
        Ok(order)
    }

    /// `try_order` of a graph that is known to have no cycle.
    pub fn order(&self) -> Vec<NodeId> {
        self.try_order().expect("graphs are built operands first and verified after each rewrite")
    }

    /// By node of `order`: the ops that it has to run after, each once.
    pub fn needed(&self, order: &[NodeId]) -> Vec<Vec<NodeId>> {
        let sizers = self.sizers();
        let ops = |node: &NodeId| {
            let needs = self.needs(*node, &sizers).nodes.into_iter();
            let mut ops: Vec<NodeId> = needs.filter(|needed| self.op(*needed).is_some()).collect();
            ops.sort_unstable();
            ops.dedup();
            ops
        };
        order.iter().map(ops).collect()
    }

    fn needs(&self, node: NodeId, sizers: &FxHashMap<Symbol, NodeId>) -> Needs {
        let mut nodes: SmallVec<_> = self.operands(node).into_iter().flatten().map(|v| v.node).collect();
        let operands = nodes.len();
        if !sizers.is_empty() {
            self.each_read(node, &mut |dim| {
                let found = dim.symbols().into_iter().filter_map(|symbol| {
                    let sizer = sizers.get(&symbol).filter(|sizer| **sizer != node)?;
                    self.is_without(node, &symbol).then_some(*sizer)
                });
                nodes.extend(found);
            });
            nodes[operands..].sort_unstable();
        }
        Needs { nodes, operands }
    }

    /// Shows the dimensions that a node may have to be told.
    fn each_read(&self, node: NodeId, see: &mut dyn FnMut(&Dim)) {
        let Some(op) = self.op(node) else { return };
        match op.kind() {
            // Its function reads them.
            Kind::Call => self.results(node).flat_map(|v| &self.ty(v).dims).for_each(see),
            kind if kind.sizes() != Sizes::Found => op.each_dim(see),
            _ => {}
        }
    }

    /// Who gives a symbol its value, where that is not a parameter: a node that must before one that can.
    fn sizers(&self) -> FxHashMap<Symbol, NodeId> {
        if self.sizers.is_empty() {
            return FxHashMap::default();
        }
        let given: FxHashSet<Symbol> =
            self.params.iter().flat_map(|v| &self.ty(*v).dims).flat_map(Dim::symbols).collect();
        let can_only = |node: &NodeId| {
            self.kind(*node).is_some_and(|kind| kind == Kind::Call || kind.sizes() != Sizes::Found)
        };
        let mut nodes: Vec<NodeId> = self.sizers.iter().copied().collect();
        nodes.sort_unstable_by_key(|node| (can_only(node), *node));
        let mut sizers = FxHashMap::default();
        for node in nodes {
            let symbols = self.results(node).flat_map(|v| self.ty(v).dims.iter().flat_map(Dim::symbols));
            for symbol in symbols.filter(|symbol| !given.contains(symbol)) {
                if self.is_without(node, &symbol) {
                    sizers.entry(symbol).or_insert(node);
                }
            }
        }
        sizers
    }

    /// Whether no operand of the node has the symbol.
    fn is_without(&self, node: NodeId, symbol: &Symbol) -> bool {
        let has_it = |ty: &Type| ty.dims.iter().any(|dim| has(dim, symbol));
        !self.operands(node).into_iter().flatten().any(|v| has_it(self.ty(v)))
    }

    /// Keeps the node in mind if it may give a symbol its value.
    pub(super) fn note_sizer(&mut self, node: NodeId) {
        let Def::Op(op) = self.def(node) else { return };
        let symbols = || {
            let dims = self.results(node).flat_map(|v| &self.ty(v).dims);
            dims.filter(|dim| dim.as_const().is_none()).flat_map(Dim::symbols)
        };
        if op.kind().sizes() != Sizes::Read && symbols().any(|symbol| self.is_without(node, &symbol)) {
            self.sizers.insert(node);
        }
    }
}

/// Whether the dimension depends on the symbol.
fn has(dim: &Dim, symbol: &Symbol) -> bool {
    dim.factors().any(|factor| matches!(factor, Factor::Symbol(s) if s == symbol) || factor.hides(symbol))
}

#[cfg(test)]
mod tests {
    use crate::text;

    /// The order of a graph and what it prints after a sweep, as names of results.
    fn names(body: &str) -> Vec<String> {
        let mut graph = text::parse(body).unwrap().main().unwrap().graph.clone();
        graph.sweep();
        let ops = graph.order().into_iter().filter(|node| graph.op(*node).is_some());
        ops.flat_map(|node| graph.results(node)).map(|v| graph.name(v).to_string()).collect()
    }

    #[test]
    fn who_finds_a_size_runs_before_who_reads_it_alone() {
        let found = "%f = nonzero %x {count=n} : i64[1,n]";
        for reads in [
            "%y = expand 0.0 {shape=[n]} : f32[n]",
            "%y = random_uniform {seed=1, stream=0, dims=[n]} : f32[n]",
            "%y = slice %x {axes=[0], starts=[0], ends=[min(n,8)], steps=[1]} : f32[min(8,n)]",
        ] {
            let ty = reads.rsplit(": ").next().unwrap();
            for (first, second) in [(found, reads), (reads, found)] {
                let body = format!("graph @main(%x: f32[8]) -> (%y: {ty}) {{\n  {first}\n  {second}\n}}\n");
                assert_eq!(names(&body), ["f", "y"], "{body}");
            }
        }
    }

    #[test]
    fn who_has_an_operand_of_the_size_needs_nobody_else() {
        let body = "graph @main(%x: f32[8], %z: f32[n]) -> (%y: f32[n]) {\n  %f = nonzero %x {count=n} : i64[1,n]\n  \
                    %y = expand 0.0 {shape=[n]} : f32[n]\n}\n";
        assert_eq!(names(body), ["y"]);
    }

    #[test]
    fn two_that_could_find_a_size_do_not_wait_for_each_other() {
        let body = "graph @main(%x: f32[8]) -> (%b: i64[1,n]) {\n  %a = expand 0.0 {shape=[n]} : f32[n]\n  \
                    %b = nonzero %a {count=n} : i64[1,n]\n}\n";
        assert_eq!(names(body), ["a", "b"]);
    }
}
