//! Caches of a fixed length with new rows written into them, in each element of axis 0 from its own start on.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use trine_ir::ops::TensorScatter;
use trine_ir::{Dim, Elem, Graph, Op};
use trine_runtime::kernel::STATUS_INDEX;

use super::function::{ClifValue, Emit, Result};
use super::gather::copy;
use super::view::View;
use super::{CodegenError, Kernel, Shape};

pub struct TensorScatterKernel<'g> {
    graph: &'g Graph,
    axis: usize,
    past: View,
    update: View,
    /// The argument that holds the starts, all 0 where there is none.
    starts: Option<usize>,
}

impl<'g> TensorScatterKernel<'g> {
    pub fn new(graph: &'g Graph) -> Option<TensorScatterKernel<'g>> {
        let [output] = graph.outputs() else { return None };
        let Some(Op::TensorScatter(op)) = graph.op(output.node) else { return None };
        let operand = |slot: usize| View::of(graph, graph.operand(output.node, slot)?).filter(View::is_plain);
        let (past, update) = (operand(TensorScatter::past)?, operand(TensorScatter::update)?);
        let starts = match graph.operand(output.node, TensorScatter::starts) {
            Some(_) => {
                let fits = |view: &View| view.elem == Elem::I64 && view.dims[..] == past.dims[..1];
                Some(operand(TensorScatter::starts).filter(fits)?.arg)
            }
            None => None,
        };
        // Sizes that are equal by a requirement alone are left to the interpreter.
        let mut sizes = past.dims.iter().zip(&update.dims).enumerate();
        let fits = past.dims.len() == update.dims.len() && sizes.all(|(i, (a, b))| i == op.axis || a == b);
        let alone = graph.order().iter().filter(|n| graph.op(**n).is_some()).count() == 1;
        (alone && fits && !op.circular && past.elem.bits() >= 8).then_some(TensorScatterKernel {
            graph,
            axis: op.axis,
            past,
            update,
            starts,
        })
    }

    /// Bytes of what lies under one index of the axes up to `axis`.
    fn bytes(&self, dims: &[Dim]) -> Option<Dim> {
        Dim::product(dims)?.mul(&Dim::constant(self.past.elem.bits() / 8))
    }
}

impl Kernel for TensorScatterKernel<'_> {
    fn work(&self) -> Option<Dim> {
        Dim::product(&self.past.dims)
    }

    /// The status is `STATUS_INDEX` when rows would end beyond the cache; they are not written.
    fn emit(&self, e: &mut Emit) -> Result<ClifValue> {
        let shape = Shape::of(self.graph);
        let axis = self.axis;
        let mut size = |dim: Option<Dim>| {
            e.size(&dim.ok_or_else(|| CodegenError::Overflow { what: "the size of a cache".into() })?)
        };
        let (length, count) =
            (size(Some(self.past.dims[axis].clone()))?, size(Some(self.update.dims[axis].clone()))?);
        let middle = size(Dim::product(&self.past.dims[1..axis]))?;
        let rows = size(Dim::product(&self.past.dims[..axis]))?;
        let run = size(self.bytes(&self.past.dims[axis + 1..]))?;
        let (past, update, out) = (e.arg(self.past.arg), e.arg(self.update.arg), e.arg(shape.result(0)));
        let whole = e.b.ins().imul(length, run);
        let new = e.b.ins().imul(count, run);
        let room = e.b.ins().isub(length, count);
        let (begin, end) = e.share(rows, 1);
        let zero = e.int(0);
        // A session that holds the cache has it written in place.
        let moved = e.b.ins().icmp(IntCC::NotEqual, past, out);
        let status = e.for_range(begin, end, 1, &[zero], |e, row, status| {
            let offset = e.b.ins().imul(row, whole);
            let (from, to) = (e.b.ins().iadd(past, offset), e.b.ins().iadd(out, offset));
            e.when(moved, |e| copy(e, from, whole, to))?;
            let start = match self.starts {
                Some(arg) => {
                    let base = e.arg(arg);
                    let batch = e.b.ins().udiv(row, middle);
                    let place = e.at(base, batch, 8);
                    e.load(I64, place, 0)
                }
                None => zero,
            };
            let counted = e.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, start, zero);
            let below = e.b.ins().icmp(IntCC::SignedLessThanOrEqual, start, room);
            let nothing = e.b.ins().icmp(IntCC::Equal, count, zero);
            let below = e.b.ins().bor(below, nothing);
            let inside = e.b.ins().band(counted, below);
            let bad = e.int(STATUS_INDEX);
            let status = e.b.ins().select(inside, status[0], bad);
            e.when(inside, |e| {
                let (source, place) = (e.b.ins().imul(row, new), e.b.ins().imul(start, run));
                let (source, place) = (e.b.ins().iadd(update, source), e.b.ins().iadd(to, place));
                copy(e, source, new, place)
            })?;
            Ok(vec![status])
        })?;
        Ok(status[0])
    }
}
