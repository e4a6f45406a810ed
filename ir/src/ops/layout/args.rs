//! Shapes, counts and indices as ops take them: in attributes, and as operands of i32 or i64.

use super::*;
use crate::bail;
use crate::ops::require::may_equal;
use crate::ty::Elem;

/// Checks that no dimension is known to be negative.
pub(in crate::ops) fn dimensions(dims: &[Dim]) -> OpResult<Vec<Dim>> {
    match dims.iter().find(|d| d.as_integer().is_some_and(|v| v < 0)) {
        Some(d) => bail!("negative dimension `{d}`"),
        None => Ok(dims.to_vec()),
    }
}

/// Checks that an operand is a vector of integers, of `len` elements if that is known.
pub(in crate::ops) fn expect_vector(ty: &Type, name: &str, len: Option<usize>) -> OpResult<()> {
    let right = |n: &Dim| len.is_none_or(|len| n.as_const().is_none_or(|n| n == len));
    match ty.dims.as_slice() {
        [n] if ty.elem.is_int() && right(n) => Ok(()),
        _ => match len {
            Some(len) => bail!("`{name}` must be {len} integers, not {ty}"),
            None => bail!("`{name}` must be a vector of integers, not {ty}"),
        },
    }
}

/// Checks that an operand is one integer, with or without an axis.
pub(in crate::ops) fn expect_single(ty: &Type, name: &str) -> OpResult<()> {
    match ty.dims.as_slice() {
        [] if ty.elem.is_int() => Ok(()),
        [n] if ty.elem.is_int() && n.as_const().is_none_or(|n| n == 1) => Ok(()),
        _ => bail!("`{name}` must be one integer, not {ty}"),
    }
}

/// The elements of a tensor of i32 or i64.
pub(in crate::ops) fn integers(x: &Tensor) -> OpResult<Vec<i64>> {
    match x.elem() {
        Elem::I32 => Ok(x.values::<i32>()?.iter().map(|v| (*v).into()).collect()),
        _ => Ok(x.values::<i64>()?.into_owned()),
    }
}

/// The elements of a tensor of i32 or i64 as dimensions.
pub(in crate::ops) fn sizes(x: &Tensor) -> OpResult<Vec<usize>> {
    let size = |v: i64| usize::try_from(v).map_err(|_| format!("negative dimension {v}").into());
    integers(x)?.into_iter().map(size).collect()
}

/// The one element of a tensor of i32 or i64.
pub(in crate::ops) fn single(x: &Tensor) -> OpResult<i64> {
    match integers(x)?.as_slice() {
        [v] => Ok(*v),
        many => bail!("{} integers where one is expected", many.len()),
    }
}

/// The dimension that two operands share, which is required where it is not known. One that is a constant is kept.
pub(in crate::ops) fn agree(a: &Dim, b: &Dim, module: &dyn Signatures) -> OpResult<Dim> {
    if !may_equal(a, b, module) {
        bail!("{a} elements against {b}");
    }
    Ok(if a.as_const().is_none() && b.as_const().is_some() { b.clone() } else { a.clone() })
}

/// Checks that an attribute names an axis of an operand.
pub(in crate::ops) fn expect_axis(ty: &Type, axis: usize) -> OpResult<()> {
    if axis >= ty.rank() {
        bail!("{ty} has no axis {axis}");
    }
    Ok(())
}

/// An axis of an operand, counted from the end where it is negative.
pub(in crate::ops) fn axis(axis: i64, rank: usize) -> OpResult<usize> {
    position(axis, rank).ok_or_else(|| format!("no axis {axis} among {rank}").into())
}

/// The axes of an operand of `rank`, each at most once.
pub(in crate::ops) fn axes(x: &Tensor, rank: usize) -> OpResult<Vec<usize>> {
    let mut axes = vec![];
    for a in integers(x)? {
        let axis = axis(a, rank)?;
        if axes.contains(&axis) {
            bail!("axis {axis} occurs twice");
        }
        axes.push(axis);
    }
    Ok(axes)
}

/// An index into `len` elements, counted from the end where it is negative.
pub(in crate::ops) fn position(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(i64::try_from(len).ok()?)? } else { index };
    usize::try_from(index).ok().filter(|i| *i < len)
}
