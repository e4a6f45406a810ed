//! What follows the sums of a linear layer: scales, bias, and the ops behind them.
//!
//! A microkernel rescales. Where nothing follows, or only the addition of a dense value, it writes the results;
//! otherwise it writes over the sums, and code for rows goes on from there.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::Type as ClifType;
use trine_ir::{Dim, Graph, NodeId, Op, Value};

use super::super::Shape;
use super::super::emit::{ClifValue, Emit, Result};
use super::super::rows::{self, Region, Source};
use super::super::view::View;
use super::Plan;

/// What follows the rescaled sums.
pub enum Parts<'g> {
    /// Nothing, or the addition of an argument that is shaped like the result.
    Sum(Option<usize>),
    /// Elementwise ops on all of the outputs.
    Whole(rows::Plan<'g>),
    /// Results that are ranges of the outputs.
    Split(Vec<Range>),
}

/// Outputs `start .. start + len`, which are a result.
pub struct Range {
    result: usize,
    start: usize,
    len: usize,
}

impl<'g> Parts<'g> {
    /// What follows `sums`, which `inner` computes; `None` where that is no part of this kernel.
    pub fn new(graph: &'g Graph, inner: &[NodeId], sums: Value) -> Option<Parts<'g>> {
        let rest = graph.node_count() - graph.params().len() - inner.len();
        if rest == 0 && *graph.outputs() == [sums] {
            return Some(Parts::Sum(None));
        }
        if let Some(addend) = addend(graph, sums).filter(|_| rest == 1) {
            return Some(Parts::Sum(Some(addend)));
        }
        let users = graph.users(sums);
        let split = users.iter().find_map(|(user, _)| match graph.op(*user) {
            Some(Op::Split(s)) if s.axis + 1 == graph.ty(sums).rank() => Some((*user, s)),
            _ => None,
        });
        let Some((node, split)) = split else {
            return rows::Plan::behind(graph, inner).map(Parts::Whole);
        };
        if users.len() != 1 || rest != 1 {
            return None;
        }
        let mut ranges = vec![];
        for (result, output) in graph.outputs().iter().enumerate() {
            if output.node != node {
                return None;
            }
            let sizes: Vec<usize> = split.sizes.iter().map(Dim::as_const).collect::<Option<_>>()?;
            let part = output.result as usize;
            ranges.push(Range { result, start: sizes[..part].iter().sum(), len: sizes[part] });
        }
        Some(Parts::Split(ranges))
    }
}

/// The argument that the only result adds to the sums.
fn addend(graph: &Graph, sums: Value) -> Option<usize> {
    let [output] = graph.outputs() else { return None };
    let Some(Op::Add(_)) = graph.op(output.node) else { return None };
    let (a, b) = (graph.operand(output.node, 0)?, graph.operand(output.node, 1)?);
    let other = if a == sums { b } else { a };
    let view = View::of(graph, other).filter(|_| a == sums || b == sums)?;
    (view.is_plain() && view.dims == graph.ty(sums).dims).then_some(view.arg)
}

/// Turns the sums of the outputs `from .. to` into what the kernel gives.
pub fn emit(
    plan: &Plan,
    e: &mut Emit,
    rows: ClifValue,
    sums: (ClifValue, ClifValue),
    (from, to): (ClifValue, ClifValue),
) -> Result<()> {
    let shape = Shape::of(plan.graph);
    let zero = e.int(0);
    match &plan.parts {
        Parts::Sum(addend) => {
            let n = e.int(plan.geometry.n as i64);
            let results = Results { base: e.arg(shape.result(0)), start: zero, stride: n };
            let addend = addend.map(|arg| e.arg(arg));
            rescale(plan, e, rows, sums, (from, to), &results, addend)
        }
        Parts::Split(ranges) => {
            for Range { result, start, len } in ranges {
                let (start, len) = (e.int(*start as i64), e.int(*len as i64));
                let end = e.b.ins().iadd(start, len);
                let (from, to) = (e.b.ins().smax(from, start), e.b.ins().smin(to, end));
                let results = Results { base: e.arg(shape.result(*result)), start, stride: len };
                rescale(plan, e, rows, sums, (from, to), &results, None)?;
            }
            Ok(())
        }
        Parts::Whole(epilogue) => {
            let (base, stride) = sums;
            let stride = e.b.ins().imul_imm_s(stride, plan.geometry.groups as i64);
            rescale(plan, e, rows, sums, (from, to), &Results { base, start: zero, stride }, None)?;
            let row = |e: &mut Emit, row: ClifValue| {
                let offset = e.b.ins().imul(row, stride);
                Ok(vec![e.at(base, offset, 4)])
            };
            let load = |e: &mut Emit, row: &[ClifValue], index: ClifValue, ty: ClifType| {
                let place = e.at(row[0], index, 4);
                Ok(e.load(ty, place, 0))
            };
            let region = Region { begin: zero, end: rows, from, to };
            rows::emit_region(epilogue, e, &region, &Source { value: plan.sums, row: &row, load: &load })
        }
    }
}

/// Where outputs go: rows start `stride` apart, the first with output `start`.
struct Results {
    base: ClifValue,
    start: ClifValue,
    stride: ClifValue,
}

/// Rescales the sums of `from .. to`, none where that is empty.
fn rescale(
    plan: &Plan,
    e: &mut Emit,
    rows: ClifValue,
    (sums, group_stride): (ClifValue, ClifValue),
    (from, to): (ClifValue, ClifValue),
    results: &Results,
    addend: Option<ClifValue>,
) -> Result<()> {
    let g = plan.geometry;
    let null = e.int(0);
    let count = e.b.ins().isub(to, from);
    let count = e.b.ins().smax(count, null);
    let column = e.b.ins().isub(from, results.start);
    let row_scales = plan.row_scale.map_or(null, |arg| e.arg(arg));
    let bias = match plan.bias {
        Some(arg) => {
            let bias = e.arg(arg);
            e.at(bias, from, 4)
        }
        None => null,
    };
    let scales = e.arg(plan.scale);
    let fields = [
        e.at(sums, from, 4),
        e.b.ins().imul_imm_s(group_stride, g.groups as i64),
        group_stride,
        e.at(scales, from, 4),
        e.int(g.n_padded as i64),
        row_scales,
        bias,
        addend.map_or(null, |addend| e.at(addend, column, 4)),
        e.at(results.base, column, 4),
        results.stride,
        rows,
        e.int(g.groups as i64),
        count,
        e.int(i64::from(!plan.int8)),
    ];
    e.call_with_struct(plan.rescale, &fields)
}
