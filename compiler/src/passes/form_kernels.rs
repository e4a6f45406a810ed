//! Groups of ops become `call @kernel`: each kernel is a function of its own that is compiled as one.
//!
//! A group starts from one op and grows along data flow as long as an emitter takes the whole of it
//! (`codegen::Plan::new` is asked, so forming and emitting agree) and no path leaves the group and returns.
//! Ops that only move data are absorbed as views by the kernels that read them, and copied where nobody can.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::attr::SymbolRef;
use trine_ir::dim::Symbol;
use trine_ir::graph::Operands;
use trine_ir::op::{Demands, Stage};
use trine_ir::ops::Call;
use trine_ir::{Dim, Elem, Function, FunctionKind, Graph, Kind, MAIN, Module, NodeId, Op, Value, text};

use crate::codegen::{CodegenError, Plan, Target, view::is_view};
use crate::pass::{Cx, PassError};

/// The pass, for this machine.
pub fn run(module: &mut Module, _: &mut Cx) -> Result<usize, PassError> {
    let refused = |e: CodegenError| PassError::Option { pass: "form-kernels", message: e.to_string() };
    Ok(form(module, &Target::host().map_err(refused)?))
}

/// Forms the kernels of `@main` for `target`. Returns how many calls there are.
pub fn form(module: &mut Module, target: &Target) -> usize {
    let Some(main) = module.main() else { return 0 };
    let mut former = Former::new(module, &main.graph, target);
    former.seed();
    former.grow();
    former.copy_views();
    let bodies: Vec<Body> = former.groups.iter().flatten().map(|g| former.body(&g.nodes, g.absorb)).collect();
    let count = bodies.len();
    replace(module, bodies);
    module.stage = Stage::Kernel;
    module.sweep();
    count
}

struct Group {
    nodes: BTreeSet<usize>,
    /// Whether views in front of the group are part of it.
    absorb: bool,
}

/// A group as a function: its parameters and results in the graph it came from.
struct Body {
    graph: Graph,
    params: Vec<Value>,
    outputs: Vec<Value>,
    name: String,
}

struct Former<'g> {
    module: &'g Module,
    graph: &'g Graph,
    target: &'g Target,
    /// Nodes by rank, operands before users; sets of nodes are sets of ranks.
    order: Vec<NodeId>,
    rank: FxHashMap<NodeId, usize>,
    groups: Vec<Option<Group>>,
    group_of: FxHashMap<usize, usize>,
}

impl<'g> Former<'g> {
    fn new(module: &'g Module, graph: &'g Graph, target: &'g Target) -> Self {
        let order = graph.order();
        let rank = order.iter().enumerate().map(|(i, n)| (*n, i)).collect();
        Former { module, graph, target, order, rank, groups: vec![], group_of: FxHashMap::default() }
    }

    /// Gives every op that can be a kernel by itself a group.
    fn seed(&mut self) {
        for rank in (0..self.order.len()).rev() {
            let Some(op) = self.graph.op(self.order[rank]) else { continue };
            if is_view(op.kind()) || self.group_of.contains_key(&rank) {
                continue;
            }
            for nodes in self.seeds(rank, op) {
                if let Some(absorb) = self.emittable(&nodes) {
                    self.insert(Group { nodes, absorb });
                    break;
                }
            }
        }
        // Growth goes with the data.
        self.groups.reverse();
        let last = self.groups.len().saturating_sub(1);
        self.group_of.values_mut().for_each(|g| *g = last - *g);
    }

