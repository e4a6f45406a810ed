//! What follows the sums of a linear layer: scales, bias, and the ops after them.
//!
//! A microkernel rescales. Where nothing follows, or only the addition of a dense value, it writes the results;
//! otherwise it writes over the sums, and code for rows goes on from there. Of a gated layer, which is one product whose
//! halves meet, each part takes the same columns of both halves.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::Type as ClifType;
use trine_ir::ops::Add;
use trine_ir::{Dim, Graph, NodeId, Op, Value};
use trine_ukernel::{Geometry, best, rescale, silu};

use super::super::Shape;
use super::super::arguments::arguments;
use super::super::function::{ClifValue, Emit, Result};
use super::super::rows::{self, Region, RowsKernel, Source};
use super::super::view::View;
use super::{Rows, SignSumKernel};
use crate::Target;

/// What follows the rescaled sums.
pub enum Parts<'g> {
    /// Nothing, or the addition of an argument that is shaped like the result.
    Sum(Option<usize>),
    /// Elementwise ops on all of the outputs.
    Whole { plan: RowsKernel<'g>, sums: Value },
    /// Results that are ranges of the outputs.
    Split(Vec<Range>),
    /// Elementwise ops on the two halves of the outputs, as in a gated layer.
    Halves { plan: RowsKernel<'g>, halves: [Half; 2] },
}

/// Outputs `start .. start + len`, which are a result.
pub struct Range {
    result: usize,
    start: usize,
    len: usize,
}

/// A half of the outputs, of which each part computes the same columns.
pub struct Half {
    value: Value,
    /// The microkernel that takes it through SiLU, of which `value` is the result then.
    silu: Option<&'static str>,
}

impl<'g> Parts<'g> {
    /// What follows `sums`, which `inner` computes; `None` where that is not a part of this kernel.
    pub fn new(
        graph: &'g Graph,
        inner: &[NodeId],
        sums: Value,
        geometry: &Geometry,
        target: &Target,
    ) -> Option<Parts<'g>> {
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
            return RowsKernel::behind(graph, inner).map(|plan| Parts::Whole { plan, sums });
        };
        if users.len() != 1 {
            return None;
        }
        let sizes: Vec<usize> = split.sizes.iter().map(Dim::as_const).collect::<Option<_>>()?;
        if rest > 1 {
            let tile = geometry.layout.tile();
            let halves = matches!(sizes[..], [a, b] if a == b && a.is_multiple_of(tile));
            return if halves { Parts::halves(graph, inner, node, target) } else { None };
        }
        let range = |(result, output): (usize, &Value)| {
            let part = output.result as usize;
            (output.node == node).then(|| Range {
                result,
                start: sizes[..part].iter().sum(),
                len: sizes[part],
            })
        };
        graph.outputs().iter().enumerate().map(range).collect::<Option<_>>().map(Parts::Split)
    }

    /// Ops on both results of `split`, which are none of the kernel's own.
    fn halves(graph: &'g Graph, inner: &[NodeId], split: NodeId, target: &Target) -> Option<Parts<'g>> {
        let mut inner = [inner, &[split]].concat();
        let mut half = |result: u32| {
            let value = Value { node: split, result };
            let users = graph.users(value);
            if users.is_empty() || graph.outputs().contains(&value) {
                return None;
            }
            let [(user, _)] = users[..] else { return Some(Half { value, silu: None }) };
            let Some(Op::Silu(_)) = graph.op(user) else { return Some(Half { value, silu: None }) };
            inner.push(user);
            let value = Value { node: user, result: 0 };
            Some(Half { value, silu: Some(best(silu::VARIANTS, target.features)?.symbol) })
        };
        let halves = [half(0)?, half(1)?];
        let is_source = |v: &Value| halves.iter().any(|h| h.value == *v);
        if graph.outputs().iter().any(is_source) {
            return None;
        }
        Some(Parts::Halves { plan: RowsKernel::behind(graph, &inner)?, halves })
    }

    /// The microkernel that takes halves through SiLU.
    pub fn silu(&self) -> Option<&'static str> {
        match self {
            Parts::Halves { halves, .. } => halves.iter().find_map(|half| half.silu),
            _ => None,
        }
    }

    /// Into how many blocks of outputs the tiles fall, from each of which a chunk takes some.
    pub fn blocks(&self) -> usize {
        if matches!(self, Parts::Halves { .. }) { 2 } else { 1 }
    }
}

/// The argument that the only result adds to the sums.
fn addend(graph: &Graph, sums: Value) -> Option<usize> {
    let [output] = graph.outputs() else { return None };
    let Some(Op::Add(_)) = graph.op(output.node) else { return None };
    let (a, b) = (graph.operand(output.node, Add::a)?, graph.operand(output.node, Add::b)?);
    let other = if a == sums { b } else { a };
    let view = View::of(graph, other).filter(|_| a == sums || b == sums)?;
    (view.is_plain() && view.dims == graph.ty(sums).dims).then_some(view.arg)
}

