//! `rms_norm(x, g) · W  →  rms_norm(x·R, 1) · (Rᵀ·diag(g)·W)` along a residual stream, `R` orthogonal and random
//!
//! Whatever writes the stream is multiplied by `R` in its weights, and whatever reads it through a norm undoes that in
//! its own; norms give `norm(x)·R = norm(x·R)` once their gains are in the weights after them. So the model computes
//! what it did, by as many ops, of weights whose outliers are spread over all columns (QuaRot, arXiv 2404.00456),
//! which rounds better. A table that is a head too becomes two constants. Option: `seed`, which `R` follows from.
//!
//! A stream is the values that additions join, if norms read it. One with a writer that is not a product with known
//! weights, or a reader that is no such norm, stays as it is, and a near miss says which.

use indexmap::IndexMap;
use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::ops::{Gather, Matmul, RmsNorm};
use trine_ir::{Def, Elem, Graph, Kind, MAIN, Module, NodeId, Op, Tensor, Type, Value};

use crate::layers::weights_name;
use crate::pass::{Cx, PassError};
use crate::pattern::{Refusal, Rewrite, Scope};
use trine_ternarize::Rotation;

const NAME: &str = "rotate-residual";

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let seed = cx.options.value(NAME, "seed", 0u64)?;
    let Some(function) = module.functions.get(MAIN) else { return Ok(0) };
    let scope = Scope { graph: &function.graph, consts: &module.consts };
    let (mut edits, mut count) = (Edits::default(), 0);
    for stream in streams(&scope) {
        match stream.turns(&scope) {
            Ok(turns) => {
                let rotation = Rotation::new(stream.width().unwrap_or(0), seed);
                turns.iter().for_each(|turn| turn.apply(&mut edits, &rotation));
                count += 1;
            }
            Err((node, refusal)) => cx.miss(NAME, MAIN, scope.graph, node, refusal),
        }
    }
    write(edits, module);
    module.sweep();
    Ok(count)
}

/// A node, and why it is not what was hoped for.
type Fault = (NodeId, Refusal);

/// New values of operands, by node and slot.
type Edits = IndexMap<(NodeId, usize), Tensor>;

/// The values that additions join, and what is at their ends.
struct Stream {
    ty: Type,
    members: Vec<Value>,
    /// Additions of constants, and the slots that they are in.
    biases: Vec<(NodeId, usize)>,
    norms: Vec<NodeId>,
    /// What makes it no stream of the kind that can be rotated.
    fault: Option<Fault>,
}

/// The streams that norms read, in the order of the graph.
fn streams(scope: &Scope) -> Vec<Stream> {
    let mut seen = FxHashSet::default();
    let mut found = vec![];
    for node in scope.graph.order() {
        let sum = Value { node, result: 0 };
        let is_residual = scope.graph.kind(node) == Some(Kind::Add)
            && scope.graph.operands(node).iter().flatten().all(|v| !scope.is_known(*v));
        if is_residual && !seen.contains(&sum) {
            let stream = Stream::around(scope, sum);
            seen.extend(stream.members.iter().copied());
            found.extend(Some(stream).filter(|s| !s.norms.is_empty()));
        }
    }
    found
}

impl Stream {
    fn around(scope: &Scope, sum: Value) -> Stream {
        let graph = scope.graph;
        let ty = graph.ty(sum).clone();
        let mut stream = Stream { ty, members: vec![], biases: vec![], norms: vec![], fault: None };
        let mut seen = FxHashSet::from_iter([sum]);
        let mut pending = vec![sum];
        while let Some(v) = pending.pop() {
            stream.members.push(v);
            let mut joined = stream.written(scope, v);
            joined.extend(stream.read(graph, v));
            pending.extend(joined.into_iter().filter(|v| seen.insert(*v)));
        }
        stream
    }

