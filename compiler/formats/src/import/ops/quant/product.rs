//! Products and convolutions of quantized operands, in i32, and their way back to quantized results.

use trine_ir::ops::{Div, MatmulInteger, Mul, QuantizeLinear, Sub};
use trine_ir::{Dim, Elem, OpResult, Value};

use super::super::NodeCx;
use super::super::conv::conv;
use super::super::nn::{cast, reshape, scalar};
use super::is_single;

pub fn matmul_integer(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let args = [Some(cx.input(0)?), Some(cx.input(1)?), cx.opt(2), cx.opt(3)];
    cx.add_node(MatmulInteger {}, &args)
}

pub fn conv_integer(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let x = centred(cx, x, cx.opt(2))?;
    let w = centred(cx, w, cx.opt(3))?;
    Ok(vec![conv(cx, x, w, None)?])
}

pub fn qlinear_matmul(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (a, a_scale, a_zero) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (b, b_scale, b_zero) = (cx.input(3)?, cx.input(4)?, cx.input(5)?);
    let sums = cx.add_node(MatmulInteger {}, &[Some(a), Some(b), Some(a_zero), Some(b_zero)])?[0];
    let a_scale = row_scale(cx, a_scale)?;
    requantize(cx, sums, [a_scale, b_scale], (cx.input(6)?, cx.input(7)?))
}

pub fn qlinear_conv(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, w) = (cx.input(0)?, cx.input(3)?);
    let centred_x = centred(cx, x, cx.opt(2))?;
    let centred_w = centred(cx, w, cx.opt(5))?;
    let sums = conv(cx, centred_x, centred_w, cx.opt(8))?;
    let w_scale = cx.input(4)?;
    // One an output channel, which is axis 1 of the result.
    let w_scale = column(cx, w_scale, cx.rank(x) - 1)?;
    let x_scale = cx.input(1)?;
    requantize(cx, sums, [x_scale, w_scale], (cx.input(6)?, cx.input(7)?))
}

/// `sums·(a·b/scale)` quantized with scale 1 and `zero`: one rounding, as onnxruntime does it.
pub fn requantize(
    cx: &mut NodeCx,
    sums: Value,
    [a, b]: [Value; 2],
    (scale, zero): (Value, Value),
) -> OpResult<Vec<Value>> {
    let (a, b, scale) = (cast(cx, a, Elem::F32)?, cast(cx, b, Elem::F32)?, cast(cx, scale, Elem::F32)?);
    let both = cx.add(Mul {}, &[a, b])?;
    let factor = cx.add(Div {}, &[both, scale])?;
    let sums = cast(cx, sums, Elem::F32)?;
    let y = cx.add(Mul {}, &[sums, factor])?;
    let (one, to) = (scalar(cx, Elem::F32, 1.0)?, cx.ty(zero).elem);
    cx.add_node(QuantizeLinear { axis: None, block: None, to }, &[Some(y), Some(one), Some(zero)])
}

/// A scale for each row of the left operand, so that it multiplies rows of the product.
pub fn row_scale(cx: &mut NodeCx, scale: Value) -> OpResult<Value> {
    column(cx, scale, 2)
}

/// A vector of more than one element along the first of `rank` axes.
pub fn column(cx: &mut NodeCx, v: Value, rank: usize) -> OpResult<Value> {
    if cx.rank(v) != 1 || is_single(cx, v) {
        return Ok(v);
    }
    let mut shape = cx.ty(v).dims;
    shape.resize(rank, Dim::constant(1));
    reshape(cx, v, shape)
}

/// `x - zero` in i32, with a zero for all or for each element of axis 0.
pub fn centred(cx: &mut NodeCx, x: Value, zero: Option<Value>) -> OpResult<Value> {
    let wide = cast(cx, x, Elem::I32)?;
    let Some(zero) = zero else { return Ok(wide) };
    let zero = column(cx, zero, cx.rank(x))?;
    let zero = cast(cx, zero, Elem::I32)?;
    cx.add(Sub {}, &[wide, zero])
}
