//! A group of nodes as a function of its own, and what it is called.

use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::graph::Operands;
use trine_ir::ops::WeightProducts;
use trine_ir::{Dim, Elem, Graph, Kind, NodeId, Value};

use crate::emit::view::is_view;

/// Views in front of one another that a kernel reads through.
pub const MAX_VIEWS: usize = 16;

/// A group as a function: its parameters and results in the graph it came from.
pub struct Body {
    pub graph: Graph,
    pub params: Vec<Value>,
    pub outputs: Vec<Value>,
}

impl Body {
    /// The function of `nodes`, in order. `taken` says whether a node is in some group, which then computes it;
    /// `absorb`, whether views of what the group reads are part of it; `is_wanted`, whether anybody but the group needs
    /// a value.
    pub fn new(
        graph: &Graph,
        nodes: &[NodeId],
        absorb: bool,
        taken: &dyn Fn(NodeId) -> bool,
        is_wanted: &dyn Fn(Value) -> bool,
    ) -> Body {
        let mut copier = Copier {
            from: graph,
            taken,
            absorb,
            to: Graph::default(),
            params: vec![],
            map: FxHashMap::default(),
            members: nodes.iter().copied().collect(),
            depth: 0,
        };
        let mut outputs = vec![];
        for node in nodes {
            copier.copy(*node);
            outputs.extend(graph.results(*node).filter(|v| is_wanted(*v)));
        }
        let results = outputs.iter().map(|v| copier.map[v]).collect();
        copier.to.set_outputs(results);
        Body { graph: copier.to, params: copier.params, outputs }
    }

    /// What the kernel does, in the order it does it, and how wide its rows are.
    pub fn name(&self) -> String {
        let graph = &self.graph;
        let mut words: Vec<&str> = vec![];
        for node in graph.order() {
            let Some(kind) = graph.kind(node) else { continue };
            let word = match kind {
                Kind::GroupSum | Kind::Rescale | Kind::Reshape => continue,
                Kind::SignSelect => "sign_sum",
                Kind::WeightProducts => {
                    match graph.operand(node, WeightProducts::w).map(|w| graph.ty(w).elem) {
                        Some(Elem::I4) => "dot_int4",
                        _ => "dot_int8",
                    }
                }
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
}

/// Copies nodes into a graph of their own.
struct Copier<'g> {
    from: &'g Graph,
    taken: &'g dyn Fn(NodeId) -> bool,
    absorb: bool,
    to: Graph,
    params: Vec<Value>,
    map: FxHashMap<Value, Value>,
    members: FxHashSet<NodeId>,
    /// Views that are being copied, one in front of the other.
    depth: usize,
}

impl Copier<'_> {
    fn copy(&mut self, node: NodeId) {
        let Some(op) = self.from.op(node) else { return };
        let operands = self.from.operands(node).into_iter();
        let args: Operands = operands.map(|o| o.map(|v| self.operand(v, op.kind()))).collect();
        let types = self.from.results(node).map(|v| self.from.ty(v).clone()).collect();
        let copy = self.to.insert(op.clone(), &args, types);
        for (old, new) in self.from.results(node).zip(self.to.results(copy)) {
            self.map.insert(old, new);
        }
    }

    /// The operand of an op of kind `user`.
    fn operand(&mut self, v: Value, user: Kind) -> Value {
        if let Some(copy) = self.map.get(&v) {
            return *copy;
        }
        // A view shows memory, so that a literal is passed to it.
        if let Some(literal) = self.from.as_literal(v).filter(|_| !is_view(user)) {
            return self.to.literal(literal);
        }
        if self.absorb && self.depth < MAX_VIEWS && self.moves_data(v) {
            self.depth += 1;
            self.copy(v.node);
            self.depth -= 1;
            return self.map[&v];
        }
        let (name, ty) = (format!("x{}", self.params.len()), self.from.ty(v).clone());
        // What is a constant is packed for whoever reads it. A table of which rows are looked up, and which nobody multiplies,
        // is as it is.
        let looked_up = user == Kind::Gather && self.from.use_count(v) == 1;
        let param = match self.from.const_key(v).filter(|_| !looked_up) {
            Some(_) => self.to.constant_param(&name, ty),
            None => self.to.param(&name, ty),
        };
        self.params.push(v);
        self.map.insert(v, param);
        param
    }

    /// Whether the value is a view that is more than a new shape for memory as it lies.
    fn moves_data(&self, mut v: Value) -> bool {
        let free = |node: NodeId| !self.members.contains(&node) && !(self.taken)(node);
        for _ in 0..MAX_VIEWS {
            let Some(kind) = self.from.kind(v.node).filter(|k| is_view(*k) && free(v.node)) else {
                return false;
            };
            if kind != Kind::Reshape {
                return true;
            }
            let Some(source) = self.from.operand(v.node, 0) else { return false };
            v = source;
        }
        false
    }
}