    /// What to try for an op, the largest first.
    fn seeds(&self, rank: usize, op: &Op) -> Vec<BTreeSet<usize>> {
        let node = self.order[rank];
        let mut nodes = BTreeSet::from([rank]);
        let behind = |kind: Kind| {
            let mut users = self.graph.results(node).flat_map(|v| self.graph.users(v));
            let user = users.next().map(|(user, _)| user).filter(|u| self.graph.kind(*u) == Some(kind))?;
            let only = users.all(|(u, _)| u == user) && !self.is_output(Value { node, result: 0 });
            self.rank.get(&user).copied().filter(|_| only)
        };
        match op {
            Op::Rescale(_) => {
                let sum = self.graph.operand(node, 0).map(|v| v.node);
                let select = sum.and_then(|s| self.graph.operand(s, 0)).map(|v| v.node);
                nodes.extend([sum, select].into_iter().flatten().filter_map(|n| self.rank.get(&n)));
                let mut split = nodes.clone();
                split.extend(behind(Kind::Split));
                vec![split, nodes]
            }
            Op::Matmul(_) => {
                let weights = self.graph.operand(node, 1).map(|v| v.node);
                let blocks = weights.filter(|w| self.graph.kind(*w) == Some(Kind::DequantizeBlocks));
                let mut with = nodes.clone();
                with.extend(blocks.and_then(|w| self.rank.get(&w)));
                vec![with, nodes]
            }
            Op::Attention(_) | Op::Rotary(_) => {
                let transposed = self.first_result_transposed(node);
                let mut with = nodes.clone();
                with.extend(transposed);
                vec![with, nodes]
            }
            _ => vec![nodes],
        }
    }

    /// The transpose that is the only use of the first result.
    fn first_result_transposed(&self, node: NodeId) -> Option<usize> {
        let first = Value { node, result: 0 };
        let users = self.graph.users(first);
        let [(user, _)] = users.as_slice() else { return None };
        let transposes = self.graph.kind(*user) == Some(Kind::Transpose) && !self.is_output(first);
        self.rank.get(user).copied().filter(|_| transposes)
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
        let operands = self.graph.operands(self.order[rank]);
        operands.into_iter().flatten().any(|producer| {
            let from = self.rank.get(&producer.node).and_then(|r| self.group_of.get(r)).copied();
            let into = self.group_of.get(&rank).copied();
            from.zip(into).is_some_and(|(from, into)| from != into && self.try_merge(from, into))
        })
    }

    fn try_merge(&mut self, first: usize, second: usize) -> bool {
        let (Some(a), Some(b)) = (&self.groups[first], &self.groups[second]) else { return false };
        let nodes: BTreeSet<usize> = a.nodes.union(&b.nodes).copied().collect();
        if !self.is_convex(&nodes) {
            return false;
        }
        let Some(absorb) = self.emittable(&nodes) else { return false };
        self.groups[second] = None;
        for rank in &nodes {
            self.group_of.insert(*rank, first);
        }
        self.groups[first] = Some(Group { nodes, absorb });
        true
    }

    /// Whether no path leaves the set and comes back, other groups counting as one step each.
    fn is_convex(&self, set: &BTreeSet<usize>) -> bool {
        let last = set.last().copied().unwrap_or(0);
        let mut seen: FxHashSet<usize> = FxHashSet::default();
        let mut work: Vec<usize> = vec![];
        let users = |rank: usize| {
            let node = self.order[rank];
            let values = self.graph.results(node);
            values.flat_map(|v| self.graph.users(v)).filter_map(|(u, _)| self.rank.get(&u).copied())
        };
        for rank in set {
            work.extend(users(*rank).filter(|u| !set.contains(u)));
        }
        while let Some(rank) = work.pop() {
            if !seen.insert(rank) {
                continue;
            }
            let group = self.group_of.get(&rank).and_then(|g| self.groups[*g].as_ref());
            if let Some(group) = group.filter(|g| g.nodes.is_disjoint(set)) {
                work.extend(group.nodes.iter().filter(|n| !seen.contains(n)));
            }
            for user in users(rank) {
                if set.contains(&user) {
                    return false;
                }
                // Ranks grow along paths, but a group may reach back.
                if user < last || self.group_of.contains_key(&user) {
                    work.push(user);
                }
            }
        }
        true
    }

