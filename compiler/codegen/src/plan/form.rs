//! Groups of ops become `call @kernel`: each kernel is a function of its own that is compiled as one.
//!
//! A group starts from one op and grows along data flow as long as an emitter takes the whole of it
//! ([`emit::plan`] is asked, so forming and emitting agree) and no path leaves the group and returns.
//! Ops that only move data are absorbed as views by the kernels that read them, and copied where nobody can.

mod body;
mod partition;

use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::attr::SymbolRef;
use trine_ir::dim::{AtomOp, Factor, Symbol};
use trine_ir::op::{Demands, Stage};
use trine_ir::ops::{Call, is_elementwise};
use trine_ir::{Def, Dim, Function, FunctionKind, Graph, Kind, MAIN, Module, NodeId, Op, Value, text};

use crate::Target;
use crate::choice::Choices;
use crate::emit::view::is_view;
use crate::emit::{self, MAX_CODE, instructions, rows};
use body::{Body, MAX_VIEWS};
use partition::Partition;

/// So many ops of one shape, one after the other, are tried as a whole before they are tried one by one.
const MIN_RUN: usize = 16;

/// Forms the kernels of `@main` for `target`. Returns how many calls there are.
pub fn form(module: &mut Module, target: &Target) -> usize {
    let Some(main) = module.main() else { return 0 };
    let choices = Choices::new(target, module);
    let mut former = Former::new(module, &main.graph, &choices);
    former.cut_views();
    former.seed();
    former.join_runs();
    former.grow();
    former.copy_views();
    let bodies = former.bodies();
    let count = bodies.len();
    replace(module, bodies);
    module.stage = Stage::Kernel;
    module.sweep();
    count
}

/// What is known of a set of nodes that is to be a kernel.
#[derive(Clone, Copy)]
struct Group {
    /// Where its call stands among all.
    place: usize,
    /// Whether views in front of the group are part of it.
    absorb: bool,
}

/// Ops that are joined.
#[derive(Default)]
struct Run {
    nodes: Vec<usize>,
    code: usize,
    /// The ops, and what they read but for constants.
    seen: FxHashSet<NodeId>,
}

struct Former<'g> {
    module: &'g Module,
    graph: &'g Graph,
    choices: &'g Choices<'g>,
    /// Nodes by rank, operands before users; sets of nodes are sets of ranks.
    order: Vec<NodeId>,
    rank: FxHashMap<NodeId, usize>,
    /// By node: roughly how many instructions it is in a kernel.
    code: Vec<usize>,
    /// Symbols of the function's parameters.
    known: FxHashSet<Symbol>,
    sets: Partition,
    /// By set, where it is to be a kernel.
    groups: Vec<Option<Group>>,
}

impl<'g> Former<'g> {
    fn new(module: &'g Module, graph: &'g Graph, choices: &'g Choices<'g>) -> Self {
        let order = graph.order();
        let rank: FxHashMap<NodeId, usize> = order.iter().enumerate().map(|(i, n)| (*n, i)).collect();
        let sets = Partition::new(graph, &order, |node| rank[&node]);
        let code = order.iter().map(|node| instructions(graph, *node)).collect();
        let groups = vec![None; order.len()];
        let known = symbols(graph, graph.params());
        Former { module, graph, choices, order, rank, code, known, sets, groups }
    }

    /// Copies what views show where as many stand in front of one another as a kernel reads through.
    fn cut_views(&mut self) {
        let mut depths = vec![0; self.order.len()];
        for rank in 0..self.order.len() {
            if !self.graph.kind(self.order[rank]).is_some_and(is_view) {
                continue;
            }
            let sources = self.sets.operands(rank).iter().map(|source| depths[*source]);
            depths[rank] = 1 + sources.max().unwrap_or(0);
            if depths[rank] > MAX_VIEWS && self.insert(&[rank], self.order.len() + rank) {
                depths[rank] = 0;
            }
        }
    }

    /// Gives every op that can be a kernel by itself a group.
    fn seed(&mut self) {
        for rank in (0..self.order.len()).rev() {
            let Some(op) = self.graph.op(self.order[rank]) else { continue };
            if is_view(op.kind()) || self.is_taken(rank) {
                continue;
            }
            let seeds = self.seeds(rank, op);
            seeds.iter().any(|nodes| self.insert(nodes, rank));
        }
    }