/// Turns the sums of the outputs `from .. to` of each block into what the kernel gives. A block's sums are where its
/// first output of all would have them, those of the first of `rows` in front.
pub fn emit(
    plan: &SignSumKernel,
    e: &mut Emit,
    rows: Rows,
    (sums, stride): (&[ClifValue], ClifValue),
    (from, to): (ClifValue, ClifValue),
) -> Result<()> {
    let shape = Shape::of(plan.graph);
    let zero = e.int(0);
    let row_stride = e.b.ins().imul_imm_s(stride, plan.sums() as i64);
    let row = |base: ClifValue| {
        move |e: &mut Emit, row: ClifValue| {
            let row = e.b.ins().isub(row, rows.first);
            let offset = e.b.ins().imul(row, row_stride);
            Ok(vec![e.at(base, offset, 4)])
        }
    };
    let load = |e: &mut Emit, row: &[ClifValue], index: ClifValue, ty: ClifType| {
        let place = e.at(row[0], index, 4);
        Ok(e.load(ty, place, 0))
    };
    let end = e.b.ins().iadd(rows.first, rows.count);
    let region = Region { begin: rows.first, end, from, to };
    let outputs = Outputs { first: 0, from, to };
    match &plan.parts {
        Parts::Sum(addend) => {
            let n = e.int(plan.geometry.n as i64);
            let results = Results { base: e.arg(shape.result(0)), row: rows.first, start: zero, stride: n };
            let addend = addend.map(|arg| e.arg(arg));
            rescale(plan, e, rows, (sums[0], stride), &outputs, &results, addend)
        }
        Parts::Split(ranges) => {
            for Range { result, start, len } in ranges {
                let (start, len) = (e.int(*start as i64), e.int(*len as i64));
                let end = e.b.ins().iadd(start, len);
                let (from, to) = (e.b.ins().smax(from, start), e.b.ins().smin(to, end));
                let results =
                    Results { base: e.arg(shape.result(*result)), row: rows.first, start, stride: len };
                let outputs = Outputs { first: 0, from, to };
                rescale(plan, e, rows, (sums[0], stride), &outputs, &results, None)?;
            }
            Ok(())
        }
        Parts::Whole { plan: epilogue, sums: value } => {
            let results = Results { base: sums[0], row: zero, start: zero, stride: row_stride };
            rescale(plan, e, rows, (sums[0], stride), &outputs, &results, None)?;
            let source = Source { value: *value, row: &row(sums[0]), load: &load };
            rows::emit_region(epilogue, e, &region, &[source])
        }
        Parts::Halves { plan: epilogue, halves } => {
            for ((i, half), sums) in halves.iter().enumerate().zip(sums) {
                let outputs = Outputs { first: i * plan.geometry.n / 2, from, to };
                let results = Results { base: *sums, row: zero, start: zero, stride: row_stride };
                rescale(plan, e, rows, (*sums, stride), &outputs, &results, None)?;
                if let Some(silu) = half.silu {
                    rows::map_in_place(e, silu, &region, row(*sums))?;
                }
            }
            let places = [row(sums[0]), row(sums[1])];
            let source = |i: usize| Source { value: halves[i].value, row: &places[i], load: &load };
            rows::emit_region(epilogue, e, &region, &[source(0), source(1)])
        }
    }
}

/// Outputs of a block: those after its `first`, which is a constant, that are taken.
struct Outputs {
    first: usize,
    from: ClifValue,
    to: ClifValue,
}

/// Where outputs go: rows start `stride` apart, each with output `start`, and the first is row `row` of those at `base`.
struct Results {
    base: ClifValue,
    row: ClifValue,
    start: ClifValue,
    stride: ClifValue,
}

/// Rescales the sums of a block's outputs, none where the range is empty.
fn rescale(
    plan: &SignSumKernel,
    e: &mut Emit,
    rows: Rows,
    (sums, group_stride): (ClifValue, ClifValue),
    outputs: &Outputs,
    results: &Results,
    addend: Option<ClifValue>,
) -> Result<()> {
    let g = plan.geometry;
    let null = e.int(0);
    let from = outputs.from;
    let count = e.b.ins().isub(outputs.to, from);
    let count = e.b.ins().smax(count, null);
    let column = e.b.ins().isub(from, results.start);
    let before = e.b.ins().imul(results.row, results.stride);
    let result = e.b.ins().iadd(before, column);
    let output = match outputs.first {
        0 => from,
        first => e.b.ins().iadd_imm_s(from, first as i64),
    };
    // What is scaled has its factors of groups, too.
    let factors = plan.row_scale.filter(|_| !plan.is_scaled() || plan.row_scales == 1);
    let row_scales = match factors {
        Some(arg) => {
            let row_scales = e.arg(arg);
            e.at(row_scales, rows.first, 4 * plan.row_scales as i64)
        }
        None => null,
    };
    let bias = match plan.bias {
        Some(arg) => {
            let bias = e.arg(arg);
            e.at(bias, output, 4)
        }
        None => null,
    };
    let scales = match plan.is_scaled() {
        true => null,
        false => {
            let scales = e.arg(plan.scale);
            e.at(scales, output, 4)
        }
    };
    let args = arguments!(rescale::RescaleF32 {
        sums: e.at(sums, from, 4),
        sums_stride: e.b.ins().imul_imm_s(group_stride, plan.sums() as i64),
        group_stride,
        scales,
        scales_stride: e.int(g.n_padded as i64),
        row_scales,
        bias,
        addend: addend.map_or(null, |addend| e.at(addend, result, 4)),
        out: e.at(results.base, result, 4),
        out_stride: results.stride,
        rows: rows.count,
        groups: e.int(plan.sums() as i64),
        n: count,
        floats: e.int(i64::from(!plan.int8 || plan.is_scaled())),
        group_scales: e.int(i64::from(plan.row_scales > 1)),
    });
    e.call_with_struct(plan.rescale, args)
}
