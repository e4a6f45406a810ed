//! What puts windows back into images, and convolutions with windows of their own: MaxUnpool, Col2Im, DeformConv.

use trine_ir::ops::*;
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::super::NodeCx;
use super::super::index::from_the_start;
use super::super::layout::elements;
use super::super::nn::{cast, product, reshape, scalar};
use super::window::{Window, counts};
use super::{group, kernel};

/// Zeros but for the elements of input 0, each at its index in all of the result.
///
/// Where `output_shape` is given, indices are those of such a tensor, as MaxPool has them of its input.
pub fn max_unpool(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let ty = cx.ty(x);
    let Some(shape) = cx.attr_ints("kernel_shape")? else { bail!("attribute `kernel_shape` is missing") };
    let kernel = counts(cx, "kernel_shape", shape.len(), 1)?;
    let zero = scalar(cx, ty.elem, 0.0)?;
    let zeros = match cx.opt(2) {
        Some(shape) => {
            let shape = reshape(cx, shape, vec![Dim::constant(ty.rank())])?;
            let dims = elements(cx, shape, "output_shape")?;
            match dims.iter().cloned().collect() {
                Some(shape) => cx.add(Expand { shape }, &[zero])?,
                None => {
                    let dims = dims.into_iter().map(|d| d.unwrap_or_else(|| cx.fresh_dim())).collect();
                    cx.add(ExpandDynamic { dims }, &[zero, shape])?
                }
            }
        }
        None => {
            let window = Window::of_node(cx, kernel, x)?;
            let extent = |(axis, n): (&WindowAxis, &Dim)| {
                let fixed = axis.kernel as i64 - (axis.stride + axis.pads.0 + axis.pads.1) as i64;
                let extent = n.mul(&Dim::constant(axis.stride)).and_then(|n| n.add(&Dim::integer(fixed)));
                extent.ok_or("the shape is too large")
            };
            let mut shape = ty.dims[..2].to_vec();
            for pair in window.axes()?.iter().zip(&ty.dims[2..]) {
                shape.push(extent(pair)?);
            }
            cx.add(Expand { shape }, &[zero])?
        }
    };
    let dims = cx.ty(zeros).dims;
    let flat = product(&dims)?;
    let zeros = reshape(cx, zeros, vec![flat])?;
    let indices = cast(cx, indices, Elem::I64)?;
    let indices = from_the_start(cx, indices)?;
    let count = vec![product(&ty.dims)?];
    let (indices, x) = (reshape(cx, indices, count.clone())?, reshape(cx, x, count)?);
    let y = cx.add(ScatterElements { axis: 0, reduction: Reduction::None }, &[zeros, indices, x])?;
    Ok(vec![reshape(cx, y, dims)?])
}

/// A truth is one where any of the blocks has one.
pub fn col2im(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, image, block) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let ty = cx.ty(x);
    if ty.rank() != 3 {
        bail!("expects [n,channels·taps,windows], got {ty}");
    }
    let sizes = elements(cx, image, "image_shape")?;
    let n = sizes.len();
    let taps = cx.shape_values(block).and_then(|dims| product(&dims).ok());
    let channels = taps.and_then(|taps| ty.dims[1].floordiv(&taps));
    let mut dims = vec![ty.dims[0].clone(), channels.unwrap_or_else(|| cx.fresh_dim())];
    dims.extend(sizes.into_iter().map(|d| d.unwrap_or_else(|| cx.fresh_dim())));
    let op = Col2Im {
        strides: counts(cx, "strides", n, 1)?,
        pads: counts(cx, "pads", 2 * n, 0)?,
        dilations: counts(cx, "dilations", n, 1)?,
        dims,
    };
    let x = if ty.elem == Elem::Bool { cast(cx, x, Elem::I64)? } else { x };
    let y = cx.add(op, &[x, image, block])?;
    Ok(vec![cast(cx, y, ty.elem)?])
}

pub fn deform_conv(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let Window { strides, pads, dilations, .. } = Window::of_node(cx, kernel(cx, w)?, x)?;
    let offset_group = match cx.attr_int("offset_group", 1)? {
        n if n > 0 => n as usize,
        n => bail!("`offset_group` is {n}"),
    };
    let op = DeformConv { strides, pads, dilations, group: group(cx)?, offset_group };
    cx.add_node(op, &[Some(x), Some(w), Some(cx.input(2)?), cx.opt(3), cx.opt(4)])
}
