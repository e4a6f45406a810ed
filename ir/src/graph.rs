//! The body of a function as an SSA graph. Nothing outside sees petgraph but for `NodeId`.
//!
//! petgraph keeps no order among edges, so an edge carries the operand slot it fills and the result it
//! takes. Constants and literals are interned: the same key is the same node.

use petgraph::Direction::{Incoming, Outgoing};
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::{EdgeRef, NodeIndexable};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;

use crate::attr::Attr;
use crate::dim::Dim;
use crate::literal::Literal;
use crate::op::{OpError, OpResult, Signatures};
use crate::ops::{Kind, Op};
use crate::ty::Type;

mod order;
mod sizers;

pub type NodeId = NodeIndex;

/// One result of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Value {
    pub node: NodeId,
    pub result: u32,
}

/// Operands of a node by slot; an absent optional operand is `None`.
pub type Operands = SmallVec<[Option<Value>; 4]>;

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Def {
    Param {
        /// Whether callers pass nothing but constants of the module: a kernel may then say how it reads them.
        constant: bool,
    },
    /// A constant of the module, by name.
    Const(String),
    Literal(Literal),
    Op(Op),
}

/// Where an op came from: the ONNX node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loc {
    pub node: Arc<str>,
    pub op_type: Arc<str>,
}

impl fmt::Display for Loc {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "ONNX node `{}` ({})", self.node.escape_debug(), self.op_type.escape_debug())
    }
}

#[derive(Clone, Debug)]
struct Node {
    def: Def,
    results: SmallVec<[Res; 1]>,
    slots: u32,
    loc: Option<Loc>,
}

#[derive(Clone, Debug)]
struct Res {
    name: String,
    ty: Type,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    slot: u32,
    result: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Graph {
    dag: StableDiGraph<Node, Edge>,
    params: Vec<Value>,
    outputs: Vec<Value>,
    /// Where in `outputs` a value stands: functions may have many results, and each is asked about often.
    output_slots: FxHashMap<Value, SmallVec<[u32; 1]>>,
    consts: FxHashMap<String, NodeId>,
    literals: FxHashMap<Literal, NodeId>,
    names: FxHashSet<String>,
    /// Where the search for a free `base_N` goes on, by base.
    next_suffix: FxHashMap<String, u32>,
    /// Ops that may give symbols their values: their results have some that their operands do not.
    sizers: FxHashSet<NodeId>,
}

/// Building.
impl Graph {
    /// A new parameter after the others.
    pub fn param(&mut self, name: &str, ty: Type) -> Value {
        self.add_param(name, ty, false)
    }

    /// A new parameter after the others, for which callers pass constants.
    pub fn constant_param(&mut self, name: &str, ty: Type) -> Value {
        self.add_param(name, ty, true)
    }

    /// Whether the value is a parameter for which callers pass constants.
    pub fn is_constant_param(&self, v: Value) -> bool {
        *self.def(v.node) == Def::Param { constant: true }
    }

    fn add_param(&mut self, name: &str, ty: Type, constant: bool) -> Value {
        let node = self.insert_node(Def::Param { constant }, vec![(name, ty)], &[]);
        let value = Value { node, result: 0 };
        self.params.push(value);
        value
    }

    /// The constant `key` of the module, whose type is `ty`.
    pub fn constant(&mut self, key: &str, ty: Type) -> Value {
        let node = match self.consts.get(key) {
            Some(node) => *node,
            None => {
                let node = self.leaf(Def::Const(key.into()), ty);
                self.consts.insert(key.into(), node);
                node
            }
        };
        Value { node, result: 0 }
    }

    pub fn literal(&mut self, literal: Literal) -> Value {
        let node = match self.literals.get(&literal) {
            Some(node) => *node,
            None => {
                let node = self.leaf(Def::Literal(literal), Type::scalar(literal.elem()));
                self.literals.insert(literal, node);
                node
            }
        };
        Value { node, result: 0 }
    }

    /// An op with one result, all of whose operands are present.
    pub fn add(&mut self, op: impl Into<Op>, args: &[Value]) -> OpResult<Value> {
        let args: Operands = args.iter().map(|a| Some(*a)).collect();
        let node = self.add_node(op, &args, &())?;
        match self.dag[node].results.len() {
            1 => Ok(Value { node, result: 0 }),
            n => Err(OpError(format!("has {n} results where one is used"))),
        }
    }

    /// An op whose result types are inferred. `module` answers for ops that name functions.
    pub fn add_node(
        &mut self,
        op: impl Into<Op>,
        args: &[Option<Value>],
        module: &dyn Signatures,
    ) -> OpResult<NodeId> {
        let op = op.into();
        let types: Vec<_> = args.iter().map(|a| a.map(|v| self.ty(v))).collect();
        let results = op.infer(&types, module)?;
        Ok(self.insert(op, args, results))
    }

