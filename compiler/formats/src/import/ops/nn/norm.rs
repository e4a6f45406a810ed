//! Norms: over the last axis by an op, over others by way of a reshape.

use trine_ir::ops::{
    Add, Div, LayerNorm, Lrn, Max, Mul, ReduceL1, ReduceL2, ReduceMean, RmsNorm, Rsqrt, Sqrt, Sub,
};
use trine_ir::{Dim, Elem, OpResult, Type, Value, bail};

use super::{NodeCx, aligned, attr_count, cast, expand, product, quotient, reshape, scalar};

/// Refuses a `stash_type`, the type in which a node computes, that is another than f32, or f64 of values that are: what
/// kernels compute in is not the model's to choose, and the default.
pub fn check_stash_type(cx: &NodeCx, elem: Elem) -> OpResult<()> {
    match cx.attr_elem("stash_type")? {
        None | Some(Elem::F32) => Ok(()),
        Some(Elem::F64) if elem == Elem::F64 => Ok(()),
        Some(other) => bail!("computes in f32, not in the {other} of `stash_type`"),
    }
}

/// LayerNormalization-1, 17. Mean and inverse deviation are computed apart where they are used.
pub fn layer_normalization(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, gain, bias) = (cx.input(0)?, cx.input(1)?, cx.opt(2));
    check_stash_type(cx, cx.ty(x).elem)?;
    let axis = cx.axis(cx.attr_int("axis", -1)?, cx.rank(x))?;
    let eps = cx.attr_float("epsilon", 1e-5)?;
    let mut results = vec![layer_norm(cx, x, Some(gain), bias, axis, eps)?];
    if cx.wants(1) || cx.wants(2) {
        let axes: Vec<_> = (axis..cx.rank(x)).collect();
        results.extend(inverse_deviation(cx, x, &axes, eps)?);
    }
    Ok(results)
}

/// RMSNormalization-23; SimplifiedLayerNormalization of onnxruntime, whose second result is the inverse root.
pub fn rms_normalization(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, gain) = (cx.input(0)?, cx.input(1)?);
    check_stash_type(cx, cx.ty(x).elem)?;
    let axis = cx.axis(cx.attr_int("axis", -1)?, cx.rank(x))?;
    let eps = cx.attr_float("epsilon", 1e-5)?;
    let mut results = vec![rms_norm(cx, x, gain, axis, eps)?];
    if cx.wants(1) {
        let axes: Vec<_> = (axis..cx.rank(x)).collect();
        results.push(inverse_root_mean_square(cx, x, axes, eps)?);
    }
    Ok(results)
}

/// The mean and `1 / sqrt(variance + eps)`, in f32 at least.
pub fn inverse_deviation(cx: &mut NodeCx, x: Value, axes: &[usize], eps: f32) -> OpResult<[Value; 2]> {
    let moments = moments(cx, x, axes)?;
    let sum = plus(cx, moments.variance, eps.into())?;
    Ok([moments.mean, cx.add(Rsqrt {}, &[sum])?])
}

/// `1 / sqrt(mean(x²) + eps)` in f32 at least.
pub fn inverse_root_mean_square(cx: &mut NodeCx, x: Value, axes: Vec<usize>, eps: f32) -> OpResult<Value> {
    let x = widened(cx, x)?;
    let squares = cx.add(Mul {}, &[x, x])?;
    let mean = cx.add(ReduceMean { axes, keepdims: true }, &[squares])?;
    let sum = plus(cx, mean, eps.into())?;
    cx.add(Rsqrt {}, &[sum])
}

/// `rms_norm` over the axes from `axis` on, of the element type of `gain`.
pub fn rms_norm(cx: &mut NodeCx, x: Value, gain: Value, axis: usize, eps: f32) -> OpResult<Value> {
    let x = cast(cx, x, cx.ty(gain).elem)?;
    let ty = cx.ty(x);
    let gain = expand(cx, gain, ty.dims[axis..].to_vec())?;
    let (rows, gain) = (flat(cx, x, axis)?, flat(cx, gain, 0)?);
    let y = cx.add(RmsNorm { eps }, &[rows, gain])?;
    reshape(cx, y, ty.dims)
}

