//! Sign selection or products with int8, addition and rescaling: the linear layer of quantized weights.
//!
//! The sums come from a microkernel; this driver pads or prepares the activations, calls it on its share, and then
//! turns sums into outputs: scales, bias and whatever elementwise ops follow. Parts share the tiles of weights or,
//! where activations and outputs weigh more, the rows, of which each part then keeps the same as in the steps around.

mod finish;

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use trine_ir::ops::{Rescale, SignSelect};
use trine_ir::{Dim, Elem, Graph, NodeId, Op, Value};
use trine_ukernel::contract_i8::ContractI8;
use trine_ukernel::scaled_i8::ScaledI8;
use trine_ukernel::{Geometry, best, pad, rescale, signsum_f32};

use super::arguments::arguments;
use super::function::{ClifValue, Emit, Result};
use super::matmul::ceil_div;
use super::view::{View, packable};
use super::{ArgLayout, CodegenError, Family, Kernel, Microkernel, Scratch, Shape, contraction};
use crate::choice::{self, Choice, Choices, Contraction, Layer, Product, Why};
use finish::Parts;

/// Sums that a chunk of tiles has at most: as many as the second cache holds beside all else.
const CHUNK: usize = 1 << 16;

/// The same of f32, which makes its tables again for each chunk.
const CHUNK_F32: usize = 1 << 18;

/// Tiles that a chunk is a multiple of, for microkernels that take several at a time.
const WHOLE: i64 = 8;

/// Sums between the rows of a chunk, so that those of a column do not all fall into one set of the first cache.
const SKEW: i64 = 16;

/// Rows of each part, at least, where parts share the rows: a block of the tile registers.
const SHARED_ROWS: usize = 32;

pub struct SignSumKernel<'g> {
    graph: &'g Graph,
    x: View,
    weights: usize,
    scale: usize,
    row_scale: Option<usize>,
    /// Factors a row: one for each group, or one.
    row_scales: usize,
    bias: Option<usize>,
    geometry: Geometry,
    int8: bool,
    contraction: Contraction,
    why: Why,
    /// The microkernels that pad activations and rescale sums.
    pad: &'static str,
    rescale: &'static str,
    parts: Parts<'g>,
}

/// The nodes of a linear layer, and what they multiply.
struct Nodes {
    select: NodeId,
    sum: NodeId,
    rescale: NodeId,
    x: View,
    weights: Value,
    layer: Layer,
}

impl Nodes {
    /// `None` when the body is not a linear layer.
    fn of(graph: &Graph) -> Option<Nodes> {
        let order = graph.order();
        let find = |f: fn(&Op) -> bool| {
            let mut hits = order.iter().filter(|n| graph.op(**n).is_some_and(f));
            hits.next().copied().filter(|_| hits.next().is_none())
        };
        let select = find(|op| matches!(op, Op::SignSelect(_) | Op::WeightProducts(_)))?;
        let sum = find(|op| matches!(op, Op::GroupSum(_)))?;
        let rescale = find(|op| matches!(op, Op::Rescale(_)))?;
        let Some(Op::GroupSum(group)) = graph.op(sum) else { return None };
        let (x, weights) = (graph.operand(select, SignSelect::x)?, graph.operand(select, SignSelect::w)?);
        let [n, k] = graph.ty(weights).static_dims()?.try_into().ok()?;
        let product = match graph.op(select) {
            Some(Op::WeightProducts(_)) if graph.ty(weights).elem == Elem::I4 => Product::Int4Int8,
            Some(Op::WeightProducts(_)) => Product::Int8Int8,
            _ if graph.ty(x).elem == Elem::I8 => Product::TritsInt8,
            _ => Product::TritsF32,
        };
        let x = View::of(graph, x)?;
        let rows = x.dims.split_last()?.1.iter().try_fold(1, |all: usize, d| all.checked_mul(d.as_const()?));
        let layer = Layer { product, rows, n, k, group: group.group };
        Some(Nodes { select, sum, rescale, x, weights, layer })
    }
}

/// The quantized layer of a body, if it is one.
pub fn layer(graph: &Graph) -> Option<Layer> {
    Some(Nodes::of(graph)?.layer)
}