    /// An op with given result types, for callers that verify later.
    pub fn insert(&mut self, op: impl Into<Op>, args: &[Option<Value>], results: Vec<Type>) -> NodeId {
        let op = op.into();
        let base = op.kind().mnemonic();
        let results = results.into_iter().map(|ty| (base, ty)).collect();
        self.insert_named(op, args, results)
    }

    /// An op with given result names and types; a name that is taken gets a number after it.
    pub fn insert_named(
        &mut self,
        op: impl Into<Op>,
        args: &[Option<Value>],
        results: Vec<(&str, Type)>,
    ) -> NodeId {
        self.insert_node(Def::Op(op.into()), results, args)
    }

    /// Makes `values` the results of the function.
    pub fn set_outputs(&mut self, values: Vec<Value>) {
        self.output_slots.clear();
        for (slot, value) in values.iter().enumerate() {
            self.output_slots.entry(*value).or_default().push(slot as u32);
        }
        self.outputs = values;
    }

    /// Names a value; a name that is taken gets a number after it.
    pub fn set_name(&mut self, value: Value, name: &str) {
        if self.name(value) == name {
            return;
        }
        let name = self.unique(name);
        let old = std::mem::replace(&mut self.res_mut(value).name, name);
        self.names.remove(&old);
    }

    pub fn set_loc(&mut self, node: NodeId, loc: Option<Loc>) {
        self.dag[node].loc = loc;
    }

    fn leaf(&mut self, def: Def, ty: Type) -> NodeId {
        let res = Res { name: String::new(), ty };
        self.dag.add_node(Node { def, results: SmallVec::from_iter([res]), slots: 0, loc: None })
    }

    fn insert_node(&mut self, def: Def, results: Vec<(&str, Type)>, args: &[Option<Value>]) -> NodeId {
        let results = results.into_iter().map(|(base, ty)| Res { name: self.unique(base), ty }).collect();
        let node = self.dag.add_node(Node { def, results, slots: args.len() as u32, loc: None });
        for (slot, arg) in args.iter().enumerate() {
            if let Some(v) = arg {
                self.dag.add_edge(v.node, node, Edge { slot: slot as u32, result: v.result });
            }
        }
        self.note_sizer(node);
        node
    }

    fn unique(&mut self, base: &str) -> String {
        let base = if base.is_empty() { "v" } else { base };
        if self.names.insert(base.into()) {
            return base.into();
        }
        let next = self.next_suffix.entry(base.into()).or_insert(1);
        loop {
            let name = format!("{base}_{next}");
            *next += 1;
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }

    fn res_mut(&mut self, v: Value) -> &mut Res {
        &mut self.dag[v.node].results[v.result as usize]
    }
}

/// Reading.
impl Graph {
    pub fn params(&self) -> &[Value] {
        &self.params
    }

    pub fn outputs(&self) -> &[Value] {
        &self.outputs
    }

    pub fn def(&self, node: NodeId) -> &Def {
        &self.dag[node].def
    }

    /// Whether the value is a result of the function.
    pub fn is_output(&self, v: Value) -> bool {
        self.output_slots.contains_key(&v)
    }

    /// The op of the node, if it is one.
    pub fn op(&self, node: NodeId) -> Option<&Op> {
        match &self.dag[node].def {
            Def::Op(op) => Some(op),
            _ => None,
        }
    }

    pub fn kind(&self, node: NodeId) -> Option<Kind> {
        self.op(node).map(Op::kind)
    }

    pub fn ty(&self, v: Value) -> &Type {
        &self.dag[v.node].results[v.result as usize].ty
    }

    /// The name in text; constants and literals have none.
    pub fn name(&self, v: Value) -> &str {
        &self.dag[v.node].results[v.result as usize].name
    }

    pub fn loc(&self, node: NodeId) -> Option<&Loc> {
        self.dag[node].loc.as_ref()
    }

    /// The name of the constant, if the value is one.
    pub fn const_key(&self, v: Value) -> Option<&str> {
        match &self.dag[v.node].def {
            Def::Const(key) => Some(key),
            _ => None,
        }
    }

    pub fn as_literal(&self, v: Value) -> Option<Literal> {
        match &self.dag[v.node].def {
            Def::Literal(l) => Some(*l),
            _ => None,
        }
    }

    pub fn results(&self, node: NodeId) -> impl ExactSizeIterator<Item = Value> + use<> {
        (0..self.dag[node].results.len() as u32).map(move |result| Value { node, result })
    }

    pub fn operands(&self, node: NodeId) -> Operands {
        let mut slots: Operands = SmallVec::from_elem(None, self.dag[node].slots as usize);
        for e in self.dag.edges_directed(node, Incoming) {
            let Edge { slot, result } = *e.weight();
            slots[slot as usize] = Some(Value { node: e.source(), result });
        }
        slots
    }

