//! Dense f32 products with whatever elementwise ops follow.
//!
//! The outputs are cut into blocks of columns; each block is one call of a microkernel and one pass of the
//! epilogue over what it left in the cache. Sums do not depend on the cut, so that it may on what is fast.
//! Weights are packed into panels when the program is made; those of a few bits [stay so](blocks).

mod blocks;

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::Type as ClifType;
use cranelift_codegen::ir::condcodes::IntCC;
use trine_ir::ops::Matmul;
use trine_ir::{Dim, Elem, Graph, NodeId, Op, Value};
use trine_ukernel::matmul::Panels;
use trine_ukernel::{best, matmul, silu};

use super::arguments::arguments;
use super::function::{ClifValue, Emit, Result};
use super::rows::{self, Region, RowsKernel, Source, outer_offset};
use super::view::{View, packable};
use super::{ArgLayout, CodegenError, Family, Kernel, Microkernel, Scratch, Shape};
use crate::Target;
use blocks::Blocks;

/// Columns of a block, about: outputs that stay in the second cache until the epilogue.
const BLOCK: usize = 512;

/// Bytes.
const PART_SCRATCH: usize = 4 * matmul::SCRATCH;

pub struct MatmulKernel<'g> {
    graph: &'g Graph,
    symbol: &'static str,
    a: View,
    b: Rhs,
    product: Value,
    /// The microkernel that takes the product through SiLU, if that comes next, and nothing else reads the product.
    silu: Option<&'static str>,
    /// What the epilogue starts from: the product, or its SiLU.
    source: Value,
    epilogue: RowsKernel<'g>,
    /// The result that the product is written to before the epilogue, if one has its type.
    result: Option<usize>,
    /// Rows of all batches as one, when `b` has none.
    folded: bool,
}

/// The right-hand side.
enum Rhs {
    /// `panels` says how it is packed, when it is a constant.
    Dense {
        view: View,
        trans_b: bool,
        panels: Option<Panels>,
    },
    Blocks(Blocks),
}

impl<'g> MatmulKernel<'g> {
    pub fn new(graph: &'g Graph, target: &Target) -> Option<MatmulKernel<'g>> {
        let order = graph.order();
        let mut products = order.iter().filter(|n| matches!(graph.op(**n), Some(Op::Matmul(_))));
        let node = products.next().copied().filter(|_| products.next().is_none())?;
        let Some(Op::Matmul(op)) = graph.op(node) else { return None };
        let product = Value { node, result: 0 };
        let ty = graph.ty(product);
        let a = view(graph, node, Matmul::a)?;
        if ty.elem != Elem::F32 || ty.rank() < 2 || a.dims.len() < 2 {
            return None;
        }
        let batch = &ty.dims[..ty.rank() - 2];
        let over = |v: View| {
            let matrix = v.dims[v.dims.len() - 2..].to_vec();
            v.broadcast(&[batch, &matrix].concat())
        };
        let folds = a.dims.len() == ty.rank() && a.outer_stride(1).is_some();
        let mut inner = vec![node];
        let (a, b, folded) = match Blocks::of(graph, node, target).filter(|_| op.trans_b && folds) {
            Some((weights, blocks)) => {
                inner.push(weights);
                (a, Rhs::Blocks(blocks), true)
            }
            None => {
                let b = view(graph, node, Matmul::b).filter(|b| b.dims.len() >= 2)?;
                let panels = panels(graph, graph.operand(node, Matmul::b)?, &b, op.trans_b);
                let folded = b.dims.len() == 2 && folds;
                let (a, view) = if folded { (a, b) } else { (over(a)?, over(b)?) };
                (a, Rhs::Dense { view, trans_b: op.trans_b, panels }, folded)
            }
        };
        let result = graph.outputs().iter().position(|o| graph.ty(*o) == ty);
        let silu = silu_of(graph, product);
        inner.extend(silu);
        let epilogue = RowsKernel::behind(graph, &inner)?;
        let (silu, source) = match silu {
            Some(node) => (Some(best(silu::VARIANTS, target.features)?.symbol), Value { node, result: 0 }),
            None => (None, product),
        };
        let symbol = match &b {
            Rhs::Dense { .. } => best(matmul::VARIANTS, target.features)?.symbol,
            Rhs::Blocks(blocks) => blocks.symbol,
        };
        Some(MatmulKernel { graph, symbol, a, b, product, silu, source, epilogue, result, folded })
    }

    /// Whether the microkernel finds panels.
    fn packed(&self) -> bool {
        !matches!(self.b, Rhs::Dense { panels: None, .. })
    }

    /// Columns of a block. An even number of blocks shares well.
    fn block(&self) -> usize {
        let n = self.graph.ty(self.product).back(0).and_then(Dim::as_const);
        let blocks = n.filter(|n| *n > 0).map(|n| n.div_ceil(BLOCK).next_multiple_of(2));
        n.zip(blocks).map_or(BLOCK, |(n, blocks)| n.div_ceil(blocks)).next_multiple_of(matmul::WIDTH)
    }
}

impl Kernel for MatmulKernel<'_> {
    fn layout(&self, arg: usize) -> ArgLayout {
        match &self.b {
            Rhs::Dense { view, panels: Some(panels), .. } if arg == view.arg => ArgLayout::Panels(*panels),
            Rhs::Dense { .. } => ArgLayout::Dense,
            Rhs::Blocks(blocks) => blocks.layout(arg),
        }
    }

