//! The mask of queries.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, I8};
use trine_ir::{Dim, Elem};

use super::super::function::{ClifValue, Emit, Result};
use super::super::rows::{outer_offset, row_stride};
use super::super::view::View;
use super::{Rows, Seen};

/// The mask of query rows as floats that are added: in place, or copied to `room`.
pub fn rows(
    e: &mut Emit,
    view: &View,
    (row, rows): (ClifValue, ClifValue),
    keys: ClifValue,
    room: ClifValue,
) -> Result<Rows> {
    let base = e.arg(view.arg);
    let last = view.strides.last().cloned().unwrap_or(Dim::constant(0));
    if view.elem == Elem::F32 && last.as_const() == Some(1) {
        let offset = outer_offset(e, view, row, 1)?;
        return Ok(Rows { start: e.at(base, offset, 4), stride: row_stride(e, view)? });
    }
    let bytes = if view.elem == Elem::Bool { 1 } else { 4 };
    let stride = e.size(&last)?;
    let zero = e.int(0);
    e.for_range(zero, rows, 1, &[], |e, r, _| {
        let row = e.b.ins().iadd(row, r);
        let offset = outer_offset(e, view, row, 1)?;
        let start = e.at(base, offset, bytes);
        let offset = e.b.ins().imul(r, keys);
        let room = e.at(room, offset, 4);
        e.for_range(zero, keys, 1, &[], |e, j, _| {
            let offset = e.b.ins().imul(j, stride);
            let place = e.at(start, offset, bytes);
            let value = if view.elem == Elem::Bool {
                let seen = e.load(I8, place, 0);
                let (yes, no) = (e.float(0.0, F32), e.float(f32::NEG_INFINITY, F32));
                e.b.ins().select(seen, yes, no)
            } else {
                e.load(F32, place, 0)
            };
            let to = e.at(room, j, 4);
            e.store(value, to, 0);
            Ok(vec![])
        })?;
        Ok(vec![])
    })?;
    Ok(Rows { start: room, stride: keys })
}

/// Cuts what queries see to the last `width` keys of each: rows before those of the first query are left out, and where there
/// are more queries, a mask in `room` hides what only those before them see.
pub fn cut(
    e: &mut Emit,
    seen: &mut Seen,
    width: usize,
    (rows, single): (ClifValue, ClifValue),
    keys: ClifValue,
    room: ClifValue,
) -> Result<()> {
    let (zero, width) = (e.int(0), e.int(i64::try_from(width).unwrap_or(i64::MAX)));
    let before = e.b.ins().isub(seen.first, width);
    let left_out = e.b.ins().smax(before, zero);
    seen.first = e.b.ins().isub(seen.first, left_out);
    seen.total = e.b.ins().isub(seen.total, left_out);
    for rows in [&mut seen.keys, &mut seen.values] {
        let offset = e.b.ins().imul(left_out, rows.stride);
        rows.start = e.at(rows.start, offset, 4);
    }
    let is_masked = seen.mask.start;
    let given = e.at(seen.mask.start, left_out, 4);
    let given = e.b.ins().select(is_masked, given, zero);
    let many = e.b.ins().icmp_imm_s(IntCC::Equal, single, 0);
    e.when(many, |e| {
        e.for_range(zero, rows, 1, &[], |e, r, _| {
            let [from, to] = [(given, seen.mask.stride), (room, keys)].map(|(start, stride)| {
                let offset = e.b.ins().imul(r, stride);
                e.at(start, offset, 4)
            });
            // The first key of row r, counted from that of the first row.
            let begin = e.b.ins().iadd(before, r);
            let begin = e.b.ins().smax(begin, zero);
            let begin = e.b.ins().isub(begin, left_out);
            e.for_range(zero, seen.total, 1, &[], |e, j, _| {
                let (shown, hidden) = (e.float(0.0, F32), e.float(f32::NEG_INFINITY, F32));
                let source = e.at(from, j, 4);
                let safe = e.at(to, j, 4);
                let source = e.b.ins().select(is_masked, source, safe);
                let added = e.load(F32, source, 0);
                let added = e.b.ins().select(is_masked, added, shown);
                let near = e.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, j, begin);
                let value = e.b.ins().select(near, added, hidden);
                let place = e.at(to, j, 4);
                e.store(value, place, 0);
                Ok(vec![])
            })?;
            Ok(vec![])
        })?;
        Ok(())
    })?;
    seen.mask.start = e.b.ins().select(many, room, given);
    seen.mask.stride = e.b.ins().select(many, keys, seen.mask.stride);
    Ok(())
}
