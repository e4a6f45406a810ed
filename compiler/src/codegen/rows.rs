//! Kernels over rows: elementwise ops and reductions of the last axis, fused.
//!
//! A kernel has one domain, the shape of its full-width values. For each row of it the reductions run one
//! after another, each a loop over the row that computes its operand on the fly; a last loop computes and
//! stores the results. Nothing but results touches memory, except operands of reductions that are costly
//! to compute again, which go to a row of scratch.
//!
//! Sums go by sixteen strands as the interpreter's do, so the bits are the interpreter's.

use cranelift_codegen::ir::types::{F32, F32X4, I8X16, I32X4};
use cranelift_codegen::ir::{InstBuilder, Type as ClifType};
use rustc_hash::FxHashMap;
use trine_ir::{Def, Dim, Elem, Graph, NodeId, Op, Value};

use super::elementwise;
use super::emit::{ClifValue, Emit, Result, clif_type, lanes};
use super::reduce;
use super::view::View;
use super::{CodegenError, Shape};

/// Elements that a vector round takes.
const ROUND: i64 = 16;

/// What the emitter knows of a kernel before it writes a line.
pub struct Plan<'g> {
    pub graph: &'g Graph,
    domain: Vec<Dim>,
    nodes: Vec<NodeId>,
    /// Values that are read from arguments, broadcast to the domain.
    leaves: FxHashMap<Value, View>,
    /// Operands of reductions that are kept in scratch, with their row of it.
    kept: FxHashMap<Value, usize>,
    vector: bool,
}

/// A value that something other than this emitter computes: the result of a contraction, whose epilogue the
/// row kernel is.
pub struct Source<'s> {
    pub value: Value,
    /// The elements at a row and an index of its last axis, as one or four lanes of f32.
    pub load: &'s dyn Fn(&mut Emit, ClifValue, ClifValue, ClifType) -> Result<ClifValue>,
}

/// The part of the domain to compute: rows, and a range of the last axis.
pub struct Region {
    pub begin: ClifValue,
    pub end: ClifValue,
    pub from: ClifValue,
    pub to: ClifValue,
}

/// State of the emission of one row.
struct Row<'p, 'g> {
    plan: &'p Plan<'g>,
    source: Option<&'p Source<'p>>,
    row: ClifValue,
    /// Where each leaf's row starts, and the stride of its last axis in elements.
    starts: FxHashMap<Value, (ClifValue, Stride)>,
    /// Values with one element a row, and the inner state of reductions.
    scalars: FxHashMap<NodeId, Vec<ClifValue>>,
    scratch: Option<ClifValue>,
    length: ClifValue,
}

#[derive(Clone, Copy)]
enum Stride {
    Zero,
    One,
    Of(ClifValue),
}

/// One position in the row: the lane type, the index of its first element.
#[derive(Clone, Copy)]
struct Position {
    ty: Lanes,
    index: ClifValue,
}

#[derive(Clone, Copy, PartialEq)]
enum Lanes {
    One,
    Four,
}

