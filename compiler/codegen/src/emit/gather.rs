//! Elements of an axis by index, with all that lies in them: rows of a table, as of embeddings. A table that lies as a
//! product reads it, whose weights it is too, is read a value of each line.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, I8, I8X16, I32, I64};
use trine_ir::ops::Gather;
use trine_ir::{Dim, Elem, Graph, Literal, Op};
use trine_runtime::kernel::STATUS_INDEX;
use trine_ukernel::matmul::{Panels, WIDTH};

use super::function::{ClifValue, Emit, Result};
use super::view::{View, packable};
use super::{ArgLayout, CodegenError, Kernel, Shape, Table};

pub struct GatherKernel<'g> {
    graph: &'g Graph,
    table: View,
    axis: usize,
    /// How the table is packed, if it is; its rows are columns then.
    panels: Option<Panels>,
    indices: Indices,
}

enum Indices {
    View(View),
    /// One index, known when the kernel is compiled.
    Literal(i64),
}

impl<'g> GatherKernel<'g> {
    pub fn new(graph: &'g Graph) -> Option<GatherKernel<'g>> {
        let [output] = graph.outputs() else { return None };
        let Some(Op::Gather(op)) = graph.op(output.node) else { return None };
        let operand = |slot: usize| {
            let view = View::of(graph, graph.operand(output.node, slot)?)?;
            (view.is_dense() && view.offset.as_const() == Some(0)).then_some(view)
        };
        let literal = graph.operand(output.node, Gather::indices).and_then(|v| graph.as_literal(v));
        let indices = match literal {
            Some(Literal::I64(index)) => Indices::Literal(index),
            _ => Indices::View(operand(Gather::indices)?),
        };
        let table = operand(Gather::x)?;
        let alone = graph.order().iter().filter(|n| graph.op(**n).is_some()).count() == 1;
        let whole = match &indices {
            Indices::View(view) => matches!(view.elem, Elem::I64 | Elem::I32),
            Indices::Literal(_) => true,
        };
        let fits = table.elem.bits() >= 8 && whole;
        (alone && fits).then_some(GatherKernel { graph, table, axis: op.axis, panels: None, indices })
    }

    /// How many tables there are: elements of the axes before the one that is indexed.
    fn outer(&self) -> Option<Dim> {
        Dim::product(&self.table.dims[..self.axis])
    }

    /// How a product that reads rows of the table as columns would pack it.
    fn panels_of_table(&self) -> Option<Panels> {
        let (graph, [output]) = (self.graph, self.graph.outputs()) else { return None };
        let param = graph.params()[self.table.arg];
        let [n, k] = graph.ty(param).static_dims()?.try_into().ok()?;
        packable(graph, graph.operand(output.node, Gather::x)?, param)?;
        (self.table.elem == Elem::F32).then_some(Panels { k, n, transposed: true })
    }

    /// How many indices there are.
    fn rows(&self) -> Option<Dim> {
        match &self.indices {
            Indices::View(view) => Dim::product(&view.dims),
            Indices::Literal(_) => Some(Dim::constant(1)),
        }
    }

    /// Bytes of a row of a table.
    fn width(&self) -> Option<Dim> {
        let bytes = Dim::constant(self.table.elem.bits() / 8);
        self.table.dims[self.axis + 1..].iter().try_fold(bytes, |n, d| n.mul(d))
    }
}

impl Kernel for GatherKernel<'_> {
    fn layout(&self, arg: usize) -> ArgLayout {
        match self.panels {
            Some(panels) if arg == self.table.arg => ArgLayout::Panels(panels),
            _ => ArgLayout::Dense,
        }
    }

    fn work(&self) -> Option<Dim> {
        self.outer()?.mul(&self.rows()?)?.mul(&self.width()?)
    }

    fn table(&self) -> Option<Table> {
        let panels = self.panels_of_table().filter(|_| self.axis == 0);
        Some(Table { arg: self.table.arg, panels })
    }

    fn read_panels(&mut self, panels: Panels) {
        self.panels = Some(panels);
    }

