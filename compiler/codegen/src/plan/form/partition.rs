//! The nodes of a function in sets, each of which can be one step: no path leaves a set and comes back.
//!
//! Sets grow by merging. That is legal unless a path leads from one of them through others to another. Sets have
//! positions in a topological order, so that such a path lies between them, and only what stands there is searched (Pearce and Kelly, "A dynamic topological sort algorithm for directed acyclic graphs",
//! JEA 11, 2006). The search is bounded: what takes longer counts as a path, and a function is done in linear time.

use rustc_hash::FxHashSet;
use trine_ir::{Graph, NodeId};

/// Edges that a search follows.
const MAX_SEARCH: usize = 1024;

/// Sets are named by one of their nodes, nodes by their rank in the order of the function.
pub struct Partition {
    /// By node: the ops that read it, or a size that it finds, and the ops that it so reads, each in order.
    users: Vec<Vec<usize>>,
    operands: Vec<Vec<usize>>,
    set_of: Vec<usize>,
    /// By set: its nodes in order.
    members: Vec<Vec<usize>>,
    positions: Vec<usize>,
}

/// Sets that can be one.
pub struct Merge {
    sets: Vec<usize>,
    /// Sets between them that must come before, and after, the merged one.
    before: Vec<usize>,
    after: Vec<usize>,
}

impl Partition {
    /// Each node of `order` in a set of its own.
    pub fn new(graph: &Graph, order: &[NodeId], rank: impl Fn(NodeId) -> usize) -> Partition {
        let mut users = vec![vec![]; order.len()];
        let mut operands = vec![vec![]; order.len()];
        // What is not an op has no operands, so no path leads through it.
        for (user, needed) in graph.needed(order).into_iter().enumerate() {
            let mut read: Vec<usize> = needed.into_iter().map(&rank).collect();
            read.sort_unstable();
            read.iter().for_each(|r| users[*r].push(user));
            operands[user] = read;
        }
        let set_of: Vec<usize> = (0..order.len()).collect();
        let members = set_of.iter().map(|node| vec![*node]).collect();
        Partition { users, operands, positions: set_of.clone(), set_of, members }
    }

    /// The ops that read a node.
    pub fn users(&self, node: usize) -> &[usize] {
        &self.users[node]
    }

    /// The ops that a node reads.
    pub fn operands(&self, node: usize) -> &[usize] {
        &self.operands[node]
    }

    pub fn set_of(&self, node: usize) -> usize {
        self.set_of[node]
    }

    pub fn members(&self, set: usize) -> &[usize] {
        &self.members[set]
    }

    /// The nodes of sets in order.
    pub fn union(&self, sets: &[usize]) -> Vec<usize> {
        let mut all: Vec<usize> = sets.iter().flat_map(|set| &self.members[*set]).copied().collect();
        all.sort_unstable();
        all
    }

    /// How to merge sets, unless a path that leaves them and comes back is found, or might be.
    pub fn merge(&self, sets: &[usize]) -> Option<Merge> {
        let positions = || sets.iter().map(|set| self.positions[*set]);
        let (low, high) = (positions().min()?, positions().max()?);
        let mut steps = MAX_SEARCH;
        let after = self.reach(&self.users, sets, &|at| at < high, &mut steps)?;
        // Where nothing has to move out of the way, the merged set takes the last place.
        let before = match after.is_empty() {
            true => vec![],
            false => self.reach(&self.operands, sets, &|at| at > low, &mut steps)?,
        };
        Some(Merge { sets: sets.to_vec(), before, after })
    }

    /// Merges sets into the first of them.
    pub fn apply(&mut self, merge: Merge) {
        let Merge { sets, mut before, mut after } = merge;
        let (all, first) = (self.union(&sets), sets[0]);
        all.iter().for_each(|node| self.set_of[*node] = first);
        sets.iter().for_each(|set| self.members[*set] = vec![]);
        self.members[first] = all;
        let moved = [&before[..], &sets, &after].concat();
        let mut places: Vec<usize> = moved.iter().map(|set| self.positions[*set]).collect();
        places.sort_unstable();
        before.sort_unstable_by_key(|set| self.positions[*set]);
        after.sort_unstable_by_key(|set| self.positions[*set]);
        let (front, back) = places.split_at(places.len() - after.len());
        after.iter().zip(back).for_each(|(set, place)| self.positions[*set] = *place);
        before.iter().zip(front).for_each(|(set, place)| self.positions[*set] = *place);
        self.positions[first] = front[front.len() - 1];
    }