    fn work(&self) -> Option<Dim> {
        self.graph.ty(self.product).count()?.mul(self.a.dims.last()?)
    }

    /// What is shared is the product itself, when no result can hold it; what each part has is what the microkernel, or the
    /// one before it, packs into, where it does.
    fn scratch(&self) -> Option<Scratch> {
        let shared = match self.result {
            Some(_) => Dim::constant(0),
            None => self.graph.ty(self.product).count()?.mul(&Dim::constant(4))?.add(&Dim::constant(64))?,
        };
        let part = match &self.b {
            Rhs::Dense { panels: None, .. } => PART_SCRATCH,
            Rhs::Dense { .. } => 0,
            Rhs::Blocks(blocks) => blocks.part_scratch(),
        };
        Some(Scratch { shared, part: Dim::constant(part) })
    }

    /// A product and its addition are two.
    fn operations(&self) -> Option<Dim> {
        self.work()?.mul(&Dim::constant(2))
    }

    fn microkernels(&self) -> Vec<Microkernel> {
        let family = match &self.b {
            Rhs::Dense { panels, .. } => {
                Family::Matmul { k: self.a.dims.last().and_then(Dim::as_const), packed: panels.is_some() }
            }
            Rhs::Blocks(blocks) => Family::Blocks(blocks.codes),
        };
        let silu = self.silu.map(|symbol| Microkernel { family: Family::Silu, symbol });
        [Microkernel { family, symbol: self.symbol }].into_iter().chain(silu).collect()
    }

    fn emit(&self, e: &mut Emit) -> Result<ClifValue> {
        let shape = Shape::of(self.graph);
        let ty = self.graph.ty(self.product).clone();
        let overflow = || CodegenError::Overflow { what: "the size of a product".into() };
        let product = |dims: &[Dim]| Dim::product(dims).ok_or_else(overflow);
        let outer = ty.rank() - 2;
        let (batches, m) = match self.folded {
            true => (Dim::constant(1), product(&ty.dims[..outer + 1])?),
            false => (product(&ty.dims[..outer])?, ty.dims[outer].clone()),
        };
        let (batches, m, n) = (e.size(&batches)?, e.size(&m)?, e.size(&ty.dims[outer + 1])?);
        let k = e.size(self.a.dims.last().ok_or_else(|| CodegenError::malformed("a product"))?)?;
        let c = match self.result {
            Some(i) => e.arg(shape.result(i)),
            None => e.arg(shape.scratch()),
        };
        let Scratch { shared, part } = self.scratch().ok_or_else(overflow)?;
        let shared = e.size(&shared)?;
        let shared = e.b.ins().band_imm_u(shared, !63);
        let own = e.size(&part)?;
        let own = e.b.ins().imul(e.part, own);
        let own = e.b.ins().iadd(shared, own);
        let own = e.at(e.arg(shape.scratch()), own, 1);
        let (a_inner, a_row) = strides(e, &self.a, self.folded)?;
        let (b_row, b_column) = match &self.b {
            Rhs::Dense { view, trans_b, .. } => {
                let (last, row) = strides(e, view, false)?;
                if *trans_b { (last, row) } else { (row, last) }
            }
            Rhs::Blocks(_) => (e.int(0), e.int(0)),
        };
        let packed = e.int(self.packed().into());
        let width = columns(self, e, m, n);
        let blocks = ceil_div(e, n, width);
        let total = e.b.ins().imul(batches, blocks);
        let (first, last) = e.share(total, 1);
        e.for_range(first, last, 1, &[], |e, i, _| {
            let batch = e.b.ins().udiv(i, blocks);
            let block = e.b.ins().urem(i, blocks);
            let from = e.b.ins().imul(block, width);
            let to = e.b.ins().iadd(from, width);
            let to = e.b.ins().smin(to, n);
            let start = |e: &mut Emit, view: &View| {
                let offset = match self.folded {
                    true => e.size(&view.offset)?,
                    false => outer_offset(e, view, batch, 2)?,
                };
                let base = e.arg(view.arg);
                Ok(e.at(base, offset, 4))
            };
            let a = start(e, &self.a)?;
            let first_row = e.b.ins().imul(batch, m);
            let offset = e.b.ins().imul(first_row, n);
            let block_c = e.at(c, offset, 4);
            let b = match &self.b {
                Rhs::Dense { view, .. } => start(e, view)?,
                Rhs::Blocks(_) => e.int(0),
            };
            let product = arguments!(matmul::MatmulF32 {
                a,
                a_row,
                a_column: a_inner,
                b,
                b_row,
                b_column,
                c: block_c,
                c_row: n,
                m,
                k,
                n_begin: from,
                n_end: to,
                scratch: own,
                packed,
            });
            match &self.b {
                Rhs::Dense { .. } => e.call_with_struct(self.symbol, product)?,
                Rhs::Blocks(blocks) => {
                    let weighted = blocks.arguments(e, product);
                    e.call_with_struct(self.symbol, weighted)?;
                }
            }
            let row = |e: &mut Emit, row: ClifValue| {
                let offset = e.b.ins().imul(row, n);
                Ok(vec![e.at(c, offset, 4)])
            };
            let load = |e: &mut Emit, row: &[ClifValue], index: ClifValue, ty: ClifType| {
                let place = e.at(row[0], index, 4);
                Ok(e.load(ty, place, 0))
            };
            let end = e.b.ins().iadd(first_row, m);
            let region = Region { begin: first_row, end, from, to };
            if let Some(silu) = self.silu {
                rows::map_in_place(e, silu, &region, row)?;
            }
            if self.graph.outputs() != [self.product] {
                rows::emit_region(
                    &self.epilogue,
                    e,
                    &region,
                    &[Source { value: self.source, row: &row, load: &load }],
                )?;
            }
            Ok(vec![])
        })?;
        Ok(e.int(0))
    }
}