    /// The status is `STATUS_INDEX` when an index is out of range; its row is not written.
    fn emit(&self, e: &mut Emit) -> Result<ClifValue> {
        let shape = Shape::of(self.graph);
        let overflow = || CodegenError::Overflow { what: "the size of a table".into() };
        let count = e.size(&self.table.dims[self.axis])?;
        let width = e.size(&self.width().ok_or_else(overflow)?)?;
        let rows = e.size(&self.rows().ok_or_else(overflow)?)?;
        let table = e.arg(self.table.arg);
        let out = e.arg(shape.result(0));
        let outer = self.outer().ok_or_else(overflow)?;
        let all = match outer.as_const() {
            Some(1) => rows,
            _ => {
                let outer = e.size(&outer)?;
                e.b.ins().imul(outer, rows)
            }
        };
        let (begin, end) = e.share(all, 1);
        let zero = e.int(0);
        let status = e.for_range(begin, end, 1, &[zero], |e, place, status| {
            let (table, row) = match outer.as_const() {
                Some(1) => (table, place),
                _ => {
                    let (outer, row) = (e.b.ins().udiv(place, rows), e.b.ins().urem(place, rows));
                    let bytes = e.b.ins().imul(count, width);
                    let offset = e.b.ins().imul(outer, bytes);
                    (e.b.ins().iadd(table, offset), row)
                }
            };
            let index = match &self.indices {
                Indices::Literal(index) => e.int(*index),
                Indices::View(view) => {
                    let bytes = if view.elem == Elem::I64 { 8 } else { 4 };
                    let base = e.arg(view.arg);
                    let index = e.at(base, row, bytes);
                    if bytes == 8 {
                        e.load(I64, index, 0)
                    } else {
                        let index = e.load(I32, index, 0);
                        e.b.ins().sextend(I64, index)
                    }
                }
            };
            let wrapped = e.b.ins().iadd(index, count);
            let negative = e.b.ins().icmp(IntCC::SignedLessThan, index, zero);
            let index = e.b.ins().select(negative, wrapped, index);
            let inside = e.b.ins().icmp(IntCC::UnsignedLessThan, index, count);
            let bad = e.int(STATUS_INDEX);
            let status = e.b.ins().select(inside, status[0], bad);
            // An empty table has no row to copy.
            e.when(inside, |e| {
                let offset = e.b.ins().imul(place, width);
                let to = e.b.ins().iadd(out, offset);
                match self.panels {
                    Some(panels) => copy_column(e, table, &panels, index, to),
                    None => {
                        let offset = e.b.ins().imul(index, width);
                        let from = e.b.ins().iadd(table, offset);
                        copy(e, from, width, to)
                    }
                }
            })?;
            Ok(vec![status])
        })?;
        Ok(status[0])
    }
}

/// Copies so many bytes.
pub fn copy(e: &mut Emit, from: ClifValue, bytes: ClifValue, to: ClifValue) -> Result<()> {
    let zero = e.int(0);
    let whole = e.b.ins().band_imm_u(bytes, !15);
    for (begin, end, step, ty) in [(zero, whole, 16, I8X16), (whole, bytes, 1, I8)] {
        e.for_range(begin, end, step, &[], |e, i, _| {
            let source = e.b.ins().iadd(from, i);
            let v = e.load(ty, source, 0);
            let place = e.b.ins().iadd(to, i);
            e.store(v, place, 0);
            Ok(vec![])
        })?;
    }
    Ok(())
}

/// One column of panels: its panel, and in it a value of each row.
fn copy_column(
    e: &mut Emit,
    table: ClifValue,
    panels: &Panels,
    column: ClifValue,
    to: ClifValue,
) -> Result<()> {
    let overflow = || CodegenError::Overflow { what: "the size of a table".into() };
    let (value, row) = (4, 4 * WIDTH as i64);
    let depth = i64::try_from(panels.k).map_err(|_| overflow())?;
    let panel = row.checked_mul(depth).ok_or_else(overflow)?;
    let width = e.int(WIDTH as i64);
    let (which, within) = (e.b.ins().udiv(column, width), e.b.ins().urem(column, width));
    let from = e.at(table, which, panel);
    let from = e.at(from, within, value);
    let (zero, end) = (e.int(0), e.int(depth));
    e.for_range(zero, end, 1, &[], |e, i, _| {
        let source = e.at(from, i, row);
        let v = e.load(F32, source, 0);
        let place = e.at(to, i, value);
        e.store(v, place, 0);
        Ok(vec![])
    })?;
    Ok(())
}