    /// The sets that `from` leads to along `edges`, as far as they are between those. `None` if one of `from` is among
    /// them, or the search takes too long.
    fn reach(
        &self,
        edges: &[Vec<usize>],
        from: &[usize],
        is_between: &dyn Fn(usize) -> bool,
        steps: &mut usize,
    ) -> Option<Vec<usize>> {
        let start: FxHashSet<usize> = from.iter().copied().collect();
        let (mut found, mut seen) = (vec![], FxHashSet::default());
        let mut work: Vec<usize> =
            from.iter().copied().filter(|set| is_between(self.positions[*set])).collect();
        while let Some(set) = work.pop() {
            for next in self.members[set].iter().flat_map(|node| &edges[*node]) {
                *steps = steps.checked_sub(1)?;
                let next = self.set_of[*next];
                if start.contains(&next) {
                    if !start.contains(&set) {
                        return None;
                    }
                } else if is_between(self.positions[next]) && seen.insert(next) {
                    found.push(next);
                    work.push(next);
                }
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trine_ir::text;

    /// The partition of a function whose ops are named `%n0`, `%n1`, … and the node of each name.
    fn partition(body: &str) -> (Partition, impl Fn(&str) -> usize) {
        let module = text::parse(body).unwrap();
        let graph = module.main().unwrap().graph.clone();
        let order = graph.order();
        let rank = |node: NodeId| order.iter().position(|n| *n == node).unwrap();
        let partition = Partition::new(&graph, &order, rank);
        let named = move |name: &str| {
            let is = |node: &NodeId| graph.results(*node).any(|v| graph.name(v) == name);
            order.iter().position(is).unwrap()
        };
        (partition, named)
    }

    fn merge(p: &mut Partition, first: usize, second: usize) -> bool {
        let (first, second) = (p.set_of(first), p.set_of(second));
        let merge = p.merge(&[first, second]);
        let merged = merge.is_some();
        merge.into_iter().for_each(|merge| p.apply(merge));
        // Operands stand before users, whatever was merged.
        for user in 0..p.set_of.len() {
            for operand in p.operands(user) {
                let (a, b) = (p.set_of(*operand), p.set_of(user));
                assert!(a == b || p.positions[a] < p.positions[b], "{operand} and {user}");
            }
        }
        merged
    }

    #[test]
    fn paths_around_keep_sets_apart() {
        let (mut p, node) = partition(
            "graph @main(%x: f32[4]) -> (%d: f32[4]) {\n  %a = neg %x : f32[4]\n  %b = exp %a : f32[4]\n  \
             %c = sqrt %b : f32[4]\n  %d = add %a, %c : f32[4]\n}\n",
        );
        let [a, b, c, d] = ["a", "b", "c", "d"].map(node);
        assert!(!merge(&mut p, a, d));
        assert!(merge(&mut p, b, c));
        assert!(!merge(&mut p, a, d));
        assert!(merge(&mut p, a, b));
        assert!(merge(&mut p, a, d));
        assert_eq!(p.members(p.set_of(d)), [a, b, c, d]);
    }

    #[test]
    fn a_set_may_span_others_but_not_a_way_through_it() {
        // Two strands; once one set has an op of each, a path may lead through it.
        let (mut p, node) = partition(
            "graph @main(%x: f32[4]) -> (%b: f32[4], %d: f32[4]) {\n  %a = neg %x : f32[4]\n  %b = exp %a : f32[4]\n  \
             %c = sqrt %x : f32[4]\n  %e = add %c, %a : f32[4]\n  %d = mul %e, %b : f32[4]\n}\n",
        );
        let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(node);
        assert!(merge(&mut p, c, e));
        assert!(merge(&mut p, b, d));
        // From `a` to `d` by `e`.
        assert!(!merge(&mut p, a, b));
        assert!(merge(&mut p, a, e));
        assert_eq!(p.members(p.set_of(a)).len(), 3);
        assert!(merge(&mut p, a, d));
    }

    #[test]
    fn long_searches_end_as_if_there_were_a_path() {
        let mut text = "graph @main(%x: f32[4]) -> (%y: f32[4]) {\n  %n0 = neg %x : f32[4]\n".to_string();
        for i in 1..2000 {
            text += &format!("  %n{i} = add %n0, %n{} : f32[4]\n", i - 1);
        }
        text += "  %y = exp %n1999 : f32[4]\n}\n";
        let (mut p, node) = partition(&text);
        assert!(merge(&mut p, node("n1999"), node("y")));
        assert!(!merge(&mut p, node("n0"), node("n1999")));
        assert!(!merge(&mut p, node("n0"), node("n1")));
    }
}
