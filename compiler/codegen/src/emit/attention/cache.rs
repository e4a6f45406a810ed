//! Keys and values: past and new, in one place.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I8, I16, I64};
use trine_ir::Elem;
use trine_runtime::kernel::STATUS_INDEX;
use trine_ukernel::widen;

use super::super::arguments::arguments;
use super::super::function::{ClifValue, Emit, Result};
use super::super::halves::{is_half, round, store, store_sixteen};
use super::super::rotary::Rotary;
use super::super::rows::outer_offset;
use super::super::{CodegenError, Shape};
use super::past::{Cache, Past};
use super::{AttentionKernel, Heads, Room, Rows, Sizes, in_place};

/// Where rows of a cache come from.
enum Appended<'p> {
    Copied(Rows),
    Rotated(&'p Rotary),
}

/// Puts the keys (or values) of a key head in one place, past and new.
pub fn present(
    plan: &AttentionKernel,
    e: &mut Emit,
    shape: &Shape,
    sizes: &Sizes,
    unit: ClifValue,
    (room, keys): (&Room, bool),
) -> Result<Rows> {
    let (heads, width) = if keys { (&plan.k, sizes.d) } else { (&plan.v, sizes.dv) };
    let new = match heads {
        Heads::Plain(view) => Appended::Copied(in_place(e, view, (unit, 2))?),
        Heads::Rotated(rotary) => Appended::Rotated(rotary),
    };
    let past = match (&plan.past, &new) {
        (Some(past), _) => past,
        (None, Appended::Copied(new)) => return Ok(*new),
        (None, Appended::Rotated(_)) => return Err(CodegenError::malformed("attention")),
    };
    let cache = if keys { past.keys } else { past.values };
    let room = if keys { room.keys } else { room.values };
    let sequence = e.b.ins().udiv(unit, sizes.key_heads);
    let first = self::start(plan, e, sizes, sequence)?;
    let last = e.b.ins().iadd(first, sizes.new);
    let held = Held { plan, past, cache, unit, width, sizes, first, last };
    if is_half(past.elem) {
        return held.halves(e, shape, &new, room);
    }
    let (start, moved) = match cache.present {
        None => (room, e.b.ins().iconst(I8, 1)),
        Some(result) => held.place(e, shape, result)?,
    };
    held.keep_past(e, start, moved)?;
    held.append(e, &new, start)?;
    Ok(Rows { start, stride: width })
}

/// Where the new rows of a sequence begin.
pub fn start(plan: &AttentionKernel, e: &mut Emit, sizes: &Sizes, sequence: ClifValue) -> Result<ClifValue> {
    let Some(starts) = &plan.starts else { return Ok(sizes.past) };
    let offset = outer_offset(e, starts, sequence, 0)?;
    let base = e.arg(starts.arg);
    let place = e.at(base, offset, 8);
    Ok(e.load(I64, place, 0))
}

/// The status, or `STATUS_INDEX` where new rows of a sequence of the `batch` would lie outside of the cache.
pub fn in_range(
    plan: &AttentionKernel,
    e: &mut Emit,
    sizes: &Sizes,
    (batch, status): (ClifValue, ClifValue),
) -> Result<ClifValue> {
    if plan.starts.is_none() {
        return Ok(status);
    }
    let (zero, bad) = (e.int(0), e.int(STATUS_INDEX));
    let room = e.b.ins().isub(sizes.total, sizes.new);
    // There are as many starts as sequences only where the shapes fit.
    let count = e.b.ins().select(status, zero, batch);
    let found = e.for_range(zero, count, 1, &[status], |e, sequence, carried| {
        let start = start(plan, e, sizes, sequence)?;
        let late = e.b.ins().icmp(IntCC::SignedGreaterThan, start, room);
        let early = e.b.ins().icmp(IntCC::SignedLessThan, start, zero);
        let outside = e.b.ins().bor(late, early);
        Ok(vec![e.b.ins().select(outside, bad, carried[0])])
    })?;
    Ok(found[0])
}

/// The rows of a key head in a cache.
struct Held<'p> {
    plan: &'p AttentionKernel<'p>,
    past: &'p Past,
    cache: Cache,
    unit: ClifValue,
    width: ClifValue,
    sizes: &'p Sizes,
    /// Rows from here on are new,
    first: ClifValue,
    /// up to here.
    last: ClifValue,
}