    /// What to try for an op, the largest first.
    fn seeds(&self, rank: usize, op: &Op) -> Vec<Vec<usize>> {
        let node = self.order[rank];
        let with = |more: &[Option<usize>]| {
            let mut nodes: Vec<usize> = more.iter().flatten().copied().chain([rank]).collect();
            nodes.sort_unstable();
            nodes
        };
        let source = |node: NodeId, slot: usize| self.graph.operand(node, slot).map(|v| v.node);
        let rank_of = |node: Option<NodeId>| node.and_then(|n| self.rank.get(&n)).copied();
        match op {
            Op::Rescale(_) => {
                let sum = source(node, 0);
                let select = sum.and_then(|s| source(s, 0));
                let (sum, select) = (rank_of(sum), rank_of(select));
                vec![with(&[select, sum, self.only_user(rank, Kind::Split)]), with(&[select, sum])]
            }
            Op::Matmul(_) => {
                let blocks = source(node, 1).filter(|w| self.graph.kind(*w) == Some(Kind::DequantizeBlocks));
                vec![with(&[rank_of(blocks)]), with(&[])]
            }
            Op::Attention(_) | Op::CachedAttention(_) | Op::Rotary(_) => {
                vec![with(&[self.first_result_transposed(node)]), with(&[])]
            }
            _ => vec![with(&[])],
        }
    }

    /// The op of a kind that alone uses a node, whose first result is none of the function's.
    fn only_user(&self, rank: usize, kind: Kind) -> Option<usize> {
        let [user] = *self.sets.users(rank) else { return None };
        let is_output = self.graph.is_output(Value { node: self.order[rank], result: 0 });
        (self.graph.kind(self.order[user]) == Some(kind) && !is_output).then_some(user)
    }

    /// The transpose that is the only use of the first result.
    fn first_result_transposed(&self, node: NodeId) -> Option<usize> {
        let first = Value { node, result: 0 };
        let users = self.graph.users(first);
        let [(user, _)] = users.as_slice() else { return None };
        let transposes = self.graph.kind(*user) == Some(Kind::Transpose) && !self.graph.is_output(first);
        self.rank.get(user).copied().filter(|_| transposes)
    }

    /// Joins long runs of ops of one shape, each of which reads what another of the run makes or reads, by the longest
    /// parts that fit. What lies side by side in the order has no path around it.
    fn join_runs(&mut self) {
        let mut run = Run::default();
        for rank in 0..self.order.len() {
            let node = self.order[rank];
            if self.graph.op(node).is_none() {
                continue;
            }
            let joins = self.joins_runs(rank);
            let read: Vec<NodeId> = self.graph.operands(node).into_iter().flatten().map(|v| v.node).collect();
            let goes_on = joins
                && run.code + self.code[rank] <= MAX_CODE
                && run.nodes.first().is_some_and(|first| self.dims(*first) == self.dims(rank))
                && read.iter().any(|node| run.seen.contains(node));
            if !goes_on {
                self.join(&std::mem::take(&mut run).nodes);
            }
            if joins {
                run.nodes.push(rank);
                run.code += self.code[rank];
                let shared =
                    |node: &NodeId| !matches!(self.graph.def(*node), Def::Const(_) | Def::Literal(_));
                run.seen.extend(read.into_iter().filter(shared).chain([node]));
            }
        }
        self.join(&run.nodes);
    }

    fn dims(&self, rank: usize) -> &[Dim] {
        &self.graph.ty(Value { node: self.order[rank], result: 0 }).dims
    }

    /// Whether the op is a group by itself of those that row kernels are made of.
    fn joins_runs(&self, rank: usize) -> bool {
        let alone = self.sets.members(self.sets.set_of(rank)).len() == 1;
        alone && self.is_taken(rank) && rows::computes(self.graph, self.order[rank])
    }