    /// Gives views that somebody reads in memory a kernel that copies.
    fn copy_views(&mut self) {
        for rank in 0..self.order.len() {
            let node = self.order[rank];
            if !self.graph.kind(node).is_some_and(|k| is_view(k) && k != Kind::Reshape) {
                continue;
            }
            if self.group_of.contains_key(&rank) || !self.graph.results(node).any(|v| self.is_read(v)) {
                continue;
            }
            let nodes = BTreeSet::from([rank]);
            if let Some(absorb) = self.emittable(&nodes) {
                self.insert(Group { nodes, absorb });
            }
        }
    }

    /// Whether the result of a view is wanted in memory: as an output, or by an op that absorbs no views.
    fn is_read(&self, v: Value) -> bool {
        self.is_output(v)
            || self.graph.users(v).iter().any(|(user, _)| {
                let Some(rank) = self.rank.get(user) else { return false };
                match self.group_of.get(rank).and_then(|g| self.groups[*g].as_ref()) {
                    Some(group) => !group.absorb,
                    None if self.graph.kind(*user).is_some_and(is_view) => {
                        self.graph.results(*user).any(|v| self.is_read(v))
                    }
                    None => true,
                }
            })
    }

    /// Whether an emitter takes the set, and whether with the views in front of it.
    fn emittable(&self, nodes: &BTreeSet<usize>) -> Option<bool> {
        [true, false].into_iter().find(|absorb| {
            let body = self.body(nodes, *absorb);
            !body.outputs.is_empty()
                && self.sizes_are_known(&body.graph)
                && self.sizes_fit(&body.graph)
                && Plan::new(&body.graph, self.target).is_some()
        })
    }

    /// Whether the sizes of all values follow from what is there before: a kernel cannot tell a size.
    fn sizes_are_known(&self, body: &Graph) -> bool {
        let symbols = |graph: &Graph, values: &[Value]| -> FxHashSet<Symbol> {
            values.iter().flat_map(|v| graph.ty(*v).dims.iter().flat_map(Dim::symbols)).collect()
        };
        let known = symbols(self.graph, self.graph.params());
        let given = symbols(body, body.params());
        let values: Vec<Value> = body.order().into_iter().flat_map(|node| body.results(node)).collect();
        symbols(body, &values).iter().all(|s| known.contains(s) || given.contains(s))
    }

    /// Whether all that ops of the body need of their operands' sizes holds in every run: a kernel does not look.
    fn sizes_fit(&self, body: &Graph) -> bool {
        body.order().into_iter().all(|node| {
            let Some(op) = body.op(node) else { return true };
            let operands = body.operands(node);
            let types: Vec<_> = operands.iter().map(|o| o.map(|v| body.ty(v))).collect();
            let demands = Demands::new(self.module);
            op.infer(&types, &demands).is_ok()
                && demands.into_pairs().iter().all(|(a, b)| self.module.implies(a, b))
        })
    }

    fn insert(&mut self, group: Group) {
        for rank in &group.nodes {
            self.group_of.insert(*rank, self.groups.len());
        }
        self.groups.push(Some(group));
    }

    fn is_output(&self, v: Value) -> bool {
        self.graph.outputs().contains(&v)
    }

    /// The set as a function.
    fn body(&self, nodes: &BTreeSet<usize>, absorb: bool) -> Body {
        let taken = |node: NodeId| self.rank.get(&node).is_some_and(|r| self.group_of.contains_key(r));
        let mut copier = Copier {
            from: self.graph,
            taken: &taken,
            absorb,
            to: Graph::default(),
            params: vec![],
            map: FxHashMap::default(),
        };
        let members: FxHashSet<NodeId> = nodes.iter().map(|r| self.order[*r]).collect();
        let mut outputs = vec![];
        for rank in nodes {
            let node = self.order[*rank];
            copier.copy(node, &members);
            outputs.extend(self.graph.results(node).filter(|v| {
                self.is_output(*v) || self.graph.users(*v).iter().any(|(u, _)| !members.contains(u))
            }));
        }
        let results = outputs.iter().map(|v| copier.map[v]).collect();
        copier.to.set_outputs(results);
        let name = kernel_name(&copier.to);
        Body { graph: copier.to, params: copier.params, outputs, name }
    }
}

