//! Small pieces that mappings of neural network ops are built of.

use half::{bf16, f16};
use trine_ir::ops::{Cast, Expand, Range, Reshape, Shape, Transpose};
use trine_ir::{Dim, Elem, OpError, OpResult, Tensor, Value, bail};

use super::NodeCx;

/// `value` as a scalar of `elem`.
pub fn scalar(cx: &mut NodeCx, elem: Elem, value: f64) -> OpResult<Value> {
    let tensor = match elem {
        Elem::F32 => Tensor::scalar(value as f32),
        Elem::F64 => Tensor::scalar(value),
        Elem::F16 => Tensor::scalar(f16::from_f64(value)),
        Elem::Bf16 => Tensor::scalar(bf16::from_f64(value)),
        Elem::I8 => Tensor::scalar(value as i8),
        Elem::I16 => Tensor::scalar(value as i16),
        Elem::I32 => Tensor::scalar(value as i32),
        Elem::I64 => Tensor::scalar(value as i64),
        Elem::U8 => Tensor::scalar(value as u8),
        Elem::U16 => Tensor::scalar(value as u16),
        Elem::U32 => Tensor::scalar(value as u32),
        Elem::U64 => Tensor::scalar(value as u64),
        Elem::Bool => Tensor::from_bools(vec![], [value != 0.0])?,
        _ => bail!("no scalars of {elem}"),
    };
    Ok(cx.constant(tensor))
}

/// `x` with elements of `to`.
pub fn cast(cx: &mut NodeCx, x: Value, to: Elem) -> OpResult<Value> {
    if cx.ty(x).elem == to { Ok(x) } else { cx.add(Cast { to }, &[x]) }
}

pub fn reshape(cx: &mut NodeCx, x: Value, shape: Vec<Dim>) -> OpResult<Value> {
    if cx.ty(x).dims == shape { Ok(x) } else { cx.add(Reshape { shape }, &[x]) }
}

pub fn transpose(cx: &mut NodeCx, x: Value, perm: &[usize]) -> OpResult<Value> {
    if perm.is_sorted() { Ok(x) } else { cx.add(Transpose { perm: perm.to_vec() }, &[x]) }
}

pub fn expand(cx: &mut NodeCx, x: Value, shape: Vec<Dim>) -> OpResult<Value> {
    if cx.ty(x).dims == shape { Ok(x) } else { cx.add(Expand { shape }, &[x]) }
}

/// `x` with axes of 1 inserted so that axis `i` of the result, of rank `rank`, is axis `axes[i]` of `x`.
pub fn aligned(cx: &mut NodeCx, x: Value, rank: usize, axes: &[usize]) -> OpResult<Value> {
    let ty = cx.ty(x);
    let mut shape = vec![Dim::constant(1); rank];
    for (dim, axis) in ty.dims.iter().zip(axes) {
        *shape.get_mut(*axis).ok_or("an axis is out of range")? = dim.clone();
    }
    reshape(cx, x, shape)
}

/// The product of dimensions.
pub fn product(dims: &[Dim]) -> OpResult<Dim> {
    let product = Dim::product(dims);
    product.ok_or_else(|| OpError("the shape is too large".into()))
}

/// `dim / by`, where that is a whole number for all values of symbols.
pub fn quotient(dim: &Dim, by: usize, what: &str) -> OpResult<Dim> {
    match dim.div_exact(&Dim::constant(by)) {
        Some(quotient) if by > 0 => Ok(quotient),
        _ => bail!("{what}: `{dim}` is not a multiple of {by}"),
    }
}

/// The sum of dimensions.
pub fn sum(a: &Dim, b: &Dim) -> OpResult<Dim> {
    a.add(b).ok_or_else(|| OpError("the shape is too large".into()))
}

/// An attribute that counts something: at least 1.
pub fn attr_count(cx: &NodeCx, name: &str) -> OpResult<usize> {
    match cx.attr_int_opt(name)? {
        Some(n) if n > 0 => Ok(usize::try_from(n).map_err(|e| e.to_string())?),
        Some(n) => bail!("`{name}` is {n}, not at least 1"),
        None => bail!("attribute `{name}` is missing"),
    }
}

/// The size of an axis of `x` as a scalar of i64.
pub fn size(cx: &mut NodeCx, x: Value, axis: usize) -> OpResult<Value> {
    if let Some(n) = cx.ty(x).dims.get(axis).and_then(Dim::as_const) {
        return scalar(cx, Elem::I64, n as f64);
    }
    let size = cx.add(Shape { start: axis, end: axis + 1 }, &[x])?;
    reshape(cx, size, vec![])
}

/// `0, 1, …` in i64, as many as axis `axis` of `x` has elements.
pub fn positions(cx: &mut NodeCx, x: Value, axis: usize) -> OpResult<Value> {
    let Some(count) = cx.ty(x).dims.get(axis).cloned() else { bail!("axis {axis} is missing") };
    let (start, limit, delta) =
        (scalar(cx, Elem::I64, 0.0)?, size(cx, x, axis)?, scalar(cx, Elem::I64, 1.0)?);
    cx.add(Range { count }, &[start, limit, delta])
}
