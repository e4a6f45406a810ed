//! Sign selection or products with int8, addition and rescaling: the linear layer of quantized weights.
//!
//! The sums come from a microkernel; this driver pads or prepares the activations, calls it on its share of
//! the tiles, and then turns sums into outputs: scales, bias and whatever elementwise ops follow.

mod pad;

use cranelift_codegen::ir::types::{F32, F32X4, I32, I32X4};
use cranelift_codegen::ir::{InstBuilder, Type as ClifType};
use trine_ir::{Dim, Elem, Graph, NodeId, Op, Value};
use trine_ukernel::Geometry;

use super::choice::{Contraction, Layer, Product};
use super::emit::{ClifValue, Emit, Result};
use super::matmul::ceil_div;
use super::rows::{self, Region, Source};
use super::target::Target;
use super::view::View;
use super::{ArgLayout, CodegenError, Shape, contraction};

/// Sums that a chunk of tiles has at most: as many as the second cache holds beside all else.
const CHUNK: i64 = 1 << 18;

/// Tiles that a chunk is a multiple of, for microkernels that take several at a time.
const WHOLE: i64 = 8;

pub struct Plan<'g> {
    graph: &'g Graph,
    layer: Layer,
    x: View,
    weights: usize,
    scale: usize,
    row_scale: Option<View>,
    bias: Option<usize>,
    geometry: Geometry,
    int8: bool,
    contraction: Contraction,
    sums: Value,
    parts: Parts<'g>,
}

/// What follows the rescaled sums.
enum Parts<'g> {
    /// Elementwise ops on all of the outputs.
    Whole(rows::Plan<'g>),
    /// Results that are ranges of the outputs: result, first output, number of outputs.
    Split(Vec<(usize, usize, usize)>),
}

