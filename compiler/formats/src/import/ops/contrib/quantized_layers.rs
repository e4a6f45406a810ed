//! Quantized layers of onnxruntime's own operator set.

use trine_ir::ops::{Add, DequantizeLinear, DynamicQuantizeLinear, MatmulInteger, Mul};
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::NodeCx;
use super::channels_last::{channels_first, channels_last};
use super::conv::conv;
use super::nn::{cast, reshape, scalar, transpose};
use super::quant::{centred, column, is_single, requantize, row_scale};
use super::recurrent;

/// Inputs A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias.
pub fn matmul_integer_to_float(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (a, a_scale, a_zero) = (cx.input(0)?, cx.input(2)?, cx.opt(4));
    let a_scale = row_scale(cx, a_scale)?;
    product(cx, (a, a_scale, a_zero), (cx.input(1)?, cx.input(3)?, cx.opt(5)), cx.opt(6))
}

/// Inputs A (f32), B, b_scale, b_zero_point, bias.
pub fn dynamic_quantize_matmul(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let a = cx.input(0)?;
    let quantized = cx.add_node(DynamicQuantizeLinear {}, &[Some(a)])?;
    let a = (quantized[0], quantized[1], Some(quantized[2]));
    product(cx, a, (cx.input(1)?, cx.input(2)?, cx.opt(3)), cx.opt(4))
}

/// Operands as elements, scale and zero.
type Quantized = (Value, Value, Option<Value>);

/// `a·b [+ bias]` in the type of the scales.
fn product(cx: &mut NodeCx, a: Quantized, b: Quantized, bias: Option<Value>) -> OpResult<Vec<Value>> {
    let sums = cx.add_node(MatmulInteger {}, &[Some(a.0), Some(b.0), a.2, b.2])?[0];
    let scale = cx.add(Mul {}, &[a.1, b.1])?;
    let sums = cast(cx, sums, cx.ty(scale).elem)?;
    let y = cx.add(Mul {}, &[sums, scale])?;
    Ok(vec![match bias {
        Some(bias) => cx.add(Add {}, &[y, bias])?,
        None => y,
    }])
}

/// QGemm-1. Inputs A, B and the result, each with scale and zero, C after those of B. `C` is of the scale of the sums; without
/// a scale of its own the result is f32.
pub fn qgemm(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (mut a, mut b) = (cx.input(0)?, cx.input(3)?);
    if cx.rank(a) != 2 || cx.rank(b) != 2 {
        bail!("expects matrices, got {} and {}", cx.ty(a), cx.ty(b));
    }
    if cx.attr_bool("transA", false)? {
        a = transpose(cx, a, &[1, 0])?;
    }
    if cx.attr_bool("transB", false)? {
        b = transpose(cx, b, &[1, 0])?;
    }
    let mut sums = cx.add_node(MatmulInteger {}, &[Some(a), Some(b), cx.opt(2), cx.opt(5)])?[0];
    if let Some(c) = cx.opt(6) {
        let ty = cx.ty(sums);
        sums = cx.add(Add {}, &[sums, c])?;
        if cx.ty(sums) != ty {
            bail!("{} does not broadcast to {ty}", cx.ty(c));
        }
    }
    let (mut a_scale, b_scale) = (cx.input(1)?, cx.input(4)?);
    let alpha = cx.attr_float("alpha", 1.0)?;
    if alpha != 1.0 {
        let alpha = scalar(cx, Elem::F32, alpha.into())?;
        a_scale = cx.add(Mul {}, &[alpha, a_scale])?;
    }
    if let Some(scale) = cx.opt(7) {
        let zero = match cx.opt(8) {
            Some(zero) => zero,
            None => scalar(cx, cx.ty(a).elem, 0.0)?,
        };
        return requantize(cx, sums, [a_scale, b_scale], (scale, zero));
    }
    let factor = cx.add(Mul {}, &[a_scale, b_scale])?;
    let sums = cast(cx, sums, Elem::F32)?;
    Ok(vec![cx.add(Mul {}, &[sums, factor])?])
}

/// QLinearConv-1 of onnxruntime, whose channels may come last.
pub fn qlinear_conv(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let last = cx.attr_bool("channels_last", false)?;
    let (mut x, w) = (cx.input(0)?, cx.input(3)?);
    let rank = cx.rank(x);
    if last {
        x = channels_first(cx, x)?;
    }
    let (x, w) = (centred(cx, x, cx.opt(2))?, centred(cx, w, cx.opt(5))?);
    let sums = conv(cx, x, w, cx.opt(8))?;
    let (x_scale, w_scale) = (cx.input(1)?, cx.input(4)?);
    // One an output channel, which is axis 1 of the sums.
    let w_scale = column(cx, w_scale, rank.saturating_sub(1))?;
    let y = requantize(cx, sums, [x_scale, w_scale], (cx.input(6)?, cx.input(7)?))?[0];
    Ok(vec![if last { channels_last(cx, y)? } else { y }])
}

/// An LSTM whose weights are quantized, by direction or by direction and gate, and transposed: inputs 8 to 11
/// are scale and zero of W and of R. Its activations stay f32, of which onnxruntime's 8 bits are an
/// approximation.
pub fn dynamic_quantize_lstm(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let w = weights(cx, 1, 8)?;
    let r = weights(cx, 2, 10)?;
    recurrent::lstm(cx, (w, r))
}

/// Weights `[directions, rows, gates]` as f32 `[directions, gates, rows]`.
fn weights(cx: &mut NodeCx, weights: usize, scale: usize) -> OpResult<Value> {
    let (q, zero) = (cx.input(weights)?, cx.opt(scale + 1));
    let scale = cx.input(scale)?;
    let ty = cx.ty(q);
    let [directions, rows, gates] = ty.dims.as_slice() else {
        bail!("expects weights of three axes, got {ty}")
    };
    let Some(block) = rows.as_const().filter(|n| *n > 0) else { bail!("weights {ty} have no rows") };
    // A scale a gate is one for a block of all rows; a scale a direction is one along axis 0.
    let per_gate = cx.rank(scale) == 2;
    let shape = match per_gate {
        true => vec![directions.clone(), Dim::constant(1), gates.clone()],
        false if is_single(cx, scale) => vec![Dim::constant(1)],
        false => vec![directions.clone()],
    };
    let scale = reshape(cx, scale, shape.clone())?;
    let zero = zero.map(|zero| reshape(cx, zero, shape)).transpose()?;
    let (axis, block) = match per_gate {
        true => (Some(1), Some(block)),
        false => (Some(0).filter(|_| !is_single(cx, scale)), None),
    };
    let op = DequantizeLinear { axis, block, to: Elem::F32 };
    let w = cx.add_node(op, &[Some(q), Some(scale), zero])?[0];
    transpose(cx, w, &[0, 2, 1])
}