/// Copies nodes into a graph of their own.
struct Copier<'g> {
    from: &'g Graph,
    /// Whether a node is in a group, which then computes it.
    taken: &'g dyn Fn(NodeId) -> bool,
    absorb: bool,
    to: Graph,
    params: Vec<Value>,
    map: FxHashMap<Value, Value>,
}

impl Copier<'_> {
    fn copy(&mut self, node: NodeId, members: &FxHashSet<NodeId>) {
        let Some(op) = self.from.op(node) else { return };
        let args: Operands =
            self.from.operands(node).into_iter().map(|o| o.map(|v| self.operand(v, members))).collect();
        let types = self.from.results(node).map(|v| self.from.ty(v).clone()).collect();
        let copy = self.to.insert(op.clone(), &args, types);
        for (old, new) in self.from.results(node).zip(self.to.results(copy)) {
            self.map.insert(old, new);
        }
    }

    fn operand(&mut self, v: Value, members: &FxHashSet<NodeId>) -> Value {
        if let Some(copy) = self.map.get(&v) {
            return *copy;
        }
        if let Some(literal) = self.from.as_literal(v) {
            return self.to.literal(literal);
        }
        if self.absorb && self.moves_data(v, members) {
            self.copy(v.node, members);
            return self.map[&v];
        }
        let (name, ty) = (format!("x{}", self.params.len()), self.from.ty(v).clone());
        let param = match self.from.const_key(v) {
            Some(_) => self.to.constant_param(&name, ty),
            None => self.to.param(&name, ty),
        };
        self.params.push(v);
        self.map.insert(v, param);
        param
    }

    /// Whether the value is a view that is more than a new shape for memory as it lies.
    fn moves_data(&self, mut v: Value, members: &FxHashSet<NodeId>) -> bool {
        let free = |node: NodeId| !members.contains(&node) && !(self.taken)(node);
        while let Some(kind) = self.from.kind(v.node).filter(|k| is_view(*k) && free(v.node)) {
            if kind != Kind::Reshape {
                return true;
            }
            let Some(source) = self.from.operand(v.node, 0) else { return false };
            v = source;
        }
        false
    }
}

/// What the kernel does, in the order it does it, and how wide its rows are.
fn kernel_name(graph: &Graph) -> String {
    let mut words: Vec<&str> = vec![];
    for node in graph.order() {
        let Some(kind) = graph.kind(node) else { continue };
        let word = match kind {
            Kind::GroupSum | Kind::Rescale | Kind::Reshape => continue,
            Kind::SignSelect => "sign_sum",
            Kind::WeightProducts => match graph.operand(node, 1).map(|w| graph.ty(w).elem) {
                Some(Elem::I4) => "dot_int4",
                _ => "dot_int8",
            },
            kind => kind.mnemonic(),
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    let views_only = words.iter().all(|w| matches!(*w, "transpose" | "expand" | "split" | "slice"));
    if !views_only {
        words.retain(|w| !matches!(*w, "transpose" | "expand" | "split" | "slice"));
    }
    words.truncate(4);
    let width = graph.outputs().first().and_then(|v| graph.ty(*v).back(0).and_then(Dim::as_const));
    let width = width.filter(|w| *w > 1).map_or(String::new(), |w| format!("_{w}"));
    format!("{}{width}", if words.is_empty() { "copy".into() } else { words.join("_") })
}

/// Puts calls into `@main`; groups with the same body share a function.
fn replace(module: &mut Module, bodies: Vec<Body>) {
    let mut known: FxHashMap<String, String> = FxHashMap::default();
    let mut replaced: FxHashMap<Value, Value> = FxHashMap::default();
    for body in bodies {
        let function = Function { kind: FunctionKind::Kernel, graph: body.graph };
        let mut alone = Module { stage: Stage::Kernel, ..Module::default() };
        alone.functions.insert(String::new(), function.clone());
        let types: Vec<_> = function.signature().results;
        let symbol = known
            .entry(text::print(&alone))
            .or_insert_with(|| module.add_function(&body.name, function))
            .clone();
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