/// `layer_norm` over the axes from `axis` on. A gain or bias of another shape than theirs is applied after it.
pub fn layer_norm(
    cx: &mut NodeCx,
    x: Value,
    gain: Option<Value>,
    bias: Option<Value>,
    axis: usize,
    eps: f32,
) -> OpResult<Value> {
    let ty = cx.ty(x);
    let mut whole = vec![];
    for param in [gain, bias] {
        let param = param.map(|p| cast(cx, p, ty.elem)).transpose()?;
        whole.push(param);
    }
    let fits = |cx: &NodeCx, p: &Option<Value>| p.is_none_or(|p| cx.ty(p).dims == ty.dims[axis..]);
    let (inside, after) =
        if whole.iter().all(|p| fits(cx, p)) { (whole, vec![None, None]) } else { (vec![None, None], whole) };
    let mut operands = vec![Some(flat(cx, x, axis)?)];
    for param in inside {
        operands.push(param.map(|p| flat(cx, p, 0)).transpose()?);
    }
    while operands.last() == Some(&None) {
        operands.pop();
    }
    let y = cx.add_node(LayerNorm { eps }, &operands)?[0];
    let y = reshape(cx, y, ty.dims.clone())?;
    affine(cx, y, after[0], after[1])
}

/// InstanceNormalization-1, 6, 22: a layer norm over each channel.
pub fn instance_normalization(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, gain, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (rank, eps) = (cx.rank(x), cx.attr_float("epsilon", 1e-5)?);
    if rank < 3 {
        bail!("expects channels and positions, got {}", cx.ty(x));
    }
    let y = layer_norm(cx, x, None, None, 2, eps)?;
    let (gain, bias) = (aligned(cx, gain, rank, &[1])?, aligned(cx, bias, rank, &[1])?);
    Ok(vec![affine(cx, y, Some(gain), Some(bias))?])
}

/// GroupNormalization-18, whose parameters are a group's, and 21, whose parameters are a channel's.
pub fn group_normalization(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, gain, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (groups, eps) = (attr_count(cx, "num_groups")?, cx.attr_float("epsilon", 1e-5)?);
    let ty = cx.ty(x);
    check_stash_type(cx, ty.elem)?;
    if ty.rank() < 2 {
        bail!("expects channels, got {ty}");
    }
    let channels = quotient(&ty.dims[1], groups, "channels a group")?;
    let rest = product(&[&[channels], &ty.dims[2..]].concat())?;
    let grouped = reshape(cx, x, vec![ty.dims[0].clone(), Dim::constant(groups), rest])?;
    let mut y = layer_norm(cx, grouped, None, None, 2, eps)?;
    let mut rank = 3;
    if cx.opset() >= 21 {
        y = reshape(cx, y, ty.dims.clone())?;
        rank = ty.rank();
    }
    let (gain, bias) = (aligned(cx, gain, rank, &[1])?, aligned(cx, bias, rank, &[1])?);
    let (gain, bias) = (cast(cx, gain, ty.elem)?, cast(cx, bias, ty.elem)?);
    let y = affine(cx, y, Some(gain), Some(bias))?;
    Ok(vec![reshape(cx, y, ty.dims)?])
}

/// LpNormalization-1, 22: `x / ‖x‖`, and 0 where the norm is 0.
pub fn lp_normalization(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let axes = vec![cx.axis(cx.attr_int("axis", -1)?, cx.rank(x))?];
    let norm = match cx.attr_int("p", 2)? {
        1 => cx.add(ReduceL1 { axes, keepdims: true }, &[x])?,
        2 => cx.add(ReduceL2 { axes, keepdims: true }, &[x])?,
        p => bail!("`p` is 1 or 2, not {p}"),
    };
    // The least float above zero: it changes a norm only if that is zero, and then x is too.
    let elem = cx.ty(x).elem;
    let least = match elem {
        Elem::F64 => f64::from_bits(1),
        Elem::F16 => f64::from(half::f16::from_bits(1)),
        Elem::Bf16 => f64::from(half::bf16::from_bits(1)),
        _ => f64::from(f32::from_bits(1)),
    };
    let least = scalar(cx, elem, least)?;
    let norm = cx.add(Max {}, &[norm, least])?;
    Ok(vec![cx.add(Div {}, &[x, norm])?])
}