/// The SiLU that alone reads the product, on the way to what the kernel gives.
fn silu_of(graph: &Graph, product: Value) -> Option<NodeId> {
    let [(user, _)] = graph.users(product)[..] else { return None };
    let is_output = |node| graph.outputs().contains(&Value { node, result: 0 });
    let between = !graph.outputs().contains(&product) && !is_output(user);
    matches!(graph.op(user), Some(Op::Silu(_))).then_some(user).filter(|_| between)
}

/// How a constant is packed that nothing else in the kernel reads: a whole matrix, as it lies or turned.
fn panels(graph: &Graph, b: Value, view: &View, trans_b: bool) -> Option<Panels> {
    let param = graph.params()[view.arg];
    let [rows, columns] = graph.ty(b).static_dims()?.try_into().ok()?;
    let whole = graph.ty(param).static_dims()?.iter().product::<usize>() == rows * columns;
    let strides = [view.strides[0].as_const()?, view.strides[1].as_const()?];
    let turned = match strides {
        _ if rows * columns == 0 || !whole || view.offset != Dim::constant(0) => return None,
        [row, 1] if row == columns => false,
        [1, column] if column == rows => true,
        _ => return None,
    };
    let (k, n) = if trans_b { (columns, rows) } else { (rows, columns) };
    packable(graph, b, param).filter(|_| graph.ty(param).elem == Elem::F32)?;
    Some(Panels { k, n, transposed: trans_b != turned })
}

fn view(graph: &Graph, node: NodeId, slot: usize) -> Option<View> {
    View::of(graph, graph.operand(node, slot)?)
}

/// Columns of a block.
fn columns(plan: &MatmulKernel, e: &mut Emit, m: ClifValue, n: ClifValue) -> ClifValue {
    let block = e.int(plan.block() as i64);
    let grain = e.int(matmul::WIDTH as i64);
    let share = ceil_div(e, n, e.parts);
    let grains = ceil_div(e, share, grain);
    let share = e.b.ins().imul(grains, grain);
    let share = e.b.ins().smax(share, grain);
    let few = e.b.ins().icmp_imm_s(IntCC::SignedLessThanOrEqual, m, matmul::FEW_ROWS as i64);
    e.b.ins().select(few, share, block)
}

/// `a / b`, rounded up.
pub fn ceil_div(e: &mut Emit, a: ClifValue, b: ClifValue) -> ClifValue {
    let sum = e.b.ins().iadd(a, b);
    let sum = e.b.ins().iadd_imm_s(sum, -1);
    e.b.ins().udiv(sum, b)
}

/// The strides of the last axis and of rows, the latter over all batches when they are one.
fn strides(e: &mut Emit, view: &View, folded: bool) -> Result<(ClifValue, ClifValue)> {
    let malformed = || CodegenError::malformed("an operand of a product");
    let rank = view.dims.len();
    let row = match folded {
        true => view.outer_stride(1).ok_or_else(malformed)?,
        false => view.strides[rank - 2].clone(),
    };
    Ok((e.size(&view.strides[rank - 1])?, e.size(&row)?))
}
