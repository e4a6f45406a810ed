//! Operands joined along an axis: the rows of each, copied to their places.

use cranelift_codegen::ir::InstBuilder;
use trine_ir::{Dim, Graph, Op};

use super::function::{ClifValue, Emit, Result};
use super::gather::copy;
use super::view::View;
use super::{CodegenError, Kernel, Shape};

pub struct ConcatKernel<'g> {
    graph: &'g Graph,
    parts: Vec<View>,
    axis: usize,
}

impl<'g> ConcatKernel<'g> {
    pub fn new(graph: &'g Graph) -> Option<ConcatKernel<'g>> {
        let [output] = graph.outputs() else { return None };
        let Some(Op::Concat(op)) = graph.op(output.node) else { return None };
        let whole = graph.ty(*output);
        let part = |v| View::of(graph, v).filter(|view| view.is_dense() && view.offset.as_const() == Some(0));
        let parts: Vec<View> =
            graph.operands(output.node).into_iter().map(|v| part(v?)).collect::<Option<_>>()?;
        // Sizes that are equal by a requirement alone are left to the interpreter.
        let fits = |view: &View| {
            let mut pairs = view.dims.iter().zip(&whole.dims).enumerate();
            view.dims.len() == whole.rank() && pairs.all(|(i, (d, n))| i == op.axis || d == n)
        };
        let moved = |node| {
            graph.op(node).is_some()
                && node != output.node
                && View::of(graph, trine_ir::Value { node, result: 0 }).is_none()
        };
        let alone = !graph.order().into_iter().any(moved);
        let whole_bytes = whole.elem.bits() >= 8;
        (alone && whole_bytes && parts.iter().all(fits)).then_some(ConcatKernel {
            graph,
            parts,
            axis: op.axis,
        })
    }

    /// Bytes of a row of the operand, or of the result: all that lies under one index of the axes before.
    fn row(&self, dims: &[Dim]) -> Option<Dim> {
        let bytes = Dim::constant(self.parts.first()?.elem.bits() / 8);
        dims[self.axis..].iter().try_fold(bytes, |n, d| n.mul(d))
    }
}

impl Kernel for ConcatKernel<'_> {
    fn work(&self) -> Option<Dim> {
        self.parts.iter().try_fold(Dim::constant(0), |n, part| n.add(&Dim::product(&part.dims)?))
    }

    fn emit(&self, e: &mut Emit) -> Result<ClifValue> {
        let shape = Shape::of(self.graph);
        let overflow = || CodegenError::Overflow { what: "the size of what is joined".into() };
        let whole = self.graph.ty(self.graph.outputs()[0]);
        let rows = Dim::product(&whole.dims[..self.axis]);
        let rows = e.size(&rows.ok_or_else(overflow)?)?;
        let pitch = e.size(&self.row(&whole.dims).ok_or_else(overflow)?)?;
        let out = e.arg(shape.result(0));
        let (begin, end) = e.share(rows, 1);
        let mut to = out;
        for part in &self.parts {
            let bytes = e.size(&self.row(&part.dims).ok_or_else(overflow)?)?;
            let base = e.arg(part.arg);
            e.for_range(begin, end, 1, &[], |e, row, _| {
                let (from, at) = (e.b.ins().imul(row, bytes), e.b.ins().imul(row, pitch));
                let (from, at) = (e.b.ins().iadd(base, from), e.b.ins().iadd(to, at));
                copy(e, from, bytes, at)?;
                Ok(vec![])
            })?;
            to = e.b.ins().iadd(to, bytes);
        }
        Ok(e.int(0))
    }
}
