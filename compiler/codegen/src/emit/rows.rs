//! Kernels over rows: elementwise ops and reductions of the last axis, fused.
//!
//! A kernel has one [domain](trine_ir::domain), the shape of its full-width values. For each row of it the reductions run
//! one after another, each a loop over the row that computes its operand on the fly; a last loop computes and
//! stores the results. Nothing but results touches memory, except operands of reductions that are costly
//! to compute again, which go to a row of scratch, and what a microkernel computes faster for the whole row.
//!
//! Sums go by sixteen strands as the interpreter's do, so the bits are the interpreter's.

mod map;
mod row;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Type as ClifType};
use rustc_hash::FxHashMap;
use trine_ir::domain::{Domain, Extent};
use trine_ir::{Def, Dim, Elem, Graph, NodeId, Op, Value};
use trine_ukernel::silu;

use super::arguments::arguments;
use super::elementwise;
use super::function::{ClifValue, Emit, Result, clif_type};
use super::halves::is_real;
use super::reduce;
use super::view::View;
use super::{CodegenError, Family, Kernel, Microkernel, Scratch, Shape};
use crate::Target;
use row::Row;

/// Elements that a vector round takes.
const ROUND: i64 = 16;

/// From so many elements a row on, a call for it is worth it.
const LONG: usize = 64;

/// What the emitter knows of a kernel before it writes a line.
pub struct RowsKernel<'g> {
    /// The kernel's body.
    pub graph: &'g Graph,
    domain: Domain,
    nodes: Vec<NodeId>,
    /// Values that are read from arguments, broadcast to the domain.
    leaves: FxHashMap<Value, View>,
    /// Operands of reductions that are kept in scratch, with their row of it.
    kept: FxHashMap<Value, usize>,
    /// Nodes that a microkernel computes a row at a time. Their results are kept, or are those of the kernel.
    mapped: FxHashMap<NodeId, &'static str>,
    vector: bool,
}

/// A value that something other than this emitter computes: the result of a contraction, whose epilogue the
/// row kernel is.
pub struct Source<'s> {
    /// The value that row kernels use.
    pub value: Value,
    /// What the elements of a row share.
    pub row: &'s dyn Fn(&mut Emit, ClifValue) -> Result<Vec<ClifValue>>,
    /// The elements at an index of the last axis, of a row that shares this, as one or four lanes of f32.
    pub load: &'s Load<'s>,
}

/// Writes a load: of what elements of the row share, the index, and the type of one lane or of four.
pub type Load<'s> = dyn Fn(&mut Emit, &[ClifValue], ClifValue, ClifType) -> Result<ClifValue> + 's;

/// The part of the domain to compute: rows, and a range of the last axis.
pub struct Region {
    /// The first row.
    pub begin: ClifValue,
    /// The row after the last.
    pub end: ClifValue,
    /// The first column of each row.
    pub from: ClifValue,
    /// The column after the last.
    pub to: ClifValue,
}

