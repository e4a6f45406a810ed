//! Keys and values: past and new, in one place.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I8, I64};
use trine_runtime::kernel::STATUS_INDEX;

use super::super::emit::{ClifValue, Emit, Result};
use super::super::rotary::Rotary;
use super::super::rows::outer_offset;
use super::super::{CodegenError, Shape};
use super::{Heads, Plan, Room, Rows, Sizes, in_place};

/// Where rows of a cache come from.
enum Appended<'p> {
    Copied(Rows),
    Rotated(&'p Rotary),
}

/// Puts the keys (or values) of a key head in one place, past and new.
pub fn present(
    plan: &Plan,
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
    let zero = e.int(0);
    let from = e.arg(cache.past);
    let (start, moved) = match cache.present {
        None => (if keys { room.keys } else { room.values }, e.b.ins().iconst(I8, 1)),
        Some(result) => {
            let to = e.arg(shape.result(result));
            let capacity = e.capacity();
            let dense = e.b.ins().icmp(IntCC::SignedLessThan, capacity, zero);
            let rows = e.b.ins().select(dense, sizes.total, capacity);
            let head = e.b.ins().imul(unit, rows);
            let head = e.b.ins().imul(head, width);
            (e.at(to, head, 4), e.b.ins().icmp(IntCC::NotEqual, from, to))
        }
    };
    let sequence = e.b.ins().udiv(unit, sizes.key_heads);
    let first = self::start(plan, e, sizes, sequence)?;
    let head = e.b.ins().imul(unit, sizes.past);
    let head = e.b.ins().imul(head, width);
    let from = e.at(from, head, 4);
    let span = |e: &mut Emit, begin: ClifValue, end: ClifValue| {
        // Nothing where the end is before the beginning.
        let count = e.b.ins().isub(end, begin);
        let zero = e.int(0);
        let count = e.b.ins().smax(count, zero);
        let (offset, count) = (e.b.ins().imul(begin, width), e.b.ins().imul(count, width));
        (offset, count)
    };
    let copied = |e: &mut Emit, begin: ClifValue, end: ClifValue| {
        let (offset, count) = span(e, begin, end);
        let (from, to) = (e.at(from, offset, 4), e.at(start, offset, 4));
        copy(e, from, to, count)
    };
    // Rows that are new are written once: other parts may read them already.
    let last = e.b.ins().iadd(first, sizes.new);
    e.when(moved, |e| {
        let before = e.b.ins().smin(sizes.past, first);
        copied(e, zero, before)?;
        match plan.starts {
            Some(_) => copied(e, last, sizes.past),
            None => Ok(()),
        }
    })?;
    if plan.starts.is_some() {
        let behind = e.b.ins().smax(last, sizes.past);
        for (begin, end) in [(sizes.past, first), (behind, sizes.total)] {
            let (offset, count) = span(e, begin, end);
            let to = e.at(start, offset, 4);
            clear(e, to, count)?;
        }
    }
    let behind = e.b.ins().imul(first, width);
    let to = e.at(start, behind, 4);
    match &new {
        Appended::Copied(new) => {
            e.for_range(zero, sizes.new, 1, &[], |e, i, _| {
                let [from, to] = [(new.start, new.stride), (to, width)].map(|(start, stride)| {
                    let offset = e.b.ins().imul(i, stride);
                    e.at(start, offset, 4)
                });
                copy(e, from, to, width)?;
                Ok(vec![])
            })?;
        }
        Appended::Rotated(rotary) => {
            let row = e.b.ins().imul(unit, sizes.new);
            rotary.rows(e, row, sizes.new, to)?;
        }
    }
    Ok(Rows { start, stride: width })
}

/// Where the new rows of a sequence begin.
pub fn start(plan: &Plan, e: &mut Emit, sizes: &Sizes, sequence: ClifValue) -> Result<ClifValue> {
    let Some(starts) = &plan.starts else { return Ok(sizes.past) };
    let offset = outer_offset(e, starts, sequence, 0)?;
    let base = e.arg(starts.arg);
    let place = e.at(base, offset, 8);
    Ok(e.load(I64, place, 0))
}

/// The status, or `STATUS_INDEX` where new rows of a sequence of the `batch` would lie outside of the cache.
pub fn in_range(
    plan: &Plan,
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

/// Writes `count` zeros.
fn clear(e: &mut Emit, to: ClifValue, count: ClifValue) -> Result<()> {
    let zero = e.int(0);
    e.for_range(zero, count, 1, &[], |e, i, _| {
        let (place, nothing) = (e.at(to, i, 4), e.float(0.0, F32));
        e.store(nothing, place, 0);
        Ok(vec![])
    })?;
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
