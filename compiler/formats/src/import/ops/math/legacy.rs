//! Broadcasting before opset 7, which is asked for and may name the first axis that meets.

use trine_ir::ops::Reshape;
use trine_ir::{Dim, OpResult, Value, bail};

use super::NodeCx;

/// `b` in a shape that broadcasts against `a` as the node asks.
pub(super) fn aligned(cx: &mut NodeCx, a: Value, b: Value) -> OpResult<Value> {
    if cx.opset() >= 7 || !cx.attr_bool("broadcast", false)? {
        return Ok(b);
    }
    match cx.attr_int_opt("axis")? {
        Some(axis) => {
            let axis = cx.axis(axis, cx.rank(a))?;
            at_axis(cx, b, axis, cx.rank(a))
        }
        None => Ok(b),
    }
}

/// `b` with as many axes of 1 after as bring its first axis to `axis` of `rank`.
pub(super) fn at_axis(cx: &mut NodeCx, b: Value, axis: usize, rank: usize) -> OpResult<Value> {
    let mut shape = cx.ty(b).dims;
    let Some(behind) = rank.checked_sub(axis + shape.len()) else {
        bail!("{} does not fit at axis {axis} of {rank}", cx.ty(b));
    };
    if behind == 0 {
        return Ok(b);
    }
    shape.extend(std::iter::repeat_n(Dim::constant(1), behind));
    cx.add(Reshape { shape }, &[b])
}
