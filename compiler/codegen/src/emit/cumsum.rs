//! Running sums along an axis, each row by itself, in order.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::F32;
use trine_ir::ops::CumSum;
use trine_ir::{Dim, Elem, Graph, Op, Type};

use super::function::{ClifValue, Emit, Result, clif_type};
use super::view::View;
use super::{CodegenError, Kernel, Shape};

pub struct CumSumKernel<'g> {
    graph: &'g Graph,
    op: &'g CumSum,
    arg: usize,
    axis: usize,
    ty: &'g Type,
}

impl<'g> CumSumKernel<'g> {
    pub fn new(graph: &'g Graph) -> Option<CumSumKernel<'g>> {
        let [output] = graph.outputs() else { return None };
        let Some(Op::CumSum(op)) = graph.op(output.node) else { return None };
        let x = graph.operand(output.node, CumSum::x)?;
        let view = View::of(graph, x).filter(View::is_plain)?;
        let ty = graph.ty(x);
        let rank = ty.rank() as f64;
        let axis = graph.as_literal(graph.operand(output.node, CumSum::axis)?)?.as_f64();
        let axis = if axis < 0.0 { axis + rank } else { axis };
        let alone = graph.order().iter().filter(|n| graph.op(**n).is_some()).count() == 1;
        let fits =
            alone && (0.0..rank).contains(&axis) && matches!(ty.elem, Elem::F32 | Elem::I64 | Elem::I32);
        fits.then_some(CumSumKernel { graph, op, arg: view.arg, axis: axis as usize, ty })
    }
}

impl Kernel for CumSumKernel<'_> {
    fn work(&self) -> Option<Dim> {
        Dim::product(&self.ty.dims)
    }

    fn emit(&self, e: &mut Emit) -> Result<ClifValue> {
        let shape = Shape::of(self.graph);
        let overflow = || CodegenError::Overflow { what: "the size of running sums".into() };
        let clif = clif_type(self.ty.elem).ok_or_else(|| CodegenError::malformed("running sums"))?;
        let bytes = i64::from(clif.bytes());
        let (before, after) = (&self.ty.dims[..self.axis], &self.ty.dims[self.axis + 1..]);
        let length = e.size(&self.ty.dims[self.axis])?;
        let inner = e.size(&Dim::product(after).ok_or_else(overflow)?)?;
        let rows = Dim::product(before.iter().chain(after));
        let rows = e.size(&rows.ok_or_else(overflow)?)?;
        let (x, y) = (e.arg(self.arg), e.arg(shape.result(0)));
        let (begin, end) = e.share(rows, 1);
        let zero = e.int(0);
        e.for_range(begin, end, 1, &[], |e, row, _| {
            let (outer, column) = (e.b.ins().udiv(row, inner), e.b.ins().urem(row, inner));
            let start = e.b.ins().imul(outer, length);
            let start = e.b.ins().imul(start, inner);
            let start = e.b.ins().iadd(start, column);
            let none = if clif == F32 { e.float(0.0, F32) } else { e.b.ins().iconst(clif, 0) };
            e.for_range(zero, length, 1, &[none], |e, i, so_far| {
                let i = match self.op.reverse {
                    true => {
                        let last = e.b.ins().iadd_imm_s(length, -1);
                        e.b.ins().isub(last, i)
                    }
                    false => i,
                };
                let offset = e.b.ins().imul(i, inner);
                let index = e.b.ins().iadd(start, offset);
                let (from, to) = (e.at(x, index, bytes), e.at(y, index, bytes));
                let v = e.load(clif, from, 0);
                let sum = match clif == F32 {
                    true => e.b.ins().fadd(so_far[0], v),
                    false => e.b.ins().iadd(so_far[0], v),
                };
                e.store(if self.op.exclusive { so_far[0] } else { sum }, to, 0);
                Ok(vec![sum])
            })?;
            Ok(vec![])
        })?;
        Ok(zero)
    }
}