    fn join(&mut self, run: &[usize]) {
        if run.len() < MIN_RUN {
            return;
        }
        if self.insert(run, run[0]) {
            return;
        }
        let (front, back) = run.split_at(run.len() / 2);
        self.join(front);
        self.join(back);
    }

    /// Merges groups along data flow until nothing more fits.
    fn grow(&mut self) {
        for rank in 0..self.order.len() {
            // A merge may be what another one waited for.
            while self.merge_producer(rank) {}
        }
    }

    /// Merges the group of an op with that of one that it reads, if any fits.
    fn merge_producer(&mut self, rank: usize) -> bool {
        if !self.is_taken(rank) {
            return false;
        }
        let operands = self.graph.operands(self.order[rank]);
        let mut producers = operands.into_iter().flatten().filter_map(|v| self.rank.get(&v.node).copied());
        let found = producers.find_map(|producer| {
            let (from, into) = (self.sets.set_of(producer), self.sets.set_of(rank));
            (from != into).then(|| self.try_merge(from, into)).flatten()
        });
        let Some((merge, from, group)) = found else { return false };
        let into = self.sets.set_of(rank);
        self.sets.apply(merge);
        self.groups[into] = None;
        self.groups[from] = Some(group);
        true
    }

    /// How two groups become one, if an emitter takes it.
    fn try_merge(&self, first: usize, second: usize) -> Option<(partition::Merge, usize, Group)> {
        let a = self.groups[first].filter(|_| self.groups[second].is_some())?;
        let code = |set: usize| self.sets.members(set).iter().map(|rank| self.code[*rank]).sum::<usize>();
        if code(first) + code(second) > MAX_CODE {
            return None;
        }
        let merge = self.sets.merge(&[first, second])?;
        let absorb = self.emittable(&self.sets.union(&[first, second]))?;
        Some((merge, first, Group { place: a.place, absorb }))
    }

    /// Gives views that somebody reads in memory a kernel that copies.
    fn copy_views(&mut self) {
        for (rank, is_read) in self.read_views().into_iter().enumerate() {
            let is_reshape = self.graph.kind(self.order[rank]) == Some(Kind::Reshape);
            if is_read && !is_reshape && !self.is_taken(rank) {
                self.insert(&[rank], self.order.len() + rank);
            }
        }
    }

    /// By node: whether it is a view that is wanted in memory, as an output or by an op that absorbs no views.
    fn read_views(&self) -> Vec<bool> {
        let mut read = vec![false; self.order.len()];
        for (rank, &node) in self.order.iter().enumerate().rev() {
            read[rank] = self.graph.kind(node).is_some_and(is_view)
                && (self.graph.results(node).any(|v| self.graph.is_output(v))
                    || self.sets.users(rank).iter().any(|user| match self.groups[self.sets.set_of(*user)] {
                        Some(group) => !group.absorb,
                        None => read[*user] || !self.graph.kind(self.order[*user]).is_some_and(is_view),
                    }));
        }
        read
    }

    /// Whether an emitter takes the nodes, and whether with the views in front of them.
    fn emittable(&self, nodes: &[usize]) -> Option<bool> {
        [true, false].into_iter().find(|absorb| {
            let body = self.body(nodes, *absorb);
            !body.outputs.is_empty()
                && self.sizes_are_known(&body.graph)
                && self.sizes_fit(&body.graph)
                && emit::plan(&body.graph, self.choices).is_some()
        })
    }

    /// Whether the sizes of all values follow from what is there before: a kernel cannot tell a size.
    fn sizes_are_known(&self, body: &Graph) -> bool {
        let given = symbols(body, body.params());
        let values: Vec<Value> = body.order().into_iter().flat_map(|node| body.results(node)).collect();
        symbols(body, &values).iter().all(|s| self.known.contains(s) || given.contains(s))
    }

    /// Whether all that ops of the body need of their operands' sizes holds in every run: a kernel does not look. That one of
    /// two sizes turns out to be 1, and is repeated, only elementwise ops and `expand` see.
    fn sizes_fit(&self, body: &Graph) -> bool {
        body.order().into_iter().all(|node| {
            let Some(op) = body.op(node) else { return true };
            let operands = body.operands(node);
            let types: Vec<_> = operands.iter().map(|o| o.map(|v| body.ty(v))).collect();
            let demands = Demands::new(self.module);
            let sees_repeats = is_elementwise(op) || op.kind() == Kind::Expand;
            op.infer(&types, &demands).is_ok()
                && demands
                    .into_pairs()
                    .iter()
                    .all(|(a, b)| (sees_repeats || !repeats(a) && !repeats(b)) && self.module.implies(a, b))
        })
    }

