//! Rows of int8 as microkernels read them.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::{I8, I8X16, I16X8, I32, I32X4};

use super::super::emit::{ClifValue, Emit, Result};
use super::{Plan, activations};

/// The activations padded a group at a time, and the sum of each group. Rows without padding stay in place.
pub fn int8(plan: &Plan, e: &mut Emit, rows: ClifValue, own: ClifValue) -> Result<(ClifValue, ClifValue)> {
    let g = plan.geometry;
    let (x, stride) = activations(plan, e)?;
    let padded = g.k_padded() as i64;
    let bytes = e.b.ins().imul_imm_s(rows, (g.k_padded().next_multiple_of(4)) as i64);
    let x_sums = e.b.ins().iadd(own, bytes);
    let in_place = plan.unpadded()
        && plan.x.outer_stride(1).is_some_and(|s| s.as_const() == Some(g.k) || s.as_const() == Some(0));
    let zero = e.int(0);
    e.for_range(zero, rows, 1, &[], |e, row, _| {
        let offset = e.b.ins().imul(row, stride);
        let from = e.b.ins().iadd(x, offset);
        let to = e.at(own, row, padded);
        let sums = e.at(x_sums, row, 4 * g.groups as i64);
        for group in 0..g.groups {
            let len = g.group.min(g.k - group * g.group) as i64;
            let from = e.b.ins().iadd_imm_s(from, (group * g.group) as i64);
            let to = e.b.ins().iadd_imm_s(to, (group * g.group_k) as i64);
            let sum = copy_and_sum(e, from, (!in_place).then_some(to), len, g.group_k as i64)?;
            e.store(sum, sums, 4 * group as i32);
        }
        Ok(vec![])
    })?;
    Ok((if in_place { x } else { own }, x_sums))
}

/// The sum of `len` bytes; with `to` they are copied there and filled with zeros up to `padded`.
fn copy_and_sum(
    e: &mut Emit,
    from: ClifValue,
    to: Option<ClifValue>,
    len: i64,
    padded: i64,
) -> Result<ClifValue> {
    let (zero, whole, end) = (e.int(0), e.int(len & !15), e.int(len));
    let none = e.bytes([0; 16], I32X4);
    let sums = e.for_range(zero, whole, 16, &[none], |e, i, acc| {
        let place = e.at(from, i, 1);
        let v = e.load(I8X16, place, 0);
        if let Some(to) = to {
            let place = e.at(to, i, 1);
            e.store(v, place, 0);
        }
        let (low, high) = (e.b.ins().swiden_low(v), e.b.ins().swiden_high(v));
        let pairs = e.b.ins().iadd(low, high);
        debug_assert_eq!(e.b.func.dfg.value_type(pairs), I16X8);
        let (a, b) = (e.b.ins().swiden_low(pairs), e.b.ins().swiden_high(pairs));
        let four = e.b.ins().iadd(a, b);
        Ok(vec![e.b.ins().iadd(acc[0], four)])
    })?;
    let mut total = e.b.ins().extractlane(sums[0], 0);
    for lane in 1..4 {
        let v = e.b.ins().extractlane(sums[0], lane);
        total = e.b.ins().iadd(total, v);
    }
    let total = e.for_range(whole, end, 1, &[total], |e, i, acc| {
        let place = e.at(from, i, 1);
        let v = e.load(I8, place, 0);
        if let Some(to) = to {
            let place = e.at(to, i, 1);
            e.store(v, place, 0);
        }
        let v = e.b.ins().sextend(I32, v);
        Ok(vec![e.b.ins().iadd(acc[0], v)])
    })?;
    if let Some(to) = to {
        let until = e.int(padded);
        let fill = e.b.ins().iconst(I8, 0);
        e.for_range(end, until, 1, &[], |e, i, _| {
            let place = e.at(to, i, 1);
            e.store(fill, place, 0);
            Ok(vec![])
        })?;
    }
    Ok(total[0])
}
