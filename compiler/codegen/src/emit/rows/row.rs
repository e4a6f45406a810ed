//! The code of one row: reductions in order, each a loop over the row, then a loop that stores the results.

use cranelift_codegen::ir::types::{F32, F32X4, I8X16, I32X4};
use cranelift_codegen::ir::{InstBuilder, Type as ClifType};
use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::domain::Extent;
use trine_ir::{Dim, Elem, NodeId, Value};

use super::super::function::{ClifValue, Emit, Result, clif_type, lanes};
use super::super::{CodegenError, Shape, elementwise, halves, reduce};
use super::{ROUND, Region, RowsKernel, Source, outer_offset};

/// State of the emission of one row.
pub struct Row<'p, 'g> {
    pub(super) plan: &'p RowsKernel<'g>,
    sources: &'p [Source<'p>],
    /// What each source's elements of this row share.
    shared: Vec<Vec<ClifValue>>,
    pub(super) row: ClifValue,
    /// Where each leaf's row starts, and the stride of its last axis in elements.
    pub(super) starts: FxHashMap<Value, (ClifValue, Stride)>,
    /// Values with one element a row, and the inner state of reductions.
    scalars: FxHashMap<NodeId, Vec<ClifValue>>,
    scratch: Option<ClifValue>,
    /// Kept values whose row has been written: others still hold what the row before left.
    pub(super) written: FxHashSet<Value>,
    pub(super) length: ClifValue,
}

#[derive(Clone, Copy)]
pub enum Stride {
    Zero,
    One,
    Of(ClifValue),
}

/// One position in the row: the lane type, the index of its first element.
#[derive(Clone, Copy)]
pub struct Position {
    pub ty: Lanes,
    pub index: ClifValue,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Lanes {
    One,
    Four,
}

impl<'p, 'g> Row<'p, 'g> {
    pub fn new(
        plan: &'p RowsKernel<'g>,
        sources: &'p [Source<'p>],
        row: ClifValue,
        scratch: Option<ClifValue>,
        length: ClifValue,
    ) -> Self {
        let (shared, starts, scalars, written) = Default::default();
        Row { plan, sources, shared, row, starts, scalars, scratch, written, length }
    }

    /// Writes the row: `flat` says that the whole domain is one.
    pub fn emit(&mut self, e: &mut Emit, region: &Region, shape: &Shape, flat: bool) -> Result<()> {
        self.start(e, flat)?;
        for node in &self.plan.nodes {
            if let Some(symbol) = self.plan.mapped.get(node) {
                self.map(e, *node, symbol, shape)?;
            } else if reduce::is_row_reduction(self.plan.graph, *node) {
                self.reduce(e, *node)?;
            } else if self.is_scalar(*node) {
                let value = self.scalar_op(e, *node)?;
                self.scalars.insert(*node, vec![value]);
            }
        }
        self.finish(e, region, shape, flat)
    }

    /// Finds where the row of each leaf starts.
    fn start(&mut self, e: &mut Emit, flat: bool) -> Result<()> {
        self.shared = self.sources.iter().map(|s| (s.row)(e, self.row)).collect::<Result<_>>()?;
        let mut leaves: Vec<_> = self.plan.leaves.iter().collect();
        leaves.sort_by_key(|(v, _)| **v);
        for (value, view) in leaves {
            let bytes = i64::from(clif_type(view.elem).expect("admitted").bytes());
            let offset = if flat { e.size(&view.offset)? } else { outer_offset(e, view, self.row, 1)? };
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
        self.plan.length().as_const() != Some(1)
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
            let total = match spec.is_in_order() {
                true => self.in_order(e, operand, phase == 0, &spec)?,
                false => self.strands(e, operand, phase == 0, &spec, &state)?,
            };
            self.keep(operand);
            let next = spec.finish(e, graph, node, total, length, &state)?;
            self.scalars.entry(node).or_default().extend(next);
        }
        Ok(())
    }

    /// One by one over the row.
    fn in_order(
        &mut self,
        e: &mut Emit,
        operand: Value,
        keep: bool,
        spec: &reduce::Phase,
    ) -> Result<ClifValue> {
        let (zero, init) = (e.int(0), spec.init(e, F32));
        let length = self.length;
        let total = e.for_range(zero, length, 1, &[init], |e, i, total| {
            let x = self.reduced(e, operand, Position { ty: Lanes::One, index: i }, keep)?;
            Ok(vec![spec.step(e, total[0], x, &[], F32)])
        })?;
        Ok(total[0])
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
        // What another reduction or a microkernel wrote is there already.
        let keep = keep && !self.written.contains(&operand);
        let value = self.full(e, operand, at, &mut FxHashMap::default(), !keep)?;
        if let (true, Some(place)) = (keep, self.kept_at(e, operand, at.index)) {
            e.store(value, place, 0);
        }
        Ok(value)
    }

    /// Notes that the row of a value has been written, if it is one that is kept.
    pub(super) fn keep(&mut self, value: Value) {
        if self.plan.kept.contains_key(&value) {
            self.written.insert(value);
        }
    }