    /// Makes a group of nodes that are in none with others, if an emitter takes it.
    fn insert(&mut self, nodes: &[usize], place: usize) -> bool {
        let sets: Vec<usize> = nodes.iter().map(|node| self.sets.set_of(*node)).collect();
        if sets.iter().any(|set| self.sets.members(*set).len() > 1) {
            return false;
        }
        let Some(merge) = self.sets.merge(&sets) else { return false };
        let Some(absorb) = self.emittable(nodes) else { return false };
        self.sets.apply(merge);
        sets.iter().for_each(|set| self.groups[*set] = None);
        self.groups[sets[0]] = Some(Group { place, absorb });
        true
    }

    fn is_taken(&self, rank: usize) -> bool {
        self.groups[self.sets.set_of(rank)].is_some()
    }

    /// The groups as functions, in the order of their calls.
    fn bodies(&self) -> Vec<Body> {
        let mut groups: Vec<(Group, usize)> =
            self.groups.iter().enumerate().filter_map(|(set, group)| Some(((*group)?, set))).collect();
        groups.sort_by_key(|(group, _)| group.place);
        groups.into_iter().map(|(group, set)| self.body(self.sets.members(set), group.absorb)).collect()
    }

    fn body(&self, nodes: &[usize], absorb: bool) -> Body {
        let taken = |node: NodeId| self.rank.get(&node).is_some_and(|rank| self.is_taken(*rank));
        let outside = |rank: usize| nodes.binary_search(&rank).is_err();
        let is_wanted = |v: Value| {
            let is_read = match self.graph.results(v.node).len() {
                1 => self.sets.users(self.rank[&v.node]).iter().any(|user| outside(*user)),
                _ => self
                    .graph
                    .users(v)
                    .iter()
                    .any(|(user, _)| self.rank.get(user).is_none_or(|r| outside(*r))),
            };
            is_read || self.graph.is_output(v)
        };
        let members: Vec<NodeId> = nodes.iter().map(|rank| self.order[*rank]).collect();
        Body::new(self.graph, &members, absorb, &taken, &is_wanted)
    }
}

/// Whether a size depends on which of others is 1.
fn repeats(dim: &Dim) -> bool {
    dim.factors().any(|f| matches!(f, Factor::Atom(atom) if atom.op() == AtomOp::Broadcast))
}

/// The symbols in the types of values.
fn symbols(graph: &Graph, values: &[Value]) -> FxHashSet<Symbol> {
    values.iter().flat_map(|v| graph.ty(*v).dims.iter().flat_map(Dim::symbols)).collect()
}

/// Puts calls into `@main`; groups with the same body share a function.
fn replace(module: &mut Module, bodies: Vec<Body>) {
    let mut known: FxHashMap<String, String> = FxHashMap::default();
    let mut replaced: FxHashMap<Value, Value> = FxHashMap::default();
    for body in bodies {
        let name = body.name();
        let function = Function { kind: FunctionKind::Kernel, graph: body.graph };
        let mut alone = Module { stage: Stage::Kernel, ..Module::default() };
        alone.functions.insert(String::new(), function.clone());
        let types: Vec<_> = function.signature().results;
        let symbol =
            known.entry(text::print(&alone)).or_insert_with(|| module.add_function(&name, function)).clone();
        let main = &mut module.functions[MAIN].graph;
        let args: Vec<_> = body.params.iter().map(|v| Some(*replaced.get(v).unwrap_or(v))).collect();
        let call = main.insert(Call { f: SymbolRef(symbol) }, &args, types);
        let results: Vec<_> = main.results(call).collect();
        for (old, new) in body.outputs.iter().zip(results) {
            main.replace(*old, new);
            replaced.insert(*old, new);
        }
    }
}
