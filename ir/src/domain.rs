//! Domains: over which elements each value of a kernel's body is computed.
//!
//! A kernel of elementwise ops and reductions of rows has one domain, the shape of its widest values. Every value that
//! it computes has an element for each of the domain's, or one for each row of it, which all of the row read. A value
//! that is narrower in another way would be computed over elements that it does not have, so there is none: it is a
//! kernel of its own, whose result is read as an argument, which broadcasts like any. Whoever forms kernels and whoever
//! emits them asks here, and the verifier holds them to the answer.

use crate::dim::Dim;
use crate::graph::{Def, Graph, NodeId, Value};
use crate::ops::{Kind, Op, is_elementwise};
use crate::ty::{Elem, Type};

/// The shape of a body's widest values; no axis is missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain(Vec<Dim>);

/// The elements of a value beside those of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// One for each.
    Full,
    /// One for each row, that is for all that differ in the last axis alone.
    Row,
}

/// A node whose operand or result does not lie in the domain, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stray {
    pub node: NodeId,
    pub message: String,
}

impl Domain {
    /// The domain of a body, in which every value lies that an elementwise op or a reduction of rows computes or reads
    /// from another op. Ops that are none of these, such as products, have shapes of their own, but what is read of
    /// them has an element for each of the domain's.
    pub fn of(graph: &Graph) -> Result<Domain, Stray> {
        let domain = Domain::widest(graph);
        let order = graph.order();
        let ops: Vec<NodeId> =
            order.into_iter().filter(|n| graph.op(*n).is_some() && !is_argument(graph, *n)).collect();
        let of_rows = |n: &NodeId| is_row_op(graph, *n);
        if !ops.is_empty() && !ops.iter().any(of_rows) {
            return Ok(domain);
        }
        for node in ops.iter().copied().filter(of_rows) {
            for value in graph.results(node) {
                if domain.extent(graph.ty(value)).is_none() {
                    return Err(domain.stray(graph, node, value, "lies"));
                }
            }
            let reduced = graph.operand(node, 0).filter(|_| is_row_reduction(graph, node));
            if let Some(x) = reduced.filter(|x| graph.ty(*x).dims != domain.0) {
                return Err(domain.stray(graph, node, x, "is reduced"));
            }
            let computed = |v: &Value| matches!(graph.def(v.node), Def::Op(_)) && !is_argument(graph, v.node);
            let mut sources = graph.operands(node).into_iter().flatten().filter(computed);
            if let Some(x) = sources.find(|v| !of_rows(&v.node) && !domain.has_elements_of(graph.ty(*v))) {
                return Err(domain.stray(graph, node, x, "is read"));
            }
        }
        for output in graph.outputs() {
            let ty = graph.ty(*output);
            let made_of_rows = of_rows(&output.node) || is_argument(graph, output.node);
            if !(domain.has_elements_of(ty) || made_of_rows && domain.extent(ty).is_some()) {
                return Err(domain.stray(graph, output.node, *output, "is a result"));
            }
        }
        Ok(domain)
    }

    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// The elements of a value of this type that elementwise ops or reductions compute; `None` if it does not lie in
    /// the domain.
    pub fn extent(&self, ty: &Type) -> Option<Extent> {
        if ty.dims == self.0 || ty.rank() == 0 && self.is_number() {
            return Some(Extent::Full);
        }
        let (last, outer) = ty.dims.split_last()?;
        let by_row = last.as_const() == Some(1) && *outer == self.0[..self.0.len() - 1];
        by_row.then_some(Extent::Row)
    }

    /// Whether the domain is a single element.
    pub fn is_number(&self) -> bool {
        self.0 == [Dim::constant(1)]
    }

    /// Whether a value of this type has the domain's elements in their order: axes of one in front change nothing.
    fn has_elements_of(&self, ty: &Type) -> bool {
        fn without_ones(dims: &[Dim]) -> &[Dim] {
            let ones = dims.iter().take_while(|d| d.as_const() == Some(1)).count();
            &dims[ones..]
        }
        // The last axis is a row, even of one.
        match (ty.dims.split_last(), self.0.split_last()) {
            (Some((a, outer_a)), Some((b, outer_b))) => {
                a == b && without_ones(outer_a) == without_ones(outer_b)
            }
            _ => self.is_number(),
        }
    }

    /// The shape of the first output or reduced operand whose rows have more than one element, else of the first.
    fn widest(graph: &Graph) -> Domain {
        let mut candidates: Vec<Value> = graph.outputs().to_vec();
        for node in graph.order().into_iter().filter(|n| is_row_reduction(graph, *n)) {
            candidates.extend(graph.operand(node, 0));
        }
        let wide = |v: &&Value| graph.ty(**v).back(0).is_some_and(|d| d.as_const() != Some(1));
        let widest = candidates.iter().find(wide).or(candidates.first());
        let dims = widest.map(|v| graph.ty(*v).dims.clone()).unwrap_or_default();
        Domain(if dims.is_empty() { vec![Dim::constant(1)] } else { dims })
    }

    fn stray(&self, graph: &Graph, node: NodeId, value: Value, what: &str) -> Stray {
        let dims: Vec<String> = self.0.iter().map(Dim::to_string).collect();
        let (name, ty, domain) = (graph.name(value), graph.ty(value), dims.join(","));
        Stray { node, message: format!("`%{name}` {what} as {ty} in a kernel over [{domain}]") }
    }
}

/// Whether the node reduces the last axis, which it keeps, and can be part of a kernel over rows.
pub fn is_row_reduction(graph: &Graph, node: NodeId) -> bool {
    let Some(op) = graph.op(node) else { return false };
    let Some(x) = graph.operand(node, 0) else { return false };
    let ty = graph.ty(x);
    let Some(last) = ty.rank().checked_sub(1) else { return false };
    match op {
        Op::ReduceSum(r) if matches!(ty.elem, Elem::I64 | Elem::I32) => r.keepdims && r.axes == [last],
        _ if !matches!(ty.elem, Elem::F32 | Elem::F16 | Elem::Bf16) => false,
        Op::RmsNorm(_) | Op::LayerNorm(_) | Op::QuantizeRows(_) => true,
        Op::Softmax(s) => s.axis == last,
        Op::ReduceSum(r) => r.keepdims && r.axes == [last],
        Op::ReduceMean(r) => r.keepdims && r.axes == [last],
        Op::ReduceSumSquare(r) => r.keepdims && r.axes == [last],
        Op::ReduceMax(r) => r.keepdims && r.axes == [last],
        Op::ReduceMin(r) => r.keepdims && r.axes == [last],
        _ => false,
    }
}

/// Ops whose result is a view of their first operand.
pub fn is_view(kind: Kind) -> bool {
    matches!(kind, Kind::Transpose | Kind::Expand | Kind::Reshape | Kind::Split)
}

/// Whether the op is computed element by element, or row by row.
fn is_row_op(graph: &Graph, node: NodeId) -> bool {
    graph.op(node).is_some_and(is_elementwise) || is_row_reduction(graph, node)
}

/// Whether the node is an argument, a number, or a view of one, which may broadcast.
fn is_argument(graph: &Graph, mut node: NodeId) -> bool {
    while graph.kind(node).is_some_and(is_view) {
        let Some(source) = graph.operand(node, 0) else { return false };
        node = source.node;
    }
    graph.op(node).is_none()
}