    /// The members that an addition makes `v` of.
    fn written(&mut self, scope: &Scope, v: Value) -> Vec<Value> {
        let graph = scope.graph;
        if graph.ty(v) != &self.ty {
            self.refuse(v.node, format!("it is {} in a stream of {}", graph.ty(v), self.ty));
        }
        if graph.kind(v.node) != Some(Kind::Add) {
            return vec![];
        }
        let operands = graph.operands(v.node).into_iter().flatten().enumerate();
        let (known, joined): (Vec<_>, Vec<_>) = operands.partition(|(_, v)| scope.is_known(*v));
        self.biases.extend(known.into_iter().map(|(slot, _)| (v.node, slot)));
        joined.into_iter().map(|(_, v)| v).collect()
    }

    /// The members that additions make of `v`.
    fn read(&mut self, graph: &Graph, v: Value) -> Vec<Value> {
        if graph.is_output(v) {
            self.refuse(v.node, "the stream is an output of the model");
        }
        let mut joined = vec![];
        for (user, slot) in graph.users(v) {
            match (graph.kind(user), slot) {
                (Some(Kind::Add), _) => joined.push(Value { node: user, result: 0 }),
                (Some(Kind::RmsNorm), RmsNorm::x) => self.norms.push(user),
                _ => self.refuse(user, "it reads the stream, and is not an RMSNorm"),
            }
        }
        joined
    }

    fn refuse(&mut self, node: NodeId, reason: impl Into<String>) {
        self.fault.get_or_insert((node, Refusal(reason.into())));
    }

    /// Numbers in a vector of the stream, if they are f32.
    fn width(&self) -> Option<usize> {
        self.ty.dims.last().and_then(|d| d.as_const()).filter(|_| self.ty.elem == Elem::F32)
    }

    /// What becomes of the constants around the stream.
    fn turns(&self, scope: &Scope) -> Result<Vec<Turn>, Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        if self.width().is_none() {
            return Err((self.members[0].node, Refusal(format!("the stream is {}", self.ty))));
        }
        let mut turns = vec![];
        for (node, slot) in &self.biases {
            turns.push(self.turn(scope, *node, *slot, Side::Rows)?);
        }
        for v in &self.members {
            match scope.graph.op(v.node) {
                Some(Op::Add(_)) => {}
                Some(Op::Gather(Gather { axis: 0 })) => {
                    turns.push(self.turn(scope, v.node, Gather::x, Side::Rows)?)
                }
                Some(Op::Matmul(Matmul { trans_b })) => {
                    turns.push(self.turn(scope, v.node, Matmul::b, Side::rows_if(!trans_b))?);
                }
                _ => {
                    return Err(refused(
                        v.node,
                        "it writes the stream, and is not a product with known weights",
                    ));
                }
            }
        }
        for norm in &self.norms {
            turns.extend(self.behind(scope, *norm)?);
        }
        Ok(turns)
    }

    /// Of a norm and the weights that read it.
    fn behind(&self, scope: &Scope, norm: NodeId) -> Result<Vec<Turn>, Fault> {
        let graph = scope.graph;
        let y = Value { node: norm, result: 0 };
        if graph.is_output(y) {
            return Err(refused(norm, "the norm is an output of the model"));
        }
        let unit = self.turn(scope, norm, RmsNorm::gain, Side::Gain)?;
        let gain = unit.w.values::<f32>().map_err(|e| (norm, e.into()))?.into_owned();
        let mut turns = vec![unit];
        for (user, slot) in graph.users(y) {
            match (graph.op(user), slot) {
                (Some(Op::Matmul(Matmul { trans_b })), Matmul::a) => {
                    let turn = self.turn(scope, user, Matmul::b, Side::rows_if(*trans_b))?;
                    turns.push(Turn { gain: Some(gain.clone()), ..turn });
                }
                _ => return Err(refused(user, "it reads a norm of the stream, and is not a product")),
            }
        }
        Ok(turns)
    }

    fn turn(&self, scope: &Scope, node: NodeId, slot: usize, side: Side) -> Result<Turn, Fault> {
        let operand = scope.graph.operand(node, slot);
        let Some(w) = operand.and_then(|v| scope.known(v)).filter(|w| w.elem() == Elem::F32) else {
            return Err(refused(node, "its weights are not known f32 numbers"));
        };
        let is_product = scope.graph.kind(node) == Some(Kind::Matmul);
        let along = if side == Side::Columns { w.dims().first() } else { w.dims().last() };
        if along.copied() != self.width() || is_product && w.rank() != 2 {
            return Err(refused(node, format!("its weights {} do not fit the stream", w.ty())));
        }
        Ok(Turn { node, slot, side, gain: None, w })
    }
}