impl<'g> SignSumKernel<'g> {
    /// The kernel, or `None` when the body is none of these.
    pub fn new(graph: &'g Graph, choices: &Choices) -> Option<SignSumKernel<'g>> {
        let Nodes { select, sum, rescale, x, weights, layer } = Nodes::of(graph)?;
        let target = choices.target;
        let param = |v: Value| graph.params().iter().position(|p| *p == v);
        let row_scale = match graph.operand(rescale, Rescale::s) {
            Some(s) => Some(View::of(graph, s).filter(View::is_plain)?.arg),
            None => None,
        };
        let row_scales = match graph.operand(rescale, Rescale::s) {
            Some(s) => graph.ty(s).back(0)?.as_const()?,
            None => 1,
        };
        let scale = graph.operand(rescale, Rescale::scale)?;
        let bias = match graph.operand(rescale, Rescale::bias) {
            Some(b) => Some(param(b)?),
            None => None,
        };
        let Choice { geometry, contraction, why } = choice::sign_sum(choices, &layer)?;
        // Rows are taken one after another.
        x.outer_stride(1).filter(|_| x.strides.last().and_then(Dim::as_const) == Some(1))?;
        let inner = [select, sum, rescale];
        Some(SignSumKernel {
            graph,
            int8: x.elem == Elem::I8,
            x,
            weights: packable(graph, weights, weights)?,
            scale: packable(graph, scale, scale)?,
            row_scale,
            row_scales,
            bias,
            geometry,
            contraction,
            why,
            pad: best(pad::VARIANTS, target.features)?.symbol,
            rescale: best(rescale::VARIANTS, target.features)?.symbol,
            parts: Parts::new(graph, &inner, Value { node: rescale, result: 0 }, &geometry, target)?,
        })
    }

    /// Scratch of each part: what the microkernel works in, the sums of a chunk, then activations as it reads them.
    fn part_scratch(&self) -> Option<Dim> {
        let own = self.kernel_scratch().checked_add(128)?;
        let activations = self.rows()?.mul(&Dim::constant(self.padded_row_bytes()))?;
        activations.add(&self.sums_bytes()?)?.add(&Dim::constant(own))
    }

    /// Bytes that the sums of a chunk take at most, a multiple of 64.
    fn sums_bytes(&self) -> Option<Dim> {
        let (g, blocks) = (&self.geometry, self.parts.blocks());
        let of_row = |outputs: usize| (4 * self.sums() * (outputs + SKEW as usize)).next_multiple_of(64);
        let rows = self.rows()?;
        let least = rows.mul(&Dim::constant(of_row(WHOLE as usize * g.layout.tile())))?;
        let bytes = least.add(&Dim::constant(4 * self.chunk() / blocks))?;
        let all = rows.mul(&Dim::constant(of_row(g.n_padded / blocks)))?;
        let block = match (bytes.as_const(), all.as_const()) {
            (Some(bytes), Some(all)) => Dim::constant(bytes.min(all)),
            _ => bytes,
        };
        block.mul(&Dim::constant(blocks))
    }

    /// Sums of an output: one a group, unless they are scaled and added already.
    fn sums(&self) -> usize {
        if self.is_scaled() { 1 } else { self.geometry.groups }
    }

    fn is_scaled(&self) -> bool {
        matches!(self.contraction, Contraction::Scaled { .. })
    }

    /// Sums that a chunk has at most.
    fn chunk(&self) -> usize {
        match self.contraction {
            Contraction::F32 { .. } => CHUNK_F32,
            Contraction::Int8 { .. } | Contraction::Scaled { .. } | Contraction::Own => CHUNK,
        }
    }

    fn kernel_scratch(&self) -> usize {
        match self.contraction {
            Contraction::Int8 { scratch, .. } => scratch.next_multiple_of(64),
            Contraction::Scaled { .. } => 0,
            Contraction::Own => contraction::scratch(&self.geometry),
            Contraction::F32 { .. } => (4 * signsum_f32::scratch_len(&self.geometry)).next_multiple_of(64),
        }
    }

    fn rows(&self) -> Option<Dim> {
        Dim::product(&self.x.dims[..self.x.dims.len() - 1])
    }

    /// From how many rows of each part on parts share the rows: each then unpacks all of the weights, but neither
    /// reads activations that another part made nor writes to lines that another part had.
    fn shared_rows(&self) -> usize {
        let g = &self.geometry;
        g.bytes.div_ceil(g.k + 4 * g.n).max(SHARED_ROWS)
    }

    /// Activations of int8 and their sums.
    fn padded_row_bytes(&self) -> usize {
        let g = &self.geometry;
        if self.int8 { g.k_padded().next_multiple_of(4) + 4 * g.groups } else { 0 }
    }

    /// Whether rows of activations serve as they lie.
    fn unpadded(&self) -> bool {
        self.geometry.k_padded() == self.geometry.k
    }
}

impl Kernel for SignSumKernel<'_> {
    /// How arguments are packed: the weights by the microkernel's layout, scales a group at a time.
    fn layout(&self, arg: usize) -> ArgLayout {
        match arg {
            _ if arg == self.weights => ArgLayout::Weights(self.geometry),
            _ if arg == self.scale => ArgLayout::Scales(self.geometry),
            _ => ArgLayout::Dense,
        }
    }