impl Held<'_> {
    /// Where the rows of the past lie.
    fn past_rows(&self, e: &mut Emit) -> ClifValue {
        let head = e.b.ins().imul(self.unit, self.sizes.past);
        let head = e.b.ins().imul(head, self.width);
        let from = e.arg(self.cache.past);
        e.at(from, head, bytes(self.past.elem))
    }

    /// Where the rows of result `result` begin, and whether those of the past are elsewhere. Where they are not, a session
    /// holds them: what grows has room for as many rows as there can be.
    fn place(&self, e: &mut Emit, shape: &Shape, result: usize) -> Result<(ClifValue, ClifValue)> {
        let (from, to) = (e.arg(self.cache.past), e.arg(shape.result(result)));
        let moved = e.b.ins().icmp(IntCC::NotEqual, from, to);
        let rows = match self.past.grows {
            true => {
                let (capacity, zero) = (e.capacity(), e.int(0));
                let unheld = e.b.ins().icmp(IntCC::SignedLessThan, capacity, zero);
                let dense = e.b.ins().bor(moved, unheld);
                e.b.ins().select(dense, self.sizes.total, capacity)
            }
            false => self.sizes.total,
        };
        let head = e.b.ins().imul(self.unit, rows);
        let head = e.b.ins().imul(head, self.width);
        Ok((e.at(to, head, bytes(self.past.elem)), moved))
    }

    /// The offset of row `begin`, and how many elements lie from there up to row `end`: none where that is before it.
    fn span(&self, e: &mut Emit, begin: ClifValue, end: ClifValue) -> (ClifValue, ClifValue) {
        let count = e.b.ins().isub(end, begin);
        let zero = e.int(0);
        let count = e.b.ins().smax(count, zero);
        (e.b.ins().imul(begin, self.width), e.b.ins().imul(count, self.width))
    }

    /// Brings the rows of the past to `start`, if they are elsewhere, and writes zeros where none are. What has the size of
    /// the past and is held has zeros there, or rows of a sequence that was cut, which nobody reads.
    fn keep_past(&self, e: &mut Emit, start: ClifValue, moved: ClifValue) -> Result<()> {
        e.when(moved, |e| {
            self.copy_past(e, start)?;
            if self.past.grows { Ok(()) } else { self.clear_gaps(e, start, self.past.elem) }
        })?;
        if self.past.grows { self.clear_gaps(e, start, self.past.elem) } else { Ok(()) }
    }

    /// Copies the rows of the past that are before the new ones, which are written once: other parts may read them already.
    fn copy_past(&self, e: &mut Emit, to: ClifValue) -> Result<()> {
        let zero = e.int(0);
        let before = e.b.ins().smin(self.sizes.past, self.first);
        self.copy_rows(e, to, zero, before)
    }

    fn copy_rows(&self, e: &mut Emit, to: ClifValue, begin: ClifValue, end: ClifValue) -> Result<()> {
        let (offset, count) = self.span(e, begin, end);
        let from = self.past_rows(e);
        let [from, to] = [from, to].map(|start| e.at(start, offset, bytes(self.past.elem)));
        if is_half(self.past.elem) { copy_halves(e, from, to, count) } else { copy(e, from, to, count) }
    }

    /// Writes zeros of `elem` to rows between the past and the new ones, and after those.
    fn clear_gaps(&self, e: &mut Emit, start: ClifValue, elem: Elem) -> Result<()> {
        if self.plan.starts.is_none() {
            return Ok(());
        }
        for (begin, end) in [(self.sizes.past, self.first), (self.last, self.sizes.total)] {
            let (offset, count) = self.span(e, begin, end);
            let to = e.at(start, offset, bytes(elem));
            clear(e, to, count, elem)?;
        }
        Ok(())
    }

    /// Writes the new rows as f32 to those that begin at `start`.
    fn append(&self, e: &mut Emit, new: &Appended, start: ClifValue) -> Result<()> {
        let (zero, width) = (e.int(0), self.width);
        let before = e.b.ins().imul(self.first, width);
        let to = e.at(start, before, 4);
        match new {
            Appended::Copied(new) => {
                e.for_range(zero, self.sizes.new, 1, &[], |e, i, _| {
                    let [from, to] = [(new.start, new.stride), (to, width)].map(|(start, stride)| {
                        let offset = e.b.ins().imul(i, stride);
                        e.at(start, offset, 4)
                    });
                    copy(e, from, to, width)?;
                    Ok(vec![])
                })?;
            }
            Appended::Rotated(rotary) => {
                let row = e.b.ins().imul(self.unit, self.sizes.new);
                rotary.rows(e, row, self.sizes.new, to)?;
            }
        }
        Ok(())
    }

    /// Rows of a cache of halves, as f32 in `room`: what is appended is rounded before it is read.
    fn halves(&self, e: &mut Emit, shape: &Shape, new: &Appended, room: ClifValue) -> Result<Rows> {
        let before = e.b.ins().imul(self.first, self.width);
        let count = e.b.ins().imul(self.sizes.new, self.width);
        let behind = e.at(room, before, 4);
        match self.cache.present {
            Some(result) => {
                let (start, moved) = self.place(e, shape, result)?;
                self.keep_past(e, start, moved)?;
                self.append(e, new, room)?;
                let place = e.at(start, before, 2);
                narrow(e, behind, place, count, self.past.elem)?;
                let all = e.b.ins().imul(self.sizes.total, self.width);
                self.widen(e, start, room, all)?;
            }
            None => {
                let from = self.past_rows(e);
                let past = e.b.ins().imul(self.sizes.past, self.width);
                self.widen(e, from, room, past)?;
                self.clear_gaps(e, room, Elem::F32)?;
                self.append(e, new, room)?;
                let zero = e.int(0);
                e.for_range(zero, count, 1, &[], |e, i, _| {
                    let place = e.at(behind, i, 4);
                    let v = e.load(F32, place, 0);
                    let v = round(e, v, self.past.elem);
                    e.store(v, place, 0);
                    Ok(vec![])
                })?;
            }
        }
        Ok(Rows { start: room, stride: self.width })
    }

    fn widen(&self, e: &mut Emit, from: ClifValue, to: ClifValue, count: ClifValue) -> Result<()> {
        let bf16 = e.int(i64::from(self.past.elem == Elem::Bf16));
        e.call_with_struct(self.plan.widen, arguments!(widen::WidenHalves { from, to, n: count, bf16 }))
    }
}