fn refused(node: NodeId, reason: impl Into<String>) -> Fault {
    (node, Refusal(reason.into()))
}

/// Where vectors of the stream are in an operand.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Rows,
    Columns,
    /// It is the gain of a norm, which becomes 1.
    Gain,
}

impl Side {
    fn rows_if(rows: bool) -> Side {
        if rows { Side::Rows } else { Side::Columns }
    }
}

/// An operand that is rotated, and multiplied by a gain before that.
struct Turn {
    node: NodeId,
    slot: usize,
    side: Side,
    gain: Option<Vec<f32>>,
    /// What it was.
    w: Tensor,
}

impl Turn {
    /// Weights that stand between two streams, or that read and write one, are turned on both sides.
    fn apply(&self, edits: &mut Edits, rotation: &Rotation) {
        let w = edits.entry((self.node, self.slot)).or_insert_with(|| self.w.clone());
        let Ok(values) = w.values::<f32>() else { return };
        let (mut values, dims) = (values.into_owned(), w.dims().to_vec());
        match self.side {
            Side::Gain => values.fill(1.0),
            Side::Rows => self.rotate(&mut values, rotation),
            Side::Columns => {
                let columns = values.len() / dims[0].max(1);
                let mut turned = transposed(&values, columns);
                self.rotate(&mut turned, rotation);
                values = transposed(&turned, dims[0]);
            }
        }
        if let Ok(tensor) = Tensor::from_vec(dims, values) {
            *w = tensor;
        }
    }

    fn rotate(&self, rows: &mut [f32], rotation: &Rotation) {
        if let Some(gain) = &self.gain {
            for row in rows.chunks_mut(gain.len().max(1)) {
                row.iter_mut().zip(gain).for_each(|(w, g)| *w *= g);
            }
        }
        rotation.apply(rows);
    }
}

/// Rows of `columns` values as columns.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns.max(1);
    (0..columns).flat_map(|j| (0..rows).map(move |i| values[i * columns + j])).collect()
}

/// Puts new constants where the old ones were: under the same name, unless something else reads the old one.
fn write(edits: Edits, module: &mut Module) {
    let mut uses: FxHashMap<String, usize> = FxHashMap::default();
    for graph in module.functions.values().map(|f| &f.graph) {
        for node in graph.order() {
            if let Def::Const(key) = graph.def(node) {
                *uses.entry(key.to_string()).or_default() += graph.use_count(Value { node, result: 0 });
            }
        }
    }
    let Some(function) = module.functions.get_mut(MAIN) else { return };
    for ((node, slot), tensor) in edits {
        let g = Rewrite::new(&mut function.graph, &mut module.consts);
        let Some(old) = g.graph().operand(node, slot) else { continue };
        let key = weights_name(&g, old);
        let left = uses.get_mut(&key).filter(|_| g.graph().const_key(old).is_some());
        if let Some(left) = left {
            *left -= 1;
            if *left == 0 {
                module.consts.insert(key, tensor);
                continue;
            }
        }
        let new = Rewrite::new(&mut function.graph, &mut module.consts).constant(&key, tensor);
        function.graph.set_operand(node, slot, Some(new));
    }
}