    /// The operand in `slot`, if there is one.
    pub fn operand(&self, node: NodeId, slot: usize) -> Option<Value> {
        self.operands(node).get(slot).copied().flatten()
    }

    /// Nodes and slots that use the value, in node order; uses as an output are not among them.
    pub fn users(&self, v: Value) -> Vec<(NodeId, usize)> {
        let edges = self.dag.edges_directed(v.node, Outgoing);
        let mut users: Vec<_> = edges
            .filter(|e| e.weight().result == v.result)
            .map(|e| (e.target(), e.weight().slot as usize))
            .collect();
        users.sort();
        users
    }

    /// Nodes that use the value, those that came to use it last first; one that uses it twice comes twice.
    pub fn latest_users(&self, v: Value) -> impl Iterator<Item = NodeId> + '_ {
        let edges = self.dag.edges_directed(v.node, Outgoing);
        edges.filter(move |e| e.weight().result == v.result).map(|e| e.target())
    }

    /// Uses by nodes and as outputs.
    pub fn use_count(&self, v: Value) -> usize {
        self.latest_users(v).count() + self.output_slots.get(&v).map_or(0, |slots| slots.len())
    }

    pub fn node_count(&self) -> usize {
        self.dag.node_count()
    }

    pub fn contains(&self, node: NodeId) -> bool {
        self.dag.contains_node(node)
    }
}

/// Rewriting.
impl Graph {
    /// Every use of `old` becomes one of `new`, which inherits the name and, if it has none, the location.
    pub fn replace(&mut self, old: Value, new: Value) {
        if old == new {
            return;
        }
        // The latest first: petgraph finds the edges that were added last first.
        for (user, slot) in self.users(old).into_iter().rev() {
            self.set_operand(user, slot, Some(new));
        }
        if let Some(slots) = self.output_slots.remove(&old) {
            slots.iter().for_each(|slot| self.outputs[*slot as usize] = new);
            self.output_slots.entry(new).or_default().extend(slots);
        }
        if matches!(self.dag[new.node].def, Def::Op(_)) && !self.name(old).is_empty() {
            let name = std::mem::take(&mut self.res_mut(old).name);
            let spare = std::mem::replace(&mut self.res_mut(new).name, name);
            self.res_mut(old).name = spare;
            if self.dag[new.node].loc.is_none() {
                self.dag[new.node].loc = self.dag[old.node].loc.clone();
            }
        }
    }

    /// Fills an existing slot of a node with another value, or empties it.
    pub fn set_operand(&mut self, node: NodeId, slot: usize, value: Option<Value>) {
        let old = self.dag.edges_directed(node, Incoming).find(|e| e.weight().slot as usize == slot);
        if let Some(edge) = old.map(|e| e.id()) {
            self.dag.remove_edge(edge);
        }
        if let Some(v) = value {
            self.dag.add_edge(v.node, node, Edge { slot: slot as u32, result: v.result });
        }
    }

    /// Replaces every dimension, of types and of attributes.
    pub fn map_dims(&mut self, with: &dyn Fn(&Dim) -> Dim) {
        for node in self.dag.node_weights_mut() {
            node.results.iter_mut().for_each(|r| r.ty.dims.map_dims(with));
            if let Def::Op(op) = &mut node.def {
                op.map_dims(with);
            }
        }
    }

    /// States another type for a value; the verifier compares it with what is inferred.
    pub fn set_type(&mut self, v: Value, ty: Type) {
        self.res_mut(v).ty = ty;
        self.note_sizer(v.node);
    }

    /// Drops every node that is not of the [order](Graph::order). Returns how many went.
    pub fn sweep(&mut self) -> usize {
        let order = self.order();
        let before = self.dag.node_count();
        if order.len() == before {
            return 0;
        }
        let mut live = vec![false; self.dag.node_bound()];
        order.iter().for_each(|node| live[node.index()] = true);
        // In one go: petgraph looks for each edge of a node that is removed among all of the other end's.
        let dag = std::mem::take(&mut self.dag);
        let keep = |id: NodeId, node: Node| {
            if live[id.index()] {
                return Some(node);
            }
            node.results.iter().for_each(|r| {
                self.names.remove(&r.name);
            });
            match node.def {
                Def::Const(key) => drop(self.consts.remove(&key)),
                Def::Literal(l) => drop(self.literals.remove(&l)),
                Def::Op(_) => drop(self.sizers.remove(&id)),
                Def::Param { .. } => {}
            }
            None
        };
        self.dag = dag.filter_map_owned(keep, |_, edge| Some(edge));
        before - self.dag.node_count()
    }
}