impl<'g> Plan<'g> {
    /// The plan, or `None` when the body is none of these.
    pub fn new(graph: &'g Graph, target: &Target) -> Option<Plan<'g>> {
        let order = graph.order();
        let find = |f: fn(&Op) -> bool| {
            let mut hits = order.iter().filter(|n| graph.op(**n).is_some_and(f));
            hits.next().copied().filter(|_| hits.next().is_none())
        };
        let select = find(|op| matches!(op, Op::SignSelect(_) | Op::WeightProducts(_)))?;
        let sum = find(|op| matches!(op, Op::GroupSum(_)))?;
        let rescale = find(|op| matches!(op, Op::Rescale(_)))?;
        let Some(Op::GroupSum(group)) = graph.op(sum) else { return None };
        let (x, w) = (graph.operand(select, 0)?, graph.operand(select, 1)?);
        let int8 = graph.ty(x).elem == Elem::I8;
        let [n, k] = graph.ty(w).static_dims()?.try_into().ok()?;
        let product = match (graph.op(select), int8) {
            (Some(Op::WeightProducts(_)), _) => Product::Int8Int8,
            (_, true) => Product::TritsInt8,
            (_, false) => Product::TritsF32,
        };
        let param = |v: Value| graph.params().iter().position(|p| *p == v);
        let row_scale = match graph.operand(rescale, 2) {
            Some(s) => Some(View::of(graph, s)?),
            None => None,
        };
        let bias = match graph.operand(rescale, 3) {
            Some(b) => Some(param(b)?),
            None => None,
        };
        let x = View::of(graph, x)?;
        let rows =
            x.dims[..x.dims.len() - 1].iter().try_fold(1, |all: usize, d| all.checked_mul(d.as_const()?));
        let layer = Layer { product, rows, n, k, group: group.group };
        let (geometry, contraction) = target.sign_sum(&layer)?;
        // Rows are taken one after another.
        x.outer_stride(1).filter(|_| x.strides.last().and_then(Dim::as_const) == Some(1))?;
        let inner = [select, sum, rescale];
        Some(Plan {
            graph,
            layer,
            x,
            weights: param(w)?,
            scale: param(graph.operand(rescale, 1)?)?,
            row_scale,
            bias,
            geometry,
            int8,
            contraction,
            sums: Value { node: rescale, result: 0 },
            parts: Parts::new(graph, &inner, Value { node: rescale, result: 0 })?,
        })
    }

    /// How arguments are packed: the weights by the microkernel's layout, scales a group at a time.
    pub fn layout(&self, arg: usize) -> ArgLayout {
        match arg {
            _ if arg == self.weights => ArgLayout::Weights(self.geometry),
            _ if arg == self.scale => ArgLayout::Scales(self.geometry),
            _ => ArgLayout::Dense,
        }
    }

    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// What computes the sums, and for which matrix.
    pub fn microkernel(&self) -> (&Geometry, Contraction) {
        (&self.geometry, self.contraction)
    }

    /// Scratch that all parts share: the sums.
    pub fn shared_scratch(&self) -> Option<Dim> {
        let row = 4 * self.geometry.groups * self.geometry.n_padded;
        self.rows()?.mul(&Dim::constant(row))?.add(&Dim::constant(64))
    }

    /// Scratch of each part: what the microkernel works in, then activations as it reads them.
    pub fn part_scratch(&self) -> Option<Dim> {
        let own = self.kernel_scratch().checked_add(128)?;
        self.rows()?.mul(&Dim::constant(self.prepared_row_bytes()))?.add(&Dim::constant(own))
    }

    fn kernel_scratch(&self) -> usize {
        match self.contraction {
            Contraction::Int8 { scratch, .. } => scratch.next_multiple_of(64),
            Contraction::Own | Contraction::F32 { .. } => 0,
        }
    }

    pub fn work(&self) -> Option<Dim> {
        self.rows()?.mul(&Dim::constant(self.geometry.n * self.geometry.k / 4))
    }

    pub fn operations(&self) -> Option<Dim> {
        self.rows()?.mul(&Dim::constant(2 * self.geometry.n * self.geometry.k))
    }

    fn rows(&self) -> Option<Dim> {
        self.x.dims[..self.x.dims.len() - 1].iter().try_fold(Dim::constant(1), |n, d| n.mul(d))
    }

    /// Activations and, for int8, their sums.
    fn prepared_row_bytes(&self) -> usize {
        let g = &self.geometry;
        match self.int8 {
            true => g.k_padded().next_multiple_of(4) + 4 * g.groups,
            false => 4 * trine_ukernel::signsum_f32::prepared_len(g),
        }
    }

    /// Whether rows of activations serve as they lie.
    fn unpadded(&self) -> bool {
        self.geometry.k_padded() == self.geometry.k
    }
}

impl<'g> Parts<'g> {
    fn new(graph: &'g Graph, inner: &[NodeId], sums: Value) -> Option<Parts<'g>> {
        let users = graph.users(sums);
        let split = users.iter().find_map(|(user, _)| match graph.op(*user) {
            Some(Op::Split(s)) if s.axis + 1 == graph.ty(sums).rank() => Some((*user, s)),
            _ => None,
        });
        let Some((node, split)) = split else {
            return rows::Plan::behind(graph, inner).map(Parts::Whole);
        };
        if users.len() != 1 || graph.node_count() != graph.params().len() + inner.len() + 1 {
            return None;
        }
        let mut ranges = vec![];
        for (i, output) in graph.outputs().iter().enumerate() {
            if output.node != node {
                return None;
            }
            let sizes: Vec<usize> = split.sizes.iter().map(Dim::as_const).collect::<Option<_>>()?;
            let part = output.result as usize;
            ranges.push((i, sizes[..part].iter().sum(), sizes[part]));
        }
        Some(Parts::Split(ranges))
    }
}

/// Writes the kernel.
pub fn emit(plan: &Plan, e: &mut Emit) -> Result<ClifValue> {
    let g = plan.geometry;
    let shape = Shape::of(plan.graph);
    let overflow = || CodegenError::Overflow { what: "the rows of a linear layer".into() };
    let rows = e.size(&plan.rows().ok_or_else(overflow)?)?;
    let shared = e.size(&plan.shared_scratch().ok_or_else(overflow)?)?;
    let own = e.size(&plan.part_scratch().ok_or_else(overflow)?)?;
    let scratch = e.arg(shape.scratch());
    let sums = align(e, scratch, 64);
    let own = e.b.ins().imul(own, e.part);
    let own_start = e.b.ins().iadd(scratch, shared);
    let own_start = e.b.ins().iadd(own_start, own);
    let own_start = align(e, own_start, 64);
    let tiles = e.int(g.tiles as i64);
    let (first, last) = e.share(tiles, 1);

    let constant = |e: &mut Emit, v: usize| e.int(v as i64);
    let (groups, group_k) = (constant(e, g.groups), constant(e, g.group_k));
    let weights = e.arg(plan.weights);
    let (x, x_sums) = match plan.contraction {
        Contraction::Own | Contraction::Int8 { .. } => {
            let after = e.b.ins().iadd_imm_s(own_start, plan.kernel_scratch() as i64);
            pad::int8(plan, e, rows, after)?
        }
        Contraction::F32 { prepare, .. } => {
            let (x, stride) = activations(plan, e)?;
            let (k, group) = (constant(e, g.k), constant(e, g.group));
            e.call_with_struct(prepare, &[x, stride, own_start, rows, k, group, group_k])?;
            (own_start, own_start)
        }
    };

    let share = e.b.ins().isub(last, first);
    let chunk = chunk(plan, e, rows);
    let chunk = e.b.ins().smin(chunk, share);
    let one = e.int(1);
    let chunk = e.b.ins().smax(chunk, one);
    let chunks = ceil_div(e, share, chunk);
    // The sums of a chunk lie together, where those of this part's tiles would lie.
    let tile = g.layout.tile() as i64;
    let stride = e.b.ins().imul_imm_s(chunk, tile);
    let columns = e.b.ins().imul(rows, first);
    let columns = e.b.ins().imul_imm_s(columns, g.groups as i64 * tile);
    let sums = e.at(sums, columns, 4);
    let (zero, n) = (e.int(0), constant(e, g.n));
    e.for_range(zero, chunks, 1, &[], |e, i, _| {
        let done = e.b.ins().imul(i, chunk);
        let first = e.b.ins().iadd(first, done);
        let end = e.b.ins().iadd(first, chunk);
        let last = e.b.ins().smin(end, last);
        let skipped = e.b.ins().imul_imm_s(first, -4 * tile);
        let out = e.b.ins().iadd(sums, skipped);
        match plan.contraction {
            Contraction::Own => {
                let operands = contraction::Operands { weights, x, x_sums, out, stride, rows, first, last };
                contraction::emit(e, &g, &operands)?;
            }
            Contraction::Int8 { symbol, .. } => {
                let fields = [weights, x, x_sums, out, rows, groups, group_k, stride, first, last, own_start];
                e.call_with_struct(symbol, &fields)?;
            }
            Contraction::F32 { symbol, .. } => {
                let fields = [weights, x, out, rows, groups, group_k, stride, first, last];
                e.call_with_struct(symbol, &fields)?;
            }
        }
        let from = e.b.ins().imul_imm_s(first, g.layout.tile() as i64);
        let to = e.b.ins().imul_imm_s(last, g.layout.tile() as i64);
        let to = e.b.ins().smin(to, n);
        finish(plan, e, rows, (out, stride), (from, to))?;
        Ok(vec![])
    })?;
    Ok(zero)
}

/// Tiles whose sums stay in the second cache until they are outputs.
fn chunk(plan: &Plan, e: &mut Emit, rows: ClifValue) -> ClifValue {
    let g = plan.geometry;
    let sums = e.b.ins().imul_imm_s(rows, (g.groups * g.layout.tile()) as i64);
    let one = e.int(1);
    let sums = e.b.ins().smax(sums, one);
    let most = e.int(CHUNK);
    let tiles = e.b.ins().udiv(most, sums);
    let tiles = e.b.ins().band_imm_u(tiles, !(WHOLE - 1));
    let least = e.int(WHOLE);
    e.b.ins().smax(tiles, least)
}

/// Turns the sums of the outputs `from .. to` into what the kernel gives.
fn finish(
    plan: &Plan,
    e: &mut Emit,
    rows: ClifValue,
    sums: (ClifValue, ClifValue),
    (from, to): (ClifValue, ClifValue),
) -> Result<()> {
    let shape = Shape::of(plan.graph);
    let row = |e: &mut Emit, row: ClifValue| Ok(shared(plan, e, sums, row));
    let load =
        |e: &mut Emit, row: &[ClifValue], index: ClifValue, ty: ClifType| rescaled(plan, e, row, index, ty);
    let source = Source { value: plan.sums, row: &row, load: &load };
    match &plan.parts {
        Parts::Whole(epilogue) => {
            let region = Region { begin: e.int(0), end: rows, from, to };
            rows::emit_region(epilogue, e, &region, &source)
        }
        Parts::Split(ranges) => {
            for (result, start, len) in ranges {
                let (start, len) = (e.int(*start as i64), e.int(*len as i64));
                let base = e.arg(shape.result(*result));
                store_range(e, rows, (from, to), (start, len), base, &source)?;
            }
            Ok(())
        }
    }
}

/// Stores the outputs of `start .. start + len` that lie in `from .. to`, as rows of `len`.
fn store_range(
    e: &mut Emit,
    rows: ClifValue,
    (from, to): (ClifValue, ClifValue),
    (start, len): (ClifValue, ClifValue),
    base: ClifValue,
    source: &Source,
) -> Result<()> {
    let end = e.b.ins().iadd(start, len);
    let from = e.b.ins().smax(from, start);
    let to = e.b.ins().smin(to, end);
    let span = e.b.ins().isub(to, from);
    let none = e.int(0);
    let span = e.b.ins().smax(span, none);
    let span = e.b.ins().band_imm_u(span, !15);
    let middle = e.b.ins().iadd(from, span);
    e.for_range(none, rows, 1, &[], |e, row, _| {
        let offset = e.b.ins().imul(row, len);
        let offset = e.b.ins().isub(offset, start);
        let place = e.at(base, offset, 4);
        let row = (source.row)(e, row)?;
        e.for_range(from, middle, 16, &[], |e, i, _| {
            let at = e.at(place, i, 4);
            for j in 0..4 {
                let i = e.b.ins().iadd_imm_s(i, 4 * j);
                let y = (source.load)(e, &row, i, F32X4)?;
                e.store(y, at, 16 * j as i32);
            }
            Ok(vec![])
        })?;
        e.for_range(middle, to, 1, &[], |e, i, _| {
            let y = (source.load)(e, &row, i, F32)?;
            let at = e.at(place, i, 4);
            e.store(y, at, 0);
            Ok(vec![])
        })?;
        Ok(vec![])
    })?;
    Ok(())
}

/// What the outputs of a row share: where its sums and the scales start, bytes from the sums of a group to those of
/// the next, and its own scale once and four times.
fn shared(
    plan: &Plan,
    e: &mut Emit,
    (sums, stride): (ClifValue, ClifValue),
    row: ClifValue,
) -> Vec<ClifValue> {
    let group = e.b.ins().imul_imm_s(stride, 4);
    let row_sums = e.b.ins().imul_imm_s(group, plan.geometry.groups as i64);
    let row_sums = e.b.ins().imul(row, row_sums);
    let mut shared = vec![e.b.ins().iadd(sums, row_sums), e.arg(plan.scale), group];
    if let Some(s) = &plan.row_scale {
        let base = e.arg(s.arg);
        let place = e.at(base, row, 4);
        let s = e.load(F32, place, 0);
        shared.extend([s, e.b.ins().splat(F32X4, s)]);
    }
    shared
}

/// `rescale` at an output of a row that shares this: groups left to right, the row's scale, the bias.
fn rescaled(
    plan: &Plan,
    e: &mut Emit,
    shared: &[ClifValue],
    index: ClifValue,
    ty: ClifType,
) -> Result<ClifValue> {
    let g = plan.geometry;
    let int = if ty == F32X4 { I32X4 } else { I32 };
    let mut at_sum = e.at(shared[0], index, 4);
    let at_scale = e.at(shared[1], index, 4);
    let mut y = None;
    for group in 0..g.groups {
        let offset = i32::try_from(4 * group * g.n_padded)
            .map_err(|_| CodegenError::Overflow { what: "the groups of a linear layer".into() })?;
        if group > 0 {
            at_sum = e.b.ins().iadd(at_sum, shared[2]);
        }
        let sum = if plan.int8 {
            let sum = e.load(int, at_sum, 0);
            e.b.ins().fcvt_from_sint(ty, sum)
        } else {
            e.load(ty, at_sum, 0)
        };
        let scale = e.load(ty, at_scale, offset);
        let term = e.b.ins().fmul(sum, scale);
        y = Some(match y {
            None => term,
            Some(y) => e.b.ins().fadd(y, term),
        });
    }
    let mut y = y.ok_or_else(|| CodegenError::malformed("a linear layer"))?;
    if let [.., one, four] = &shared[3..] {
        y = e.b.ins().fmul(y, if ty == F32X4 { *four } else { *one });
    }
    if let Some(bias) = plan.bias {
        let base = e.arg(bias);
        let place = e.at(base, index, 4);
        let b = e.load(ty, place, 0);
        y = e.b.ins().fadd(y, b);
    }
    Ok(y)
}

/// Where the activations start, and the elements from one row to the next.
fn activations(plan: &Plan, e: &mut Emit) -> Result<(ClifValue, ClifValue)> {
    let offset = e.size(&plan.x.offset)?;
    let base = e.arg(plan.x.arg);
    let start = e.at(base, offset, if plan.int8 { 1 } else { 4 });
    let stride = plan.x.outer_stride(1).ok_or_else(|| CodegenError::malformed("activations"))?;
    Ok((start, e.size(&stride)?))
}

fn align(e: &mut Emit, pointer: ClifValue, to: i64) -> ClifValue {
    let up = e.b.ins().iadd_imm_s(pointer, to - 1);
    e.b.ins().band_imm_u(up, -to)
}
