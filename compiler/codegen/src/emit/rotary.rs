//! Rotary position embedding of heads that lie anyhow: a kernel of its own, or what attention does to its operands.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::Type as ClifType;
use cranelift_codegen::ir::types::{F32, F32X4};
use trine_ir::{Dim, Elem, Graph, NodeId, Op, Value, ops};

use super::checks::Checks;
use super::function::{ClifValue, Emit, Result, lanes};
use super::rows::{outer_offset, row_stride};
use super::view::View;
use super::{CodegenError, Kernel, Shape, halves};

pub struct RotaryKernel<'g> {
    graph: &'g Graph,
    rotary: Rotary,
}

/// One op, its operands read where they lie.
pub struct Rotary {
    /// The heads, `[b,h,s,d]`.
    pub x: View,
    cos: View,
    sin: View,
    interleaved: bool,
    /// What products are rounded to; f32 where they are not.
    product: Elem,
    /// `[b|1, s, r/2]`, of either table.
    table: Vec<Dim>,
}

impl<'g> RotaryKernel<'g> {
    pub fn new(graph: &'g Graph) -> Option<RotaryKernel<'g>> {
        let [output] = graph.outputs() else { return None };
        let rotary = Rotary::of(graph, output.node)?;
        let alone = graph.order().iter().all(|n| {
            *n == output.node
                || graph.op(*n).is_none()
                || View::of(graph, Value { node: *n, result: 0 }).is_some()
        });
        alone.then_some(RotaryKernel { graph, rotary })
    }
}

impl Kernel for RotaryKernel<'_> {
    fn work(&self) -> Option<Dim> {
        self.rotary.x.dims.iter().try_fold(Dim::constant(4), |n, d| n.mul(d))
    }

    /// The status is `STATUS_SHAPE` when the tables do not fit the heads.
    fn emit(&self, e: &mut Emit) -> Result<ClifValue> {
        let shape = Shape::of(self.graph);
        let x = &self.rotary.x;
        let rows = Dim::product(&x.dims[..3]);
        let rows =
            e.size(&rows.ok_or_else(|| CodegenError::Overflow { what: "the number of heads".into() })?)?;
        let d = e.size(&x.dims[3])?;
        let mut checks = Checks::default();
        self.rotary.fits(&mut checks);
        let (begin, mut end) = e.share(rows, 1);
        let status = if checks.is_empty() { None } else { Some(checks.emit(e)?) };
        if let Some(status) = status {
            end = e.b.ins().select(status, begin, end);
        }
        let one = e.int(1);
        e.for_range(begin, end, 1, &[], |e, row, _| {
            let y = e.arg(shape.result(0));
            let offset = e.b.ins().imul(row, d);
            let y = e.at(y, offset, 4);
            self.rotary.rows(e, row, one, y)?;
            Ok(vec![])
        })?;
        Ok(status.unwrap_or_else(|| e.int(0)))
    }
}

impl Rotary {
    /// The op at `node`, if it is one.
    pub fn of(graph: &Graph, node: NodeId) -> Option<Rotary> {
        let Some(Op::Rotary(op)) = graph.op(node) else { return None };
        let operand = |slot: usize| {
            let view = View::of(graph, graph.operand(node, slot)?)?;
            (view.elem == Elem::F32 && view.strides.last()?.as_const() == Some(1)).then_some(view)
        };
        let x = operand(ops::Rotary::x)?;
        let table = |slot: usize| {
            let mut view = operand(slot)?;
            // `[b|1, s, r/2]` seen from every head.
            view.dims.insert(1, Dim::constant(1));
            view.strides.insert(1, Dim::constant(0));
            let half = view.dims[3].clone();
            view.broadcast(&[x.dims[0].clone(), x.dims[1].clone(), x.dims[2].clone(), half])
        };
        let (cos, sin) = (table(ops::Rotary::cos)?, table(ops::Rotary::sin)?);
        let table = graph.ty(graph.operand(node, ops::Rotary::cos)?).dims.clone();
        let product = op.rounded.unwrap_or(Elem::F32);
        Some(Rotary { x, cos, sin, interleaved: op.interleaved, product, table })
    }