impl<'g> RowsKernel<'g> {
    /// The plan, or `None` when the body is not a row kernel.
    pub fn new(graph: &'g Graph, target: &Target) -> Option<RowsKernel<'g>> {
        let mut plan = RowsKernel::behind(graph, &[])?;
        if plan.vector && plan.length().as_const().is_none_or(|n| n >= LONG) {
            plan.map(target);
        }
        Some(plan)
    }

    /// The plan of all of the body but `inner`, nodes that are computed otherwise and whose results this plan's
    /// nodes use. `None` when the rest is not a row kernel.
    pub fn behind(graph: &'g Graph, inner: &[NodeId]) -> Option<RowsKernel<'g>> {
        let domain = Domain::of(graph).ok()?;
        // Parts share columns of what lies inside, and one number a row would be written by each.
        let by_row = |v: &Value| domain.extent(graph.ty(*v)) == Some(Extent::Row);
        if !inner.is_empty() && graph.outputs().iter().any(by_row) {
            return None;
        }
        let mut plan = RowsKernel {
            graph,
            domain,
            nodes: vec![],
            leaves: FxHashMap::default(),
            kept: FxHashMap::default(),
            mapped: FxHashMap::default(),
            vector: true,
        };
        for node in graph.order() {
            let Def::Op(op) = graph.def(node) else { continue };
            if inner.contains(&node) || graph.results(node).any(|v| View::of(graph, v).is_some()) {
                continue;
            }
            if !inner.is_empty() && reduce::is_row_reduction(graph, node) {
                return None;
            }
            plan.admit(node, op)?;
        }
        for output in graph.outputs() {
            if View::of(graph, *output).is_some() {
                plan.leaf(*output)?;
            }
        }
        Some(plan)
    }

    /// The number of rows of the domain.
    pub fn rows(&self) -> Result<Dim> {
        let outer = self.domain.dims().iter().rev().skip(1);
        let rows = Dim::product(outer);
        rows.ok_or_else(|| CodegenError::Overflow { what: "the number of rows".into() })
    }

    /// The length of the last axis.
    pub fn length(&self) -> Dim {
        self.domain.dims().last().cloned().unwrap_or(Dim::constant(1))
    }

    fn admit(&mut self, node: NodeId, op: &Op) -> Option<()> {
        let graph = self.graph;
        let reduces = reduce::is_row_reduction(graph, node);
        if !reduces && !elementwise::supported(op, graph, node) {
            return None;
        }
        for value in graph.results(node) {
            let ty = graph.ty(value);
            clif_type(ty.elem)?;
            let quantized = matches!(op, Op::QuantizeRows(_));
            self.vector &= (is_real(ty.elem) || quantized) && !elementwise::is_call(op);
        }
        for operand in graph.operands(node).into_iter().flatten() {
            match graph.def(operand.node) {
                Def::Literal(_) => self.vector &= graph.ty(operand).elem == Elem::F32,
                _ if View::of(graph, operand).is_some() => self.leaf(operand)?,
                _ => {}
            }
        }
        if reduces {
            let operand = graph.operand(node, 0)?;
            // Rows that are kept are of f32.
            if is_real(graph.ty(operand).elem) && self.costly(operand, 8) && !self.kept.contains_key(&operand)
            {
                self.kept.insert(operand, self.kept.len());
            }
        }
        self.nodes.push(node);
        Some(())
    }

    fn leaf(&mut self, value: Value) -> Option<()> {
        let view = View::of(self.graph, value)?.broadcast(self.domain.dims())?;
        clif_type(view.elem)?;
        self.vector &= is_real(view.elem);
        self.leaves.insert(value, view);
        Some(())
    }

    /// Whether computing the value again costs more than a load.
    fn costly(&self, value: Value, depth: usize) -> bool {
        if self.leaves.contains_key(&value) || depth == 0 {
            return depth == 0;
        }
        let Some(op) = self.graph.op(value.node) else { return false };
        elementwise::is_costly(op, &self.graph.operands(value.node))
            || !reduce::is_row_reduction(self.graph, value.node)
                && self.graph.operands(value.node).into_iter().flatten().any(|v| self.costly(v, depth - 1))
    }
}

impl Kernel for RowsKernel<'_> {
    /// Operations of a whole call, roughly.
    fn work(&self) -> Option<Dim> {
        let elements = Dim::product(self.domain.dims())?;
        elements.mul(&Dim::constant(self.nodes.len().max(1)))
    }

    /// Rows that are kept, of each part.
    fn scratch(&self) -> Option<Scratch> {
        let rows = self.length().mul(&Dim::constant(4 * self.kept.len()))?;
        Some(Scratch::of_parts(rows.add(&Dim::constant(64 * self.kept.len()))?))
    }

    fn microkernels(&self) -> Vec<Microkernel> {
        let family = |node| match self.graph.op(node) {
            Some(Op::RmsNorm(_)) => Family::RmsNorm,
            Some(Op::QuantizeRows(_)) => Family::Quantize,
            _ => Family::Silu,
        };
        let of = |(node, symbol): (&NodeId, &&'static str)| Microkernel { family: family(*node), symbol };
        self.mapped.iter().map(of).collect()
    }

    /// Writes the kernel.
    fn emit(&self, e: &mut Emit) -> Result<ClifValue> {
        let zero = e.int(0);
        if let Some(count) = flatten(self).filter(|_| self.mapped.is_empty()) {
            let count = e.size(&count)?;
            let (from, to) = e.share(count, ROUND);
            let region = Region { begin: zero, end: e.int(1), from, to };
            emit_rows(self, e, &region, &[], true)?;
        } else {
            let rows = e.size(&self.rows()?)?;
            let (begin, end) = e.share(rows, 1);
            let to = e.size(&self.length())?;
            emit_rows(self, e, &Region { begin, end, from: zero, to }, &[], false)?;
        }
        Ok(zero)
    }
}

/// Whether row kernels compute ops such as the node.
pub fn computes(graph: &Graph, node: NodeId) -> bool {
    let op = graph.op(node);
    reduce::is_row_reduction(graph, node) || op.is_some_and(|op| elementwise::supported(op, graph, node))
}

/// Writes the part of the kernel that computes `region`, with `sources` as the values after it.
pub fn emit_region(plan: &RowsKernel, e: &mut Emit, region: &Region, sources: &[Source]) -> Result<()> {
    emit_rows(plan, e, region, sources, false)
}

fn emit_rows(plan: &RowsKernel, e: &mut Emit, region: &Region, sources: &[Source], flat: bool) -> Result<()> {
    let shape = Shape::of(plan.graph);
    let length = e.size(&plan.length())?;
    let scratch = scratch_rows(plan, e, &shape, length)?;
    e.for_range(region.begin, region.end, 1, &[], |e, r, _| {
        Row::new(plan, sources, r, scratch, length).emit(e, region, &shape, flat)?;
        Ok(vec![])
    })?;
    Ok(())
}

/// The number of elements, when every access is dense and no reduction needs rows.
fn flatten(plan: &RowsKernel) -> Option<Dim> {
    let dense = |view: &View| view.is_plain() || view.strides.iter().all(|s| s.as_const() == Some(0));
    let flat = plan.leaves.values().all(dense)
        && plan.nodes.iter().all(|n| !reduce::is_row_reduction(plan.graph, *n))
        && plan.graph.outputs().iter().all(|o| plan.domain.extent(plan.graph.ty(*o)) == Some(Extent::Full));
    if !flat {
        return None;
    }
    Dim::product(plan.domain.dims())
}

fn scratch_rows(
    plan: &RowsKernel,
    e: &mut Emit,
    shape: &Shape,
    length: ClifValue,
) -> Result<Option<ClifValue>> {
    if plan.kept.is_empty() {
        return Ok(None);
    }
    let bytes = e.b.ins().imul_imm_s(length, 4 * plan.kept.len() as i64);
    let bytes = e.b.ins().iadd_imm_s(bytes, 64 * plan.kept.len() as i64);
    let offset = e.b.ins().imul(bytes, e.part);
    let base = e.arg(shape.scratch());
    Ok(Some(e.b.ins().iadd(base, offset)))
}

/// Calls an elementwise microkernel on the columns of `region`, in place; rows lie where `row` says.
pub fn map_in_place(
    e: &mut Emit,
    symbol: &'static str,
    region: &Region,
    row: impl Fn(&mut Emit, ClifValue) -> Result<Vec<ClifValue>>,
) -> Result<()> {
    let count = e.b.ins().isub(region.to, region.from);
    e.for_range(region.begin, region.end, 1, &[], |e, r, _| {
        let start = row(e, r)?[0];
        let start = e.at(start, region.from, 4);
        e.call_with_struct(symbol, arguments!(silu::SiluF32 { x: start, out: start, n: count }))?;
        Ok(vec![])
    })?;
    Ok(())
}

/// The offset of element `index` of all axes of a view but the last `inner`, taken row-major, in elements.
pub fn outer_offset(e: &mut Emit, view: &View, index: ClifValue, inner: usize) -> Result<ClifValue> {
    let offset = e.size(&view.offset)?;
    if let Some(stride) = view.outer_stride(inner) {
        let stride = e.size(&stride)?;
        let by_index = e.b.ins().imul(index, stride);
        return Ok(e.b.ins().iadd(offset, by_index));
    }
    let (mut rest, mut sum) = (index, offset);
    for axis in (0..view.dims.len() - inner).rev() {
        let size = e.size(&view.dims[axis])?;
        let stride = e.size(&view.strides[axis])?;
        let index = e.b.ins().urem(rest, size);
        rest = e.b.ins().udiv(rest, size);
        let step = e.b.ins().imul(index, stride);
        sum = e.b.ins().iadd(sum, step);
    }
    Ok(sum)
}

/// Elements from a row of `[b,h,s,d]` to the one after it, of the same head or, where each has but one, of the next.
pub fn row_stride(e: &mut Emit, view: &View) -> Result<ClifValue> {
    let [.., count, _] = &view.dims[..] else { return Err(CodegenError::malformed("heads")) };
    let [.., of_head, of_row, _] = &view.strides[..] else { return Err(CodegenError::malformed("heads")) };
    let (count, of_head, of_row) = (e.size(count)?, e.size(of_head)?, e.size(of_row)?);
    let single = e.b.ins().icmp_imm_s(IntCC::Equal, count, 1);
    Ok(e.b.ins().select(single, of_head, of_row))
}