    fn work(&self) -> Option<Dim> {
        self.rows()?.mul(&Dim::constant(self.geometry.n * self.geometry.k / 4))
    }

    fn operations(&self) -> Option<Dim> {
        self.rows()?.mul(&Dim::constant(2 * self.geometry.n * self.geometry.k))
    }

    fn scratch(&self) -> Option<Scratch> {
        Some(Scratch::of_parts(self.part_scratch()?))
    }

    fn microkernels(&self) -> Vec<Microkernel> {
        let Geometry { k, group, .. } = self.geometry;
        let sums = match self.contraction {
            Contraction::Int8 { symbol, .. } => Some((Family::Int8 { k, group }, symbol)),
            Contraction::Scaled { symbol, .. } => Some((Family::Scaled { k, group }, symbol)),
            Contraction::F32 { symbol } => Some((Family::F32 { k, group }, symbol)),
            Contraction::Own => None,
        };
        let pad = self.int8.then_some((Family::Pad, self.pad));
        let around = pad.into_iter().chain([(Family::Rescale, self.rescale)]);
        let silu = self.parts.silu().map(|symbol| (Family::Silu, symbol));
        let all = sums.into_iter().chain(around).chain(silu);
        all.map(|(family, symbol)| Microkernel { family, symbol }).collect()
    }

    fn sums(&self) -> Option<(&'static str, Why)> {
        Some((self.contraction.name(), self.why))
    }