    /// What must hold for the tables to be read by the rows of the heads, and no pair to end beyond a head.
    pub fn fits(&self, checks: &mut Checks) {
        if self.table[0].as_const() != Some(1) {
            checks.equal(&self.table[0], &self.x.dims[0]);
        }
        checks.equal(&self.table[1], &self.x.dims[2]);
        if let Some(rotated) = self.table[2].mul(&Dim::constant(2)) {
            checks.at_most(&rotated, &self.x.dims[3]);
        }
    }

    /// Rotates `count` rows of all heads' from `row` on, of one head unless each has but one row, into those at `y`.
    pub fn rows(&self, e: &mut Emit, row: ClifValue, count: ClifValue, y: ClifValue) -> Result<()> {
        let d = e.size(&self.x.dims[3])?;
        // Where rows lie is a matter of divisions: for the first of them alone.
        let start = |e: &mut Emit, view: &View| {
            let offset = outer_offset(e, view, row, 1)?;
            let base = e.arg(view.arg);
            Ok((e.at(base, offset, 4), row_stride(e, view)?))
        };
        let views = [start(e, &self.x)?, start(e, &self.cos)?, start(e, &self.sin)?];
        let zero = e.int(0);
        e.for_range(zero, count, 1, &[], |e, i, _| {
            let mut at = |(start, stride): (ClifValue, ClifValue)| {
                let offset = e.b.ins().imul(i, stride);
                e.at(start, offset, 4)
            };
            let ([x, cos, sin], y) = (views.map(&mut at), at((y, d)));
            self.row(e, x, (cos, sin), y)?;
            Ok(vec![])
        })?;
        Ok(())
    }

    /// Rotates a row.
    fn row(
        &self,
        e: &mut Emit,
        x: ClifValue,
        (cos, sin): (ClifValue, ClifValue),
        y: ClifValue,
    ) -> Result<()> {
        let d = e.size(&self.x.dims[3])?;
        let half = e.size(&self.cos.dims[3])?;
        let zero = e.int(0);
        let whole = if self.interleaved { zero } else { e.b.ins().band_imm_u(half, !3) };
        for (begin, end, ty) in [(zero, whole, F32X4), (whole, half, F32)] {
            e.for_range(begin, end, lanes(ty), &[], |e, i, _| {
                self.pairs(e, (x, y), (cos, sin), (i, half), ty);
                Ok(vec![])
            })?;
        }
        let rotated = e.b.ins().imul_imm_s(half, 2);
        e.for_range(rotated, d, 1, &[], |e, i, _| {
            let from = e.at(x, i, 4);
            let v = e.load(F32, from, 0);
            let to = e.at(y, i, 4);
            e.store(v, to, 0);
            Ok(vec![])
        })?;
        Ok(())
    }

    /// Rotates the pairs from `i` on, one or four.
    fn pairs(
        &self,
        e: &mut Emit,
        (x, y): (ClifValue, ClifValue),
        (cos, sin): (ClifValue, ClifValue),
        (i, half): (ClifValue, ClifValue),
        ty: ClifType,
    ) {
        let (first, second) = if self.interleaved {
            let first = e.b.ins().imul_imm_s(i, 2);
            (first, e.b.ins().iadd_imm_s(first, 1))
        } else {
            (i, e.b.ins().iadd(i, half))
        };
        let load = |e: &mut Emit, base: ClifValue, index: ClifValue| {
            let place = e.at(base, index, 4);
            e.load(ty, place, 0)
        };
        let (x0, x1) = (load(e, x, first), load(e, x, second));
        let (c, s) = (load(e, cos, i), load(e, sin, i));
        let product = |e: &mut Emit, x: ClifValue, t: ClifValue| {
            let v = e.b.ins().fmul(x, t);
            halves::round(e, v, self.product)
        };
        let (a, b) = (product(e, x0, c), product(e, x1, s));
        let y0 = e.b.ins().fsub(a, b);
        let (a, b) = (product(e, x0, s), product(e, x1, c));
        let y1 = e.b.ins().fadd(a, b);
        for (index, v) in [(first, y0), (second, y1)] {
            let place = e.at(y, index, 4);
            e.store(v, place, 0);
        }
    }
}
