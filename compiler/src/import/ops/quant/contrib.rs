//! Quantized layers of onnxruntime's own operator set.

use trine_ir::ops::{Add, DequantizeLinear, DynamicQuantizeLinear, MatmulInteger, Mul};
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::super::NodeCx;
use super::super::nn::{cast, reshape, transpose};
use super::super::recurrent;
use super::is_single;
use super::product::row_scale;

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
