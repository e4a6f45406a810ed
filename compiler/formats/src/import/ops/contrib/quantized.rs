//! onnxruntime's QLinear family: ops on eight bits, each the float op between a dequantization and a quantization.

use trine_ir::ops::{
    Add, Concat, DequantizeLinear, Div, Floor, LeakyRelu, Mul, QuantizeLinear, ReduceMean, Sigmoid, Softmax,
    Where,
};
use trine_ir::{Elem, Op, OpResult, Value, bail};

use super::NodeCx;
use super::nn::{cast, product, reshape, scalar};

/// QLinearAdd-1. Inputs A, B and the result come with a scale and a zero each.
pub fn qlinear_add(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    binary(cx, Add {}.into())
}

/// QLinearMul-1.
pub fn qlinear_mul(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    binary(cx, Mul {}.into())
}

fn binary(cx: &mut NodeCx, op: Op) -> OpResult<Vec<Value>> {
    let (a, b) = (dequantized(cx, 0)?, dequantized(cx, 3)?);
    let y = cx.add(op, &[a, b])?;
    quantized(cx, y, 6)
}

/// QLinearSigmoid-1.
pub fn qlinear_sigmoid(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    unary(cx, Sigmoid {}.into())
}

/// QLinearLeakyRelu-1.
pub fn qlinear_leaky_relu(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let alpha = cx.attr_float("alpha", 0.01)?;
    unary(cx, LeakyRelu { alpha }.into())
}

fn unary(cx: &mut NodeCx, op: Op) -> OpResult<Vec<Value>> {
    let x = dequantized(cx, 0)?;
    let y = cx.add(op, &[x])?;
    quantized(cx, y, 3)
}

/// QLinearReduceMean-1.
pub fn qlinear_reduce_mean(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = dequantized(cx, 0)?;
    let axes = match cx.attr_ints("axes")? {
        None | Some([]) => (0..cx.rank(x)).collect(),
        Some(axes) => cx.axes(axes, cx.rank(x))?,
    };
    let y = cx.add(ReduceMean { axes, keepdims: cx.attr_bool("keepdims", true)? }, &[x])?;
    quantized(cx, y, 3)
}

/// QLinearConcat-1: the result's scale and zero, then each input with its own.
pub fn qlinear_concat(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let count = cx.input_count();
    if count < 5 || count % 3 != 2 {
        bail!("expects three inputs a tensor behind the scale and zero of the result, got {count} inputs");
    }
    let mut parts = vec![];
    for slot in (2..count).step_by(3) {
        parts.push(dequantized(cx, slot)?);
    }
    let Some(axis) = cx.attr_int_opt("axis")? else { bail!("attribute `axis` is missing") };
    let axis = cx.axis(axis, cx.rank(parts[0]))?;
    let y = cx.add(Concat { axis }, &parts)?;
    let (scale, zero, to) = (cx.input(0)?, cx.opt(1), cx.ty(cx.input(2)?).elem);
    cx.add_node(QuantizeLinear { axis: None, block: None, to }, &present(y, scale, zero))
}

/// QLinearWhere-1.
pub fn qlinear_where(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (condition, x, y) = (cx.input(0)?, dequantized(cx, 1)?, dequantized(cx, 4)?);
    let z = cx.add(Where {}, &[condition, x, y])?;
    let (scale, zero, to) = (cx.input(7)?, cx.opt(8), cx.ty(cx.input(1)?).elem);
    cx.add_node(QuantizeLinear { axis: None, block: None, to }, &present(z, scale, zero))
}

/// QLinearSoftmax-1. The result's scale counts as one over a whole number, as onnxruntime rounds it down. Before opset 13
/// all axes from the one named on are one.
pub fn qlinear_softmax(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = dequantized(cx, 0)?;
    let ty = cx.ty(x);
    let Some(opset) = cx.attr_int_opt("opset")? else { bail!("attribute `opset` is missing") };
    let axis = cx.axis(cx.attr_int("axis", -1)?, ty.rank())?;
    let y = if opset >= 13 {
        cx.add(Softmax { axis }, &[x])?
    } else {
        let shape = vec![product(&ty.dims[..axis])?, product(&ty.dims[axis..])?];
        let rows = reshape(cx, x, shape)?;
        let y = cx.add(Softmax { axis: 1 }, &[rows])?;
        reshape(cx, y, ty.dims)?
    };
    let (scale, zero, to) = (cx.input(3)?, cx.opt(4), cx.ty(cx.input(0)?).elem);
    let one = scalar(cx, Elem::F32, 1.0)?;
    let steps = cx.add(Div {}, &[one, scale])?;
    let steps = cx.add(Floor {}, &[steps])?;
    let y = cx.add(Mul {}, &[y, steps])?;
    cx.add_node(QuantizeLinear { axis: None, block: None, to }, &present(y, one, zero))
}

/// QEmbedLayerNormalization-1 has tables of eight bits: input `table` with the scale and zero in their slots.
pub fn dequantized_by(cx: &mut NodeCx, [table, scale, zero]: [usize; 3]) -> OpResult<Value> {
    let (x, scale, zero) = (cx.input(table)?, cx.input(scale)?, cx.opt(zero));
    Ok(cx.add_node(DequantizeLinear { axis: None, block: None, to: Elem::F32 }, &present(x, scale, zero))?[0])
}

/// Input `slot`, which its scale and its zero follow, in f32.
pub fn dequantized(cx: &mut NodeCx, slot: usize) -> OpResult<Value> {
    dequantized_by(cx, [slot, slot + 1, slot + 2])
}

/// `y` in the element type of the first input, by the scale and zero from `slot` on.
pub fn quantized(cx: &mut NodeCx, y: Value, slot: usize) -> OpResult<Vec<Value>> {
    let (scale, zero, to) = (cx.input(slot)?, cx.opt(slot + 1), cx.ty(cx.input(0)?).elem);
    let y = cast(cx, y, Elem::F32)?;
    cx.add_node(QuantizeLinear { axis: None, block: None, to }, &present(y, scale, zero))
}

fn present(x: Value, scale: Value, zero: Option<Value>) -> Vec<Option<Value>> {
    [Some(x), Some(scale), zero].into_iter().take(if zero.is_some() { 3 } else { 2 }).collect()
}
