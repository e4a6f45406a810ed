//! Convolution and pooling.

use trine_ir::ops::{Conv, ConvTranspose, Pad, PadMode, ReduceMax, ReduceMean};
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::{Mapper, NodeCx};

mod lp_pool;
mod pool;
mod unpool;
mod window;

pub(super) use pool::{average_pool_of, max_pool_of};
use window::{AutoPad, Window};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "Conv") => |cx| {
            let (x, w, bias) = (cx.input(0)?, cx.input(1)?, cx.opt(2));
            Ok(vec![conv(cx, x, w, bias)?])
        },
        ("", "LpPool") => lp_pool::lp_pool,
        ("", "GlobalLpPool") => lp_pool::global_lp_pool,
        ("", "MaxUnpool") => unpool::max_unpool,
        ("", "Col2Im") => unpool::col2im,
        ("", "DeformConv") => unpool::deform_conv,
        ("", "ConvTranspose") => |cx| {
            let bias = cx.opt(2);
            conv_transpose_of(cx, bias, None)
        },
        ("", "MaxPool") => |cx| {
            let x = cx.input(0)?;
            max_pool_of(cx, x)
        },
        ("", "AveragePool") => |cx| {
            let x = cx.input(0)?;
            average_pool_of(cx, x)
        },
        ("", "GlobalMaxPool") => |cx| {
            let (x, axes) = spatial(cx)?;
            Ok(vec![cx.add(ReduceMax { axes, keepdims: true }, &[x])?])
        },
        ("", "GlobalAveragePool") => |cx| {
            let (x, axes) = spatial(cx)?;
            Ok(vec![cx.add(ReduceMean { axes, keepdims: true }, &[x])?])
        },
        _ => return None,
    })
}

/// `x` convolved with `w`, as the node's attributes say.
pub(super) fn conv(cx: &mut NodeCx, x: Value, w: Value, bias: Option<Value>) -> OpResult<Value> {
    let window = Window::of_node(cx, kernel(cx, w)?, x)?;
    let x = match window.open_pads(cx, x)? {
        Some(pads) => cx.add_node(Pad { mode: PadMode::Constant, pads }, &[Some(x)])?[0],
        None => x,
    };
    let group = group(cx)?;
    let Window { strides, pads, dilations, .. } = window;
    let results = cx.add_node(Conv { strides, pads, dilations, group }, &[Some(x), Some(w), bias])?;
    Ok(results[0])
}

/// ConvTranspose gives the pads, or the shape of the result, or neither; `given` pads come before its own.
pub(super) fn conv_transpose_of(
    cx: &mut NodeCx,
    bias: Option<Value>,
    given: Option<Vec<i64>>,
) -> OpResult<Vec<Value>> {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let kernel = kernel(cx, w)?;
    let (n, mode) = (kernel.len(), AutoPad::of_node(cx)?);
    let from = cx.ty(x);
    if from.rank() != n + 2 {
        bail!("a kernel of {n} axes does not fit {from}");
    }
    let mut window = Window::unpadded(cx, kernel)?;
    let mut output_padding = window::counts(cx, "output_padding", n, 0)?;
    let shape = match cx.attr_ints("output_shape")? {
        // Some models give the batch and the channels too.
        Some(shape) if shape.len() == n + 2 => Some(&shape[2..]),
        Some(shape) if shape.len() != n => bail!("`output_shape` has {} axes, not {n}", shape.len()),
        shape => shape,
    };
    if shape.is_none() && mode == AutoPad::Explicit {
        window.pads = match given {
            Some(pads) => window::as_counts("pads", &pads, 2 * n)?,
            None => window::counts(cx, "pads", 2 * n, 0)?,
        };
    }
    for (i, axis) in window.axes()?.iter().enumerate() {
        // Neither is larger than a window may be; output padding is what the node says.
        let (reach, stride) = (axis.reach() as i64, axis.stride as i64);
        let unpadded = (reach - stride).saturating_add_unsigned(output_padding[i] as u64);
        let total = match (shape, mode) {
            (Some(shape), _) => {
                let extent = from.dims[i + 2].as_const().and_then(|n| i64::try_from(n).ok());
                let Some(steps) = extent.and_then(|n| n.checked_mul(stride)) else {
                    bail!("`output_shape` needs an input of known shape; export with `pads` instead");
                };
                steps.saturating_add(unpadded).saturating_sub(shape[i])
            }
            // The result has `stride` elements for each of the input.
            (None, AutoPad::SameUpper | AutoPad::SameLower) => unpadded,
            (None, _) => continue,
        };
        let padding = usize::try_from(total).unwrap_or(0);
        (window.pads[i], window.pads[n + i]) = match mode {
            AutoPad::SameUpper => (padding / 2, padding.div_ceil(2)),
            _ => (padding.div_ceil(2), padding / 2),
        };
        // What no window reaches is zero, as output padding is.
        let rest = usize::try_from(total.saturating_neg()).unwrap_or(0);
        output_padding[i] = output_padding[i].saturating_add(rest);
    }
    let group = group(cx)?;
    let Window { strides, pads, dilations, .. } = window;
    let op = ConvTranspose { strides, pads, dilations, output_padding, group };
    cx.add_node(op, &[Some(x), Some(w), bias])
}

/// The kernel of weights `w`, which `kernel_shape` can only repeat.
fn kernel(cx: &NodeCx, w: Value) -> OpResult<Vec<usize>> {
    let ty = cx.ty(w);
    let kernel: Option<Vec<_>> = ty.dims.iter().skip(2).map(Dim::as_const).collect();
    let Some(kernel) = kernel else { bail!("the kernel of weights {ty} is not constant") };
    if let Some(stated) = cx.attr_ints("kernel_shape")?
        && !stated.iter().copied().eq(kernel.iter().map(|k| *k as i64))
    {
        bail!("`kernel_shape` {stated:?} is not that of weights {ty}");
    }
    Ok(kernel)
}

fn group(cx: &NodeCx) -> OpResult<usize> {
    match cx.attr_int("group", 1)? {
        group if group > 0 => Ok(group as usize),
        group => bail!("`group` is {group}"),
    }
}

/// The input and its spatial axes.
fn spatial(cx: &NodeCx) -> OpResult<(Value, Vec<usize>)> {
    let x = cx.input(0)?;
    let ty = cx.ty(x);
    if ty.rank() < 3 || ty.elem == Elem::Bool {
        bail!("expects [n,channels,spatial…], got {ty}");
    }
    Ok((x, (2..ty.rank()).collect()))
}