    pub(super) fn kept_at(&self, e: &mut Emit, value: Value, index: ClifValue) -> Option<ClifValue> {
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
        for (i, output) in graph.outputs().iter().enumerate().filter(|(_, o)| !self.plan.is_written(**o)) {
            let ty = graph.ty(*output);
            let clif = clif_type(ty.elem).expect("admitted");
            let base = e.arg(shape.result(i));
            if self.plan.domain.extent(ty) == Some(Extent::Row) {
                let place = e.at(base, self.row, i64::from(clif.bytes()));
                let index = e.int(0);
                let at = Position { ty: Lanes::One, index };
                let value = self.full(e, *output, at, &mut FxHashMap::default(), true)?;
                store_one(e, value, place, ty.elem);
                continue;
            }
            let offset = if flat { e.int(0) } else { e.b.ins().imul(self.row, self.length) };
            full.push((*output, e.at(base, offset, i64::from(clif.bytes())), ty.elem));
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
                for ((_, start, elem), parts) in full.iter().zip(rounds) {
                    let place = e.at(*start, i, (elem.bits() / 8) as i64);
                    store_round(e, &parts, place, *elem);
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
            for ((_, start, elem), value) in full.iter().zip(values) {
                let place = e.at(*start, i, (elem.bits() / 8) as i64);
                store_one(e, value, place, *elem);
            }
            Ok(vec![])
        })?;
        Ok(())
    }

    /// A value at a position of the row. `memo` holds what this position has computed already.
    pub(super) fn full(
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
        if read_kept
            && self.written.contains(&value)
            && let Some(place) = self.kept_at(e, value, at.index)
        {
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
        let mut sources = self.sources.iter().zip(&self.shared);
        if let Some((source, shared)) = sources.find(|(s, _)| s.value == value) {
            let v = (source.load)(e, shared, at.index, at.ty.f32())?;
            return Ok(halves::round(e, v, graph.ty(value).elem));
        }
        if let Some((start, stride)) = self.starts.get(&value) {
            return Ok(load_leaf(e, *start, *stride, self.plan.leaves[&value].elem, at));
        }
        if let Some(literal) = graph.as_literal(value) {
            return elementwise::literal(e, literal, at.ty.f32());
        }
        let (node, elem) = (value.node, graph.ty(value).elem);
        let op = graph.op(node).ok_or_else(|| CodegenError::malformed("a row kernel"))?;
        if let Some(state) = self.scalars.get(&node) {
            if reduce::is_row_reduction(graph, node) {
                if let Some(v) = reduce::row_result(op, value.result, state) {
                    let v = halves::round(e, v, elem);
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
                let v = reduce::element(e, op, x, &rest, state, at.ty.f32())?;
                return Ok(halves::round(e, v, elem));
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
        let v = elementwise::emit(e, op, &args, &types, at.ty.f32())?;
        Ok(halves::round(e, v, elem))
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

fn load_leaf(e: &mut Emit, start: ClifValue, stride: Stride, elem: Elem, at: Position) -> ClifValue {
    let bytes = (elem.bits() / 8) as i64;
    match (stride, at.ty) {
        (Stride::Zero, _) => {
            let v = load_one(e, start, elem);
            splat(e, v, at.ty)
        }
        (Stride::One, Lanes::One) => {
            let place = e.at(start, at.index, bytes);
            load_one(e, place, elem)
        }
        (Stride::One, Lanes::Four) => {
            let place = e.at(start, at.index, bytes);
            match halves::is_half(elem) {
                true => halves::load_four(e, place, elem),
                false => e.load(F32X4, place, 0),
            }
        }
        (Stride::Of(stride), Lanes::One) => {
            let offset = e.b.ins().imul(at.index, stride);
            let place = e.at(start, offset, bytes);
            load_one(e, place, elem)
        }
        (Stride::Of(stride), Lanes::Four) => {
            let offset = e.b.ins().imul(at.index, stride);
            let mut place = e.at(start, offset, bytes);
            let step = e.b.ins().imul_imm_s(stride, bytes);
            let first = load_one(e, place, elem);
            let mut v = e.b.ins().splat(F32X4, first);
            for lane in 1..4 {
                place = e.b.ins().iadd(place, step);
                let x = load_one(e, place, elem);
                v = e.b.ins().insertlane(v, x, lane);
            }
            v
        }
    }
}

fn load_one(e: &mut Emit, place: ClifValue, elem: Elem) -> ClifValue {
    match halves::is_half(elem) {
        true => halves::load(e, place, elem),
        false => e.load(clif_type(elem).expect("admitted"), place, 0),
    }
}

/// Stores an element; integers are narrowed.
fn store_one(e: &mut Emit, mut value: ClifValue, place: ClifValue, elem: Elem) {
    if halves::is_half(elem) {
        halves::store(e, value, place, elem);
        return;
    }
    let ty = clif_type(elem).expect("admitted");
    if e.b.func.dfg.value_type(value).bits() > ty.bits() {
        value = e.b.ins().ireduce(ty, value);
    }
    e.store(value, place, 0);
}

fn splat(e: &mut Emit, v: ClifValue, ty: Lanes) -> ClifValue {
    let is_scalar_float = e.b.func.dfg.value_type(v) == F32;
    if ty == Lanes::Four && is_scalar_float { e.b.ins().splat(F32X4, v) } else { v }
}

/// Stores sixteen elements: floats as they are or as halves, integers narrowed to bytes.
fn store_round(e: &mut Emit, parts: &[ClifValue], place: ClifValue, elem: Elem) {
    if halves::is_half(elem) {
        halves::store_sixteen(e, parts, place, elem);
        return;
    }
    if e.b.func.dfg.value_type(parts[0]) == I32X4 {
        let low = e.b.ins().snarrow(parts[0], parts[1]);
        let high = e.b.ins().snarrow(parts[2], parts[3]);
        let all = e.b.ins().snarrow(low, high);
        debug_assert_eq!(e.b.func.dfg.value_type(all), I8X16);
        e.store(all, place, 0);
        return;
    }
    debug_assert_eq!(elem, Elem::F32);
    for (j, part) in parts.iter().enumerate() {
        e.store(*part, place, 16 * j as i32);
    }
}
