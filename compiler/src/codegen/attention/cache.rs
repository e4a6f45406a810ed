//! Keys and values: past and new, in one place.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I8, I16};
use trine_ir::Elem;

use super::super::emit::{ClifValue, Emit, Result};
use super::super::halves::{is_half, round, store, store_sixteen};
use super::super::rotary::Rotary;
use super::super::{CodegenError, Shape};
use super::{Cache, Heads, Plan, Room, Rows, Sizes, in_place};

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
    let room = if keys { room.keys } else { room.values };
    let held = Held { plan, cache, unit, width, elem: past.elem, sizes };
    if is_half(past.elem) {
        return held.halves(e, shape, &new, room);
    }
    let (start, moved) = match cache.present {
        None => (room, e.b.ins().iconst(I8, 1)),
        Some(result) => held.place(e, shape, result)?,
    };
    e.when(moved, |e| {
        let from = held.past(e)?;
        let count = e.b.ins().imul(sizes.past, width);
        copy(e, from, start, count)
    })?;
    let behind = e.b.ins().imul(sizes.past, width);
    let to = e.at(start, behind, 4);
    held.append(e, &new, to)?;
    Ok(Rows { start, stride: width })
}

/// The rows of a key head in a cache.
struct Held<'p> {
    plan: &'p Plan<'p>,
    cache: Cache,
    unit: ClifValue,
    width: ClifValue,
    elem: Elem,
    sizes: &'p Sizes,
}

impl Held<'_> {
    fn bytes(&self) -> i64 {
        (self.elem.bits() / 8) as i64
    }

    /// Where the rows of the past lie.
    fn past(&self, e: &mut Emit) -> Result<ClifValue> {
        let head = e.b.ins().imul(self.unit, self.sizes.past);
        let head = e.b.ins().imul(head, self.width);
        let from = e.arg(self.cache.past);
        Ok(e.at(from, head, self.bytes()))
    }

    /// Where the rows of result `result` begin, and whether those of the past are elsewhere.
    fn place(&self, e: &mut Emit, shape: &Shape, result: usize) -> Result<(ClifValue, ClifValue)> {
        let (from, to) = (e.arg(self.cache.past), e.arg(shape.result(result)));
        let (capacity, zero) = (e.capacity(), e.int(0));
        let dense = e.b.ins().icmp(IntCC::SignedLessThan, capacity, zero);
        let rows = e.b.ins().select(dense, self.sizes.total, capacity);
        let head = e.b.ins().imul(self.unit, rows);
        let head = e.b.ins().imul(head, self.width);
        Ok((e.at(to, head, self.bytes()), e.b.ins().icmp(IntCC::NotEqual, from, to)))
    }

    /// Writes the new rows as f32.
    fn append(&self, e: &mut Emit, new: &Appended, to: ClifValue) -> Result<()> {
        let (zero, width) = (e.int(0), self.width);
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
        let past = e.b.ins().imul(self.sizes.past, self.width);
        let count = e.b.ins().imul(self.sizes.new, self.width);
        let behind = e.at(room, past, 4);
        self.append(e, new, behind)?;
        match self.cache.present {
            Some(result) => {
                let (start, moved) = self.place(e, shape, result)?;
                e.when(moved, |e| {
                    let from = self.past(e)?;
                    copy_halves(e, from, start, past)
                })?;
                let place = e.at(start, past, 2);
                narrow(e, behind, place, count, self.elem)?;
                let all = e.b.ins().imul(self.sizes.total, self.width);
                self.widen(e, start, room, all)?;
            }
            None => {
                let from = self.past(e)?;
                self.widen(e, from, room, past)?;
                let zero = e.int(0);
                e.for_range(zero, count, 1, &[], |e, i, _| {
                    let place = e.at(behind, i, 4);
                    let v = e.load(F32, place, 0);
                    let v = round(e, v, self.elem);
                    e.store(v, place, 0);
                    Ok(vec![])
                })?;
            }
        }
        Ok(Rows { start: room, stride: self.width })
    }

    fn widen(&self, e: &mut Emit, from: ClifValue, to: ClifValue, count: ClifValue) -> Result<()> {
        let bf16 = e.int(i64::from(self.elem == Elem::Bf16));
        e.call_with_struct(self.plan.widen, &[from, to, count, bf16])
    }
}

/// Rounds `count` floats to halves.
fn narrow(e: &mut Emit, from: ClifValue, to: ClifValue, count: ClifValue, elem: Elem) -> Result<()> {
    let zero = e.int(0);
    let whole = e.b.ins().band_imm_u(count, !15);
    e.for_range(zero, whole, 16, &[], |e, i, _| {
        let source = e.at(from, i, 4);
        let parts: Vec<_> = (0..4).map(|j| e.load(F32X4, source, 16 * j)).collect();
        let place = e.at(to, i, 2);
        store_sixteen(e, &parts, place, elem);
        Ok(vec![])
    })?;
    e.for_range(whole, count, 1, &[], |e, i, _| {
        let source = e.at(from, i, 4);
        let v = e.load(F32, source, 0);
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