    /// Writes the kernel.
    fn emit(&self, e: &mut Emit) -> Result<ClifValue> {
        let g = self.geometry;
        let shape = Shape::of(self.graph);
        let overflow = || CodegenError::Overflow { what: "the rows of a linear layer".into() };
        let all_rows = e.size(&self.rows().ok_or_else(overflow)?)?;
        let own = e.size(&self.part_scratch().ok_or_else(overflow)?)?;
        let own = e.b.ins().imul(own, e.part);
        let scratch = e.arg(shape.scratch());
        let scratch = e.b.ins().iadd(scratch, own);
        let own_start = align(e, scratch, 64);
        let sums = e.b.ins().iadd_imm_s(own_start, self.kernel_scratch() as i64);
        let sums_bytes = e.size(&self.sums_bytes().ok_or_else(overflow)?)?;
        let padded = e.b.ins().iadd(sums, sums_bytes);
        // A chunk takes tiles from each block of outputs.
        let block = (g.tiles / self.parts.blocks()) as i64;
        let tiles = e.int(block);
        let share = share(self, e, all_rows, tiles);
        let (rows, (first, last)) = (share.rows.count, share.tiles);

        let constant = |e: &mut Emit, v: usize| e.int(v as i64);
        let (groups, group_k) = (constant(e, g.groups), constant(e, g.group_k));
        let weights = e.arg(self.weights);
        // Sums of int8 activations, or the elements from one row of f32 to the next.
        let (x, x_more) = match self.contraction {
            Contraction::Own | Contraction::Int8 { .. } | Contraction::Scaled { .. } => {
                pad(self, e, share.rows, padded)?
            }
            Contraction::F32 { .. } => activations(self, e, share.rows.first)?,
        };

        let tiles = e.b.ins().isub(last, first);
        let chunk = chunk(self, e, rows);
        let chunk = e.b.ins().smin(chunk, tiles);
        let one = e.int(1);
        let chunk = e.b.ins().smax(chunk, one);
        let chunks = ceil_div(e, tiles, chunk);
        let tile = g.layout.tile() as i64;
        let stride = e.b.ins().imul_imm_s(chunk, tile);
        let stride = e.b.ins().bor_imm_s(stride, SKEW);
        let (zero, n) = (e.int(0), constant(e, g.n));
        let sums_of = |out, tile_begin, tile_end, scratch| {
            arguments!(ContractI8 {
                weights,
                x,
                x_sums: x_more,
                out,
                rows,
                groups,
                group_k,
                n_padded: stride,
                tile_begin,
                tile_end,
                scratch,
            })
        };
        e.for_range(zero, chunks, 1, &[], |e, i, _| {
            let done = e.b.ins().imul(i, chunk);
            let first = e.b.ins().iadd(first, done);
            let end = e.b.ins().iadd(first, chunk);
            let last = e.b.ins().smin(end, last);
            let skipped = e.b.ins().imul_imm_s(first, -4 * tile);
            let mut outs = vec![e.b.ins().iadd(sums, skipped)];
            for i in 0..self.parts.blocks() {
                let (mut first, mut last, mut out) = (first, last, outs[0]);
                if i > 0 {
                    // The sums of this block lie after those of the one before; a microkernel counts from the first of all.
                    let before = i as i64 * block;
                    let bytes = e.b.ins().imul_imm_s(rows, self.sums() as i64);
                    let bytes = e.b.ins().imul(bytes, stride);
                    out = e.at(outs[i - 1], bytes, 4);
                    outs.push(out);
                    out = e.b.ins().iadd_imm_s(out, -4 * tile * before);
                    [first, last] = [first, last].map(|tile| e.b.ins().iadd_imm_s(tile, before));
                }
                match self.contraction {
                    Contraction::Own => {
                        let (x_sums, scratch) = (x_more, own_start);
                        let operands = contraction::Operands {
                            weights,
                            x,
                            x_sums,
                            out,
                            stride,
                            rows,
                            first,
                            last,
                            scratch,
                        };
                        contraction::emit(e, &g, &operands)?;
                    }
                    Contraction::Int8 { symbol, .. } => {
                        e.call_with_struct(symbol, sums_of(out, first, last, own_start))?;
                    }
                    Contraction::Scaled { symbol, .. } => {
                        let null = e.int(0);
                        let (scales, factors) = (e.arg(self.scale), factors(self, e, share.rows));
                        let args = arguments!(ScaledI8 {
                            sums: sums_of(out, first, last, null),
                            scales,
                            scales_stride: constant(e, g.n_padded),
                            factors,
                        });
                        e.call_with_struct(symbol, args)?;
                    }
                    Contraction::F32 { symbol, .. } => {
                        let (k, group) = (constant(e, g.k), constant(e, g.group));
                        let args = arguments!(signsum_f32::SignSumF32 {
                            weights,
                            x,
                            x_stride: x_more,
                            out,
                            scratch: own_start,
                            rows,
                            k,
                            group,
                            groups,
                            group_k,
                            n_padded: stride,
                            tile_begin: first,
                            tile_end: last,
                        });
                        e.call_with_struct(symbol, args)?;
                    }
                }
            }
            let from = e.b.ins().imul_imm_s(first, tile);
            let to = e.b.ins().imul_imm_s(last, tile);
            let to = e.b.ins().smin(to, n);
            finish::emit(self, e, share.rows, (&outs, stride), (from, to))?;
            Ok(vec![])
        })?;
        Ok(zero)
    }
}

/// Rows that a part computes.
#[derive(Clone, Copy)]
struct Rows {
    first: ClifValue,
    count: ClifValue,
}

