//! Where indices point: offsets of runs of elements in a tensor.

use super::*;
use crate::bail;
use crate::ops::layout::args::{integers, position};
use crate::ops::layout::copy::{Walk, buffer, from_raw, raw, strides};

/// An index on an axis of `len` elements, from the end if negative.
pub(in crate::ops) fn index_on(index: i64, len: usize, axis: usize) -> OpResult<usize> {
    let error = || format!("index {index} is out of range for axis {axis} of {len} elements").into();
    position(index, len).ok_or_else(error)
}

/// For each element of `indices`, the offset of the element of a tensor of shape `dims` at the same place but
/// on `axis`, where the index says.
pub(in crate::ops) fn element_offsets(dims: &[usize], indices: &Tensor, axis: usize) -> OpResult<Vec<usize>> {
    let mut steps = strides(dims);
    for (i, (n, len)) in indices.dims().iter().zip(dims).enumerate() {
        if i != axis && n > len {
            bail!("indices {:?} reach beyond axis {i} of {dims:?}", indices.dims());
        }
    }
    let step = std::mem::replace(&mut steps[axis], 0) as usize;
    let axes: Vec<_> = indices.dims().iter().copied().zip(steps).collect();
    let offset = |(base, index): (usize, i64)| Ok(base + index_on(index, dims[axis], axis)? * step);
    Walk::new(&axes, 0).zip(integers(indices)?).map(offset).collect()
}

/// For each tuple along the last axis of `indices`, the offset in a tensor of shape `dims` that it names
/// within its element of the first `batch_dims` axes.
pub(in crate::ops) fn tuple_offsets(
    dims: &[usize],
    indices: &Tensor,
    batch_dims: usize,
) -> OpResult<Vec<usize>> {
    let (k, lead) = indices.dims().split_last().ok_or("the indices have no axis")?;
    let per_batch: usize = lead[batch_dims..].iter().product();
    let batch: usize = dims[batch_dims..].iter().product();
    let steps = strides(dims);
    let axes = batch_dims..batch_dims + k;
    let values = integers(indices)?;
    let tuple = |t: usize| {
        axes.clone().zip(&values[t * k..]).try_fold(t / per_batch * batch, |at, (axis, index)| {
            Ok(at + index_on(*index, dims[axis], axis)? * steps[axis] as usize)
        })
    };
    (0..lead.iter().product()).map(tuple).collect()
}

/// Runs of `run` elements of `x` at `offsets`, one after the other, as a tensor of shape `dims`.
pub(in crate::ops) fn pick(x: &Tensor, dims: Vec<usize>, run: usize, offsets: &[usize]) -> OpResult<Tensor> {
    let (src, width) = raw(x)?;
    let mut out = buffer(x.elem(), &dims, width)?;
    if !out.is_empty() {
        for (out, at) in out.chunks_exact_mut(run * width).zip(offsets) {
            out.copy_from_slice(&src[at * width..][..run * width]);
        }
    }
    from_raw(x.elem(), dims, out)
}
