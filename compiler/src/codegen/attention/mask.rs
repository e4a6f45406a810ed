//! The mask of queries.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::{F32, I8};
use trine_ir::{Dim, Elem};

use super::super::emit::{ClifValue, Emit, Result};
use super::super::rows::{outer_offset, row_stride};
use super::super::view::View;
use super::Rows;

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
