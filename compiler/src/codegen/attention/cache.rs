//! Keys and values: past and new, in one place.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I8};

use super::super::emit::{ClifValue, Emit, Result};
use super::super::rotary::Rotary;
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
    e.when(moved, |e| {
        let head = e.b.ins().imul(unit, sizes.past);
        let head = e.b.ins().imul(head, width);
        let from = e.at(from, head, 4);
        let count = e.b.ins().imul(sizes.past, width);
        copy(e, from, start, count)
    })?;
    let behind = e.b.ins().imul(sizes.past, width);
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