impl<'g> Plan<'g> {
    /// The plan, or `None` when the body is no row kernel.
    pub fn new(graph: &'g Graph) -> Option<Plan<'g>> {
        Plan::behind(graph, &[])
    }

    /// The plan of all of the body but `inner`, nodes that are computed otherwise and have one result that
    /// this plan's nodes use. `None` when the rest is no row kernel.
    pub fn behind(graph: &'g Graph, inner: &[NodeId]) -> Option<Plan<'g>> {
        let domain = domain(graph, inner)?;
        let mut plan = Plan {
            graph,
            domain,
            nodes: vec![],
            leaves: FxHashMap::default(),
            kept: FxHashMap::default(),
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

    /// Rows of scratch that each part needs, in bytes.
    pub fn scratch(&self) -> Option<Dim> {
        let row = self.length().mul(&Dim::constant(4 * self.kept.len()))?;
        row.add(&Dim::constant(64 * self.kept.len()))
    }

    /// Operations of a whole call, roughly.
    pub fn work(&self) -> Option<Dim> {
        let elements = self.domain.iter().try_fold(Dim::constant(1), |n, d| n.mul(d))?;
        elements.mul(&Dim::constant(self.nodes.len().max(1)))
    }

    /// The number of rows of the domain.
    pub fn rows(&self) -> Result<Dim> {
        let outer = &self.domain[..self.domain.len() - 1];
        let rows = outer.iter().try_fold(Dim::constant(1), |n, d| n.mul(d));
        rows.ok_or_else(|| CodegenError::Overflow { what: "the number of rows".into() })
    }

    /// The length of the last axis.
    pub fn length(&self) -> Dim {
        self.domain.last().cloned().unwrap_or(Dim::constant(1))
    }

    fn admit(&mut self, node: NodeId, op: &Op) -> Option<()> {
        let graph = self.graph;
        let reduces = reduce::is_row_reduction(graph, node);
        if !reduces && !elementwise::supported(op, graph, node) {
            return None;
        }
        for value in graph.results(node) {
            let ty = graph.ty(value);
            let full = ty.dims == self.domain;
            let by_row = ty.back(0).and_then(Dim::as_const) == Some(1)
                && ty.dims[..ty.rank() - 1] == self.domain[..self.domain.len().max(1) - 1];
            if !(full || by_row) {
                return None;
            }
            clif_type(ty.elem)?;
            let quantized = matches!(op, Op::QuantizeRows(_));
            self.vector &= ty.elem == Elem::F32 || quantized;
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
            if self.costly(operand, 8) && !self.kept.contains_key(&operand) {
                self.kept.insert(operand, self.kept.len());
            }
        }
        self.nodes.push(node);
        Some(())
    }

    fn leaf(&mut self, value: Value) -> Option<()> {
        let view = View::of(self.graph, value)?.broadcast(&self.domain)?;
        clif_type(view.elem)?;
        self.vector &= view.elem == Elem::F32;
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

/// The shape of the widest values: that of the outputs, or of the operand of a reduction.
fn domain(graph: &Graph, inner: &[NodeId]) -> Option<Vec<Dim>> {
    let mut candidates: Vec<Value> = graph.outputs().to_vec();
    for node in graph.order() {
        if !inner.contains(&node) && reduce::is_row_reduction(graph, node) {
            candidates.extend(graph.operand(node, 0));
        }
    }
    let full = |v: &Value| graph.ty(*v).back(0).is_some_and(|d| d.as_const() != Some(1));
    let widest = candidates.iter().find(|v| full(v)).or(candidates.first())?;
    let dims = graph.ty(*widest).dims.clone();
    Some(if dims.is_empty() { vec![Dim::constant(1)] } else { dims })
}

/// Writes the kernel.
pub fn emit(plan: &Plan, e: &mut Emit) -> Result<ClifValue> {
    let zero = e.int(0);
    if let Some(count) = flatten(plan) {
        let count = e.size(&count)?;
        let (from, to) = e.share(count, ROUND);
        let region = Region { begin: zero, end: e.int(1), from, to };
        emit_rows(plan, e, &region, None, true)?;
    } else {
        let rows = e.size(&plan.rows()?)?;
        let (begin, end) = e.share(rows, 1);
        let to = e.size(&plan.length())?;
        emit_rows(plan, e, &Region { begin, end, from: zero, to }, None, false)?;
    }
    Ok(zero)
}

/// Writes the part of the kernel that computes `region`, with `source` as the value behind it.
pub fn emit_region(plan: &Plan, e: &mut Emit, region: &Region, source: &Source) -> Result<()> {
    emit_rows(plan, e, region, Some(source), false)
}

fn emit_rows(plan: &Plan, e: &mut Emit, region: &Region, source: Option<&Source>, flat: bool) -> Result<()> {
    let shape = Shape::of(plan.graph);
    let length = e.size(&plan.length())?;
    let scratch = scratch_rows(plan, e, &shape, length)?;
    e.for_range(region.begin, region.end, 1, &[], |e, r, _| {
        let mut row = Row {
            plan,
            source,
            row: r,
            starts: FxHashMap::default(),
            scalars: FxHashMap::default(),
            scratch,
            length,
        };
        row.start(e, flat)?;
        for node in &plan.nodes {
            if reduce::is_row_reduction(plan.graph, *node) {
                row.reduce(e, *node)?;
            } else if row.is_scalar(*node) {
                let value = row.scalar_op(e, *node)?;
                row.scalars.insert(*node, vec![value]);
            }
        }
        row.finish(e, region, &shape, flat)?;
        Ok(vec![])
    })?;
    Ok(())
}

/// The number of elements, when every access is dense and no reduction needs rows.
fn flatten(plan: &Plan) -> Option<Dim> {
    let dense = |view: &View| {
        view.is_dense() && view.offset.as_const() == Some(0)
            || view.strides.iter().all(|s| s.as_const() == Some(0))
    };
    let flat = plan.leaves.values().all(dense)
        && plan.nodes.iter().all(|n| !reduce::is_row_reduction(plan.graph, *n))
        && plan.graph.outputs().iter().all(|o| {
            let dims = &plan.graph.ty(*o).dims;
            *dims == plan.domain || dims.is_empty()
        });
    if !flat {
        return None;
    }
    plan.domain.iter().try_fold(Dim::constant(1), |n, d| n.mul(d))
}

fn scratch_rows(plan: &Plan, e: &mut Emit, shape: &Shape, length: ClifValue) -> Result<Option<ClifValue>> {
    if plan.kept.is_empty() {
        return Ok(None);
    }
    let bytes = e.b.ins().imul_imm_s(length, 4 * plan.kept.len() as i64);
    let bytes = e.b.ins().iadd_imm_s(bytes, 64 * plan.kept.len() as i64);
    let offset = e.b.ins().imul(bytes, e.part);
    let base = e.arg(shape.scratch());
    Ok(Some(e.b.ins().iadd(base, offset)))
}

impl Row<'_, '_> {
    /// Finds where the row of each leaf starts.
    fn start(&mut self, e: &mut Emit, flat: bool) -> Result<()> {
        let mut leaves: Vec<_> = self.plan.leaves.iter().collect();
        leaves.sort_by_key(|(v, _)| **v);
        for (value, view) in leaves {
            let bytes = i64::from(clif_type(view.elem).expect("admitted").bytes());
            let offset = if flat { e.int(0) } else { outer_offset(e, view, self.row, 1)? };
            let base = e.arg(view.arg);
            let start = e.at(base, offset, bytes);
            let last = if flat {
                match view.strides.iter().all(|s| s.as_const() == Some(0)) && !view.is_dense() {
                    true => Dim::constant(0),
                    false => Dim::constant(1),
                }
            } else {
                view.strides.last().cloned().unwrap_or(Dim::constant(0))
            };
            let stride = match last.as_const() {
                Some(0) => Stride::Zero,
                Some(1) => Stride::One,
                _ => Stride::Of(e.size(&last)?),
            };
            self.starts.insert(*value, (start, stride));
        }
        Ok(())
    }

    /// Whether the op has one element a row.
    fn is_scalar(&self, node: NodeId) -> bool {
        let graph = self.plan.graph;
        self.plan.domain.last().and_then(Dim::as_const) != Some(1)
            && graph.results(node).all(|v| graph.ty(v).back(0).and_then(Dim::as_const) == Some(1))
    }

    fn scalar_op(&mut self, e: &mut Emit, node: NodeId) -> Result<ClifValue> {
        let index = e.int(0);
        let at = Position { ty: Lanes::One, index };
        self.compute(e, Value { node, result: 0 }, at, &mut FxHashMap::default())
    }

    /// Runs a reduction over the row; its state goes to `scalars`.
    fn reduce(&mut self, e: &mut Emit, node: NodeId) -> Result<()> {
        let graph = self.plan.graph;
        let operand = graph.operand(node, 0).ok_or_else(|| CodegenError::malformed("a reduction"))?;
        let length = self.length;
        for phase in 0..reduce::phases(graph, node) {
            let state = self.scalars.get(&node).cloned().unwrap_or_default();
            let spec = reduce::phase(graph, node, phase);
            let total = self.strands(e, operand, phase == 0, &spec, &state)?;
            let next = spec.finish(e, graph, node, total, length, &state)?;
            self.scalars.entry(node).or_default().extend(next);
        }
        Ok(())
    }

    /// Sixteen strands over the row, combined by halves: the vector rounds, then the tail one by one.
    fn strands(
        &mut self,
        e: &mut Emit,
        operand: Value,
        keep: bool,
        spec: &reduce::Phase,
        state: &[ClifValue],
    ) -> Result<ClifValue> {
        let length = self.length;
        let slot = e.stack(64);
        let ty = if self.plan.vector { F32X4 } else { F32 };
        let step = lanes(ty);
        let init = spec.init(e, ty);
        for j in 0..ROUND / step {
            e.store(init, slot, (4 * step * j) as i32);
        }
        let rounds = e.b.ins().band_imm_u(length, !(ROUND - 1));
        let zero = e.int(0);
        if self.plan.vector {
            let sums = e.for_range(zero, rounds, ROUND, &[init; 4], |e, i, sums| {
                let mut next = vec![];
                for (j, sum) in sums.iter().enumerate() {
                    let index = e.b.ins().iadd_imm_s(i, 4 * j as i64);
                    let at = Position { ty: Lanes::Four, index };
                    let x = self.reduced(e, operand, at, keep)?;
                    next.push(spec.step(e, *sum, x, state, F32X4));
                }
                Ok(next)
            })?;
            for (j, sum) in sums.iter().enumerate() {
                e.store(*sum, slot, 16 * j as i32);
            }
        }
        let tail = if self.plan.vector { rounds } else { zero };
        e.for_range(tail, length, 1, &[], |e, i, _| {
            let x = self.reduced(e, operand, Position { ty: Lanes::One, index: i }, keep)?;
            let strand = e.b.ins().band_imm_u(i, ROUND - 1);
            let place = e.at(slot, strand, 4);
            let sum = e.load(F32, place, 0);
            let sum = spec.step(e, sum, x, state, F32);
            e.store(sum, place, 0);
            Ok(vec![])
        })?;
        let v: Vec<_> = (0..4).map(|j| e.load(F32X4, slot, 16 * j)).collect();
        let (a, b) = (spec.combine(e, v[0], v[2], F32X4), spec.combine(e, v[1], v[3], F32X4));
        let quarter = spec.combine(e, a, b, F32X4);
        let l: Vec<_> = (0..4).map(|j| e.b.ins().extractlane(quarter, j)).collect();
        let (a, b) = (spec.combine(e, l[0], l[2], F32), spec.combine(e, l[1], l[3], F32));
        Ok(spec.combine(e, a, b, F32))
    }

    /// The operand of a reduction at a position: computed and kept at first, then read back.
    fn reduced(&mut self, e: &mut Emit, operand: Value, at: Position, keep: bool) -> Result<ClifValue> {
        let value = self.full(e, operand, at, &mut FxHashMap::default(), !keep)?;
        if let (true, Some(place)) = (keep, self.kept_at(e, operand, at.index)) {
            e.store(value, place, 0);
        }
        Ok(value)
    }

    fn kept_at(&self, e: &mut Emit, value: Value, index: ClifValue) -> Option<ClifValue> {
        let row = *self.plan.kept.get(&value)?;
        let base = self.scratch?;
        let bytes = e.b.ins().imul_imm_s(self.length, 4 * row as i64);
        let start = e.b.ins().iadd(base, bytes);
        let start = e.b.ins().iadd_imm_s(start, 64 * row as i64);
        Some(e.at(start, index, 4))
    }

    /// Computes and stores all results of the row.
    fn finish(&mut self, e: &mut Emit, region: &Region, shape: &Shape, flat: bool) -> Result<()> {
        let (from, to) = (region.from, region.to);
        let graph = self.plan.graph;
        let mut full = vec![];
        for (i, output) in graph.outputs().iter().enumerate() {
            let ty = graph.ty(*output);
            let clif = clif_type(ty.elem).expect("admitted");
            let base = e.arg(shape.result(i));
            let is_row = ty.dims != self.plan.domain && !flat;
            if is_row {
                let place = e.at(base, self.row, i64::from(clif.bytes()));
                let index = e.int(0);
                let at = Position { ty: Lanes::One, index };
                let value = self.full(e, *output, at, &mut FxHashMap::default(), true)?;
                e.store(value, place, 0);
                continue;
            }
            let offset = if flat { e.int(0) } else { e.b.ins().imul(self.row, self.length) };
            full.push((*output, e.at(base, offset, i64::from(clif.bytes())), clif));
        }
        if full.is_empty() {
            return Ok(());
        }
        let mut tail = from;
        if self.plan.vector {
            let span = e.b.ins().isub(to, from);
            let span = e.b.ins().band_imm_u(span, !(ROUND - 1));
            tail = e.b.ins().iadd(from, span);
            e.for_range(from, tail, ROUND, &[], |e, i, _| {
                // Everything is computed before anything is stored: a result may lie where an operand does.
                let mut memos: [FxHashMap<Value, ClifValue>; 4] = Default::default();
                let mut rounds = vec![];
                for (output, ..) in &full {
                    let mut parts = vec![];
                    for (j, memo) in memos.iter_mut().enumerate() {
                        let index = e.b.ins().iadd_imm_s(i, 4 * j as i64);
                        let at = Position { ty: Lanes::Four, index };
                        parts.push(self.full(e, *output, at, memo, true)?);
                    }
                    rounds.push(parts);
                }
                for ((_, start, clif), parts) in full.iter().zip(rounds) {
                    let place = e.at(*start, i, i64::from(clif.bytes()));
                    store_round(e, &parts, place, *clif);
                }
                Ok(vec![])
            })?;
        }
        e.for_range(tail, to, 1, &[], |e, i, _| {
            let mut memo = FxHashMap::default();
            let at = Position { ty: Lanes::One, index: i };
            let mut values = vec![];
            for (output, ..) in &full {
                values.push(self.full(e, *output, at, &mut memo, true)?);
            }
            for ((_, start, clif), mut value) in full.iter().zip(values) {
                if e.b.func.dfg.value_type(value).bits() > clif.bits() {
                    value = e.b.ins().ireduce(*clif, value);
                }
                let place = e.at(*start, i, i64::from(clif.bytes()));
                e.store(value, place, 0);
            }
            Ok(vec![])
        })?;
        Ok(())
    }

    /// A value at a position of the row. `memo` holds what this position has computed already.
    fn full(
        &self,
        e: &mut Emit,
        value: Value,
        at: Position,
        memo: &mut FxHashMap<Value, ClifValue>,
        read_kept: bool,
    ) -> Result<ClifValue> {
        if let Some(v) = memo.get(&value) {
            return Ok(*v);
        }
        if read_kept && let Some(place) = self.kept_at(e, value, at.index) {
            let v = e.load(at.ty.f32(), place, 0);
            memo.insert(value, v);
            return Ok(v);
        }
        let v = self.compute(e, value, at, memo)?;
        memo.insert(value, v);
        Ok(v)
    }

    fn compute(
        &self,
        e: &mut Emit,
        value: Value,
        at: Position,
        memo: &mut FxHashMap<Value, ClifValue>,
    ) -> Result<ClifValue> {
        let graph = self.plan.graph;
        if let Some(source) = self.source.filter(|s| s.value == value) {
            return (source.load)(e, self.row, at.index, at.ty.f32());
        }
        if let Some((start, stride)) = self.starts.get(&value) {
            let ty = clif_type(self.plan.leaves[&value].elem).expect("admitted");
            return Ok(load_leaf(e, *start, *stride, ty, at));
        }
        if let Some(literal) = graph.as_literal(value) {
            return elementwise::literal(e, literal, at.ty.f32());
        }
        let node = value.node;
        let op = graph.op(node).ok_or_else(|| CodegenError::malformed("a row kernel"))?;
        if let Some(state) = self.scalars.get(&node) {
            if reduce::is_row_reduction(graph, node) {
                if let Some(v) = reduce::row_result(op, value.result, state) {
                    return Ok(splat(e, v, at.ty));
                }
                let operand = graph.operand(node, 0).ok_or_else(|| CodegenError::malformed("a reduction"))?;
                let x = self.full(e, operand, at, memo, true)?;
                let mut rest = vec![];
                for operand in graph.operands(node).into_iter().skip(1) {
                    rest.push(match operand {
                        Some(v) => Some(self.full(e, v, at, memo, true)?),
                        None => None,
                    });
                }
                return reduce::element(e, op, x, &rest, state, at.ty.f32());
            }
            return Ok(splat(e, state[0], at.ty));
        }
        let mut args = vec![];
        for operand in graph.operands(node) {
            args.push(match operand {
                Some(v) => Some(self.full(e, v, at, memo, true)?),
                None => None,
            });
        }
        let types: Vec<_> =
            graph.operands(node).iter().map(|o| o.map_or(Elem::F32, |v| graph.ty(v).elem)).collect();
        elementwise::emit(e, op, &args, &types, at.ty.f32())
    }
}

impl Lanes {
    fn f32(self) -> ClifType {
        match self {
            Lanes::One => F32,
            Lanes::Four => F32X4,
        }
    }
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

fn load_leaf(e: &mut Emit, start: ClifValue, stride: Stride, ty: ClifType, at: Position) -> ClifValue {
    let bytes = i64::from(ty.bytes());
    match (stride, at.ty) {
        (Stride::Zero, _) => {
            let v = e.load(ty, start, 0);
            splat(e, v, at.ty)
        }
        (Stride::One, lanes) => {
            let place = e.at(start, at.index, bytes);
            let ty = if lanes == Lanes::Four { F32X4 } else { ty };
            e.load(ty, place, 0)
        }
        (Stride::Of(stride), Lanes::One) => {
            let offset = e.b.ins().imul(at.index, stride);
            let place = e.at(start, offset, bytes);
            e.load(ty, place, 0)
        }
        (Stride::Of(stride), Lanes::Four) => {
            let offset = e.b.ins().imul(at.index, stride);
            let mut place = e.at(start, offset, bytes);
            let step = e.b.ins().imul_imm_s(stride, bytes);
            let first = e.load(ty, place, 0);
            let mut v = e.b.ins().splat(F32X4, first);
            for lane in 1..4 {
                place = e.b.ins().iadd(place, step);
                let x = e.load(ty, place, 0);
                v = e.b.ins().insertlane(v, x, lane);
            }
            v
        }
    }
}

fn splat(e: &mut Emit, v: ClifValue, ty: Lanes) -> ClifValue {
    let is_scalar_float = e.b.func.dfg.value_type(v) == F32;
    if ty == Lanes::Four && is_scalar_float { e.b.ins().splat(F32X4, v) } else { v }
}

/// Stores sixteen elements: floats as they are, integers narrowed to bytes.
fn store_round(e: &mut Emit, parts: &[ClifValue], place: ClifValue, ty: ClifType) {
    if e.b.func.dfg.value_type(parts[0]) == I32X4 {
        let low = e.b.ins().snarrow(parts[0], parts[1]);
        let high = e.b.ins().snarrow(parts[2], parts[3]);
        let all = e.b.ins().snarrow(low, high);
        debug_assert_eq!(e.b.func.dfg.value_type(all), I8X16);
        e.store(all, place, 0);
        return;
    }
    debug_assert_eq!(ty, F32);
    for (j, part) in parts.iter().enumerate() {
        e.store(*part, place, 16 * j as i32);
    }
}