/// What a part computes: of some rows, some tiles from each block of outputs.
struct Share {
    rows: Rows,
    tiles: (ClifValue, ClifValue),
}

/// The share of this part: some of the rows if there are enough, else of the tiles.
fn share(plan: &SignSumKernel, e: &mut Emit, rows: ClifValue, tiles: ClifValue) -> Share {
    let zero = e.int(0);
    let least = e.b.ins().imul_imm_s(e.parts, plan.shared_rows() as i64);
    let by_rows = e.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, rows, least);
    let (first_row, last_row) = e.share(rows, 1);
    let (first_tile, last_tile) = e.share(tiles, 1);
    let [first, last, first_tile, last_tile] =
        [(first_row, zero), (last_row, rows), (zero, first_tile), (tiles, last_tile)]
            .map(|(rows, tiles)| e.b.ins().select(by_rows, rows, tiles));
    let count = e.b.ins().isub(last, first);
    Share { rows: Rows { first, count }, tiles: (first_tile, last_tile) }
}

/// The activations padded a group at a time, and the sum of each group. Rows without padding stay in place.
fn pad(plan: &SignSumKernel, e: &mut Emit, rows: Rows, own: ClifValue) -> Result<(ClifValue, ClifValue)> {
    let g = plan.geometry;
    let (x, stride) = activations(plan, e, rows.first)?;
    let bytes = e.b.ins().imul_imm_s(rows.count, g.k_padded().next_multiple_of(4) as i64);
    let x_sums = e.b.ins().iadd(own, bytes);
    let in_place = plan.unpadded()
        && plan.x.outer_stride(1).is_some_and(|s| s.as_const() == Some(g.k) || s.as_const() == Some(0));
    let out = if in_place { e.int(0) } else { own };
    let [k, group, group_k] = [g.k, g.group, g.group_k].map(|size| e.int(size as i64));
    let args = arguments!(pad::PadI8 {
        x,
        x_stride: stride,
        out,
        sums: x_sums,
        rows: rows.count,
        k,
        group,
        group_k,
    });
    e.call_with_struct(plan.pad, args)?;
    Ok((if in_place { x } else { own }, x_sums))
}

/// What the sums of rows are multiplied with where each group of each has a factor of its own, else null.
fn factors(plan: &SignSumKernel, e: &mut Emit, rows: Rows) -> ClifValue {
    match plan.row_scale.filter(|_| plan.row_scales > 1) {
        Some(arg) => {
            let factors = e.arg(arg);
            e.at(factors, rows.first, 4 * plan.row_scales as i64)
        }
        None => e.int(0),
    }
}

/// Tiles whose sums stay in the second cache until they are outputs.
fn chunk(plan: &SignSumKernel, e: &mut Emit, rows: ClifValue) -> ClifValue {
    let g = plan.geometry;
    let sums = e.b.ins().imul_imm_s(rows, (plan.sums() * g.layout.tile()) as i64);
    let one = e.int(1);
    let sums = e.b.ins().smax(sums, one);
    let most = e.int((plan.chunk() / plan.parts.blocks()) as i64);
    let tiles = e.b.ins().udiv(most, sums);
    let tiles = e.b.ins().band_imm_u(tiles, !(WHOLE - 1));
    let least = e.int(WHOLE);
    e.b.ins().smax(tiles, least)
}

/// Where the activations of a row and those after it are, and the elements from one row to the next.
fn activations(plan: &SignSumKernel, e: &mut Emit, row: ClifValue) -> Result<(ClifValue, ClifValue)> {
    let offset = e.size(&plan.x.offset)?;
    let base = e.arg(plan.x.arg);
    let stride = plan.x.outer_stride(1).ok_or_else(|| CodegenError::malformed("activations"))?;
    let stride = e.size(&stride)?;
    let before = e.b.ins().imul(row, stride);
    let offset = e.b.ins().iadd(offset, before);
    Ok((e.at(base, offset, if plan.int8 { 1 } else { 4 }), stride))
}

fn align(e: &mut Emit, pointer: ClifValue, to: i64) -> ClifValue {
    let up = e.b.ins().iadd_imm_s(pointer, to - 1);
    e.b.ins().band_imm_u(up, -to)
}