fn bytes(elem: Elem) -> i64 {
    (elem.bits() / 8) as i64
}

/// Writes `count` zeros of `elem`.
fn clear(e: &mut Emit, to: ClifValue, count: ClifValue, elem: Elem) -> Result<()> {
    let zero = e.int(0);
    e.for_range(zero, count, 1, &[], |e, i, _| {
        let place = e.at(to, i, bytes(elem));
        let nothing = match is_half(elem) {
            true => e.b.ins().iconst(I16, 0),
            false => e.float(0.0, F32),
        };
        e.store(nothing, place, 0);
        Ok(vec![])
    })?;
    Ok(())
}

/// Rounds `count` floats to halves.
fn narrow(e: &mut Emit, from: ClifValue, to: ClifValue, count: ClifValue, elem: Elem) -> Result<()> {
    let zero = e.int(0);
    let whole = e.b.ins().band_imm_u(count, !15);
    e.for_range(zero, whole, 16, &[], |e, i, _| {
        let source = e.at(from, i, 4);
        let mut part = |j| {
            let v = e.load(F32X4, source, 16 * j);
            round(e, v, elem)
        };
        let parts = [0, 1, 2, 3].map(&mut part);
        let place = e.at(to, i, 2);
        store_sixteen(e, &parts, place, elem);
        Ok(vec![])
    })?;
    e.for_range(whole, count, 1, &[], |e, i, _| {
        let source = e.at(from, i, 4);
        let v = e.load(F32, source, 0);
        let v = round(e, v, elem);
        let place = e.at(to, i, 2);
        store(e, v, place, elem);
        Ok(vec![])
    })?;
    Ok(())
}

/// Copies `count` halves.
fn copy_halves(e: &mut Emit, from: ClifValue, to: ClifValue, count: ClifValue) -> Result<()> {
    let zero = e.int(0);
    let whole = e.b.ins().band_imm_u(count, !7);
    for (begin, end, step, ty) in [(zero, whole, 8, F32X4), (whole, count, 1, I16)] {
        e.for_range(begin, end, step, &[], |e, i, _| {
            let source = e.at(from, i, 2);
            let v = e.load(ty, source, 0);
            let place = e.at(to, i, 2);
            e.store(v, place, 0);
            Ok(vec![])
        })?;
    }
    Ok(())
}

/// Copies `count` floats.
fn copy(e: &mut Emit, from: ClifValue, to: ClifValue, count: ClifValue) -> Result<()> {
    let zero = e.int(0);
    let whole = e.b.ins().band_imm_u(count, !3);
    for (begin, end, step, ty) in [(zero, whole, 4, F32X4), (whole, count, 1, F32)] {
        e.for_range(begin, end, step, &[], |e, i, _| {
            let source = e.at(from, i, 4);
            let v = e.load(ty, source, 0);
            let place = e.at(to, i, 4);
            e.store(v, place, 0);
            Ok(vec![])
        })?;
    }
    Ok(())
}
