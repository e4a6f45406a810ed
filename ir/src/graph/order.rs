//! The order in which nodes run.
//!
//! A node runs after its operands. One that reads the values of symbols in its attributes, as `expand 0.0 {shape=[n]}`
//! does, runs after the one that finds them, as `nonzero %x {count=n}` does, although nothing passes between the two:
//! no edge says so, since rewrites change who that is.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{Graph, NodeId, NodeIndexable};
use crate::dim::Symbol;

/// How far the search for an order is with a node.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    /// What it needs is being put in order.
    Open,
    Done,
}

impl Graph {
    /// All nodes that outputs need, each after what it needs, depth first from the outputs: a function of
    /// the graph alone, not of how it was built. Parameters come first. `Err` names a node on a cycle.
    pub fn try_order(&self) -> Result<Vec<NodeId>, NodeId> {
        self.order_of(self.outputs.iter().map(|v| v.node), &self.sizers())
    }

    /// The order of what `roots` need, where `sizers` give symbols their values.
    pub(super) fn order_of(
        &self,
        roots: impl Iterator<Item = NodeId>,
        sizers: &FxHashMap<Symbol, NodeId>,
    ) -> Result<Vec<NodeId>, NodeId> {
        let mut order: Vec<_> = self.params.iter().map(|p| p.node).collect();
        let mut marks = vec![Mark::New; self.dag.node_bound()];
        order.iter().for_each(|node| marks[node.index()] = Mark::Done);
        // Nodes on the way, with what they need and how much of that has been seen.
        let mut stack: Vec<(NodeId, SmallVec<[NodeId; 4]>, usize)> = vec![];
        for root in roots {
            let mut next = Some(root).filter(|node| marks[node.index()] == Mark::New);
            loop {
                if let Some(node) = next.take() {
                    marks[node.index()] = Mark::Open;
                    stack.push((node, self.needs(node, sizers), 0));
                }
                let Some((node, needs, seen)) = stack.last_mut() else { break };
                let Some(needed) = needs.get(*seen).copied() else {
                    marks[node.index()] = Mark::Done;
                    order.push(*node);
                    stack.pop();
                    continue;
                };
                *seen += 1;
                match marks[needed.index()] {
                    Mark::New => next = Some(needed),
                    Mark::Open => return Err(needed),
                    Mark::Done => {}
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
            let needs = self.needs(*node, &sizers).into_iter();
            let mut ops: Vec<NodeId> = needs.filter(|needed| self.op(*needed).is_some()).collect();
            ops.sort_unstable();
            ops.dedup();
            ops
        };
        order.iter().map(ops).collect()
    }

    /// The nodes of the operands, then those that give symbols in its attributes their values.
    fn needs(&self, node: NodeId, sizers: &FxHashMap<Symbol, NodeId>) -> SmallVec<[NodeId; 4]> {
        let mut needs: SmallVec<_> = self.operands(node).into_iter().flatten().map(|v| v.node).collect();
        if !sizers.is_empty() {
            let operands = needs.len();
            self.each_read(node, &mut |dim| {
                let found = dim.symbols().into_iter().filter_map(|symbol| {
                    let sizer = sizers.get(&symbol).filter(|sizer| **sizer != node)?;
                    self.is_without(node, &symbol).then_some(*sizer)
                });
                needs.extend(found);
            });
            needs[operands..].sort_unstable();
        }
        needs
    }
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
        // `range` finds the size that `top_k` reads, or finds by its operand, but runs after it.
        let body = "graph @main(%x: f32[8], %k: i64[1]) -> (%r: i64[n]) {\n  \
                    %v, %i = top_k %x, %k {axis=0, count=n, largest=true} : f32[n], i64[n]\n  \
                    %s = shape %v {start=0, end=1} : i64[1]\n  %e = reshape %s {shape=[]} : i64[]\n  \
                    %r = range 0i64, %e, 1i64 {count=n} : i64[n]\n}\n";
        assert_eq!(names(body), ["v", "i", "s", "e", "r"]);
    }

    #[test]
    fn of_two_that_find_a_size_the_one_is_asked_that_does_not_need_it() {
        let first = "%f = nonzero %x {count=n} : i64[1,n]";
        let rest = "%e = expand 1.0 {shape=[n]} : f32[n]\n  %s = nonzero %e {count=n} : i64[1,n]";
        for body in [format!("{first}\n  {rest}"), format!("{rest}\n  {first}")] {
            let body = format!("graph @main(%x: f32[8]) -> (%s: i64[1,n]) {{\n  {body}\n}}\n");
            assert_eq!(names(&body), ["f", "e", "s"], "{body}");
        }
    }
}