/// LRN-1, 13.
pub fn lrn(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let op = Lrn {
        size: attr_count(cx, "size")?,
        alpha: cx.attr_float("alpha", 1e-4)?,
        beta: cx.attr_float("beta", 0.75)?,
        bias: cx.attr_float("bias", 1.0)?,
    };
    let x = cx.input(0)?;
    Ok(vec![cx.add(op, &[x])?])
}

/// MeanVarianceNormalization-9, 13: `(x - mean) / (deviation + 1e-9)`.
pub fn mean_variance_normalization(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let axes = cx.axes(cx.attr_ints("axes")?.unwrap_or(&[0, 2, 3]), cx.rank(x))?;
    let moments = moments(cx, x, &axes)?;
    let deviation = deviation(cx, moments.variance, 0.0)?;
    let deviation = plus(cx, deviation, 1e-9)?;
    let y = cx.add(Div {}, &[moments.centred, deviation])?;
    Ok(vec![cast(cx, y, cx.ty(x).elem)?])
}

/// Mean and variance over some axes, which are kept as 1, in f32 at least.
pub struct Moments {
    pub mean: Value,
    pub variance: Value,
    /// `x - mean`.
    pub centred: Value,
}

pub fn moments(cx: &mut NodeCx, x: Value, axes: &[usize]) -> OpResult<Moments> {
    let x = widened(cx, x)?;
    let mean = cx.add(ReduceMean { axes: axes.to_vec(), keepdims: true }, &[x])?;
    let centred = cx.add(Sub {}, &[x, mean])?;
    let squares = cx.add(Mul {}, &[centred, centred])?;
    let variance = cx.add(ReduceMean { axes: axes.to_vec(), keepdims: true }, &[squares])?;
    Ok(Moments { mean, variance, centred })
}

/// `sqrt(variance + eps)`.
pub fn deviation(cx: &mut NodeCx, variance: Value, eps: f32) -> OpResult<Value> {
    let sum = plus(cx, variance, eps.into())?;
    cx.add(Sqrt {}, &[sum])
}

fn plus(cx: &mut NodeCx, x: Value, constant: f64) -> OpResult<Value> {
    let constant = scalar(cx, cx.ty(x).elem, constant)?;
    cx.add(Add {}, &[x, constant])
}

/// `x · gain + bias`, as far as they are there.
pub fn affine(cx: &mut NodeCx, x: Value, gain: Option<Value>, bias: Option<Value>) -> OpResult<Value> {
    let scaled = match gain {
        Some(gain) => cx.add(Mul {}, &[x, gain])?,
        None => x,
    };
    let y = match bias {
        Some(bias) => cx.add(Add {}, &[scaled, bias])?,
        None => scaled,
    };
    let (expected, got): (Type, Type) = (cx.ty(x), cx.ty(y));
    if expected != got {
        bail!("gain and bias do not broadcast to {expected}: the result would be {got}");
    }
    Ok(y)
}

/// The axes from `axis` on as one.
fn flat(cx: &mut NodeCx, x: Value, axis: usize) -> OpResult<Value> {
    let dims = cx.ty(x).dims;
    let mut shape = dims[..axis].to_vec();
    shape.push(product(&dims[axis..])?);
    reshape(cx, x, shape)
}

/// f16 and bf16 as f32.
fn widened(cx: &mut NodeCx, x: Value) -> OpResult<Value> {
    match cx.ty(x).elem {
        Elem::F16 | Elem::Bf16 => cast(cx, x, Elem::F32),
        _ => Ok(x),
    }
}
