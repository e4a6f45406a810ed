//! LpPool and GlobalLpPool, as sums of powers.

use trine_ir::ops::*;
use trine_ir::{Dim, Elem, OpResult, Tensor, Value, bail};

use super::super::NodeCx;
use super::super::nn::{cast, product, reshape, scalar};
use super::spatial;
use super::window::{Window, counts};

/// Elements that a window may have, which are weights.
const MAX_TAPS: usize = 1 << 20;

/// `(Σ |x|^p)^(1/p)` over windows, as a convolution of each channel with ones; f16 and bf16 are summed in f32.
pub fn lp_pool(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let Some(shape) = cx.attr_ints("kernel_shape")? else { bail!("attribute `kernel_shape` is missing") };
    let kernel = counts(cx, "kernel_shape", shape.len(), 1)?;
    let taps = kernel.iter().try_fold(1usize, |n, k| n.checked_mul(*k)).filter(|n| *n <= MAX_TAPS);
    let Some(taps) = taps else { bail!("a window {kernel:?} has more than {MAX_TAPS} elements") };
    let (p, mut window) = (exponent(cx)?, Window::of_node(cx, kernel, x)?);
    let ty = cx.ty(x);
    let (lead, spatial) = ty.dims.split_at(2);
    let mut pads = window.open_pads(cx, x)?.unwrap_or_else(|| vec![Dim::constant(0); 2 * ty.rank()]);
    if cx.attr_bool("ceil_mode", false)? {
        for (i, behind) in pads_of_last_windows(&window, spatial)?.into_iter().enumerate() {
            let n = spatial.len();
            match behind.as_const() {
                Some(behind) => window.pads[n + i] = behind,
                None => (window.pads[n + i], pads[ty.rank() + 2 + i]) = (0, behind),
            }
        }
    }

    let powers = powers(cx, x, p)?;
    let powers = match pads.iter().all(|p| p.as_integer() == Some(0)) {
        true => powers,
        false => cx.add_node(Pad { mode: PadMode::Constant, pads }, &[Some(powers)])?[0],
    };
    let padded = cx.ty(powers).dims.split_off(2);
    let images = product(lead)?;
    let single = [&[images, Dim::constant(1)], padded.as_slice()].concat();
    let single = reshape(cx, powers, single)?;
    let elem = cx.ty(single).elem;
    let shape = [&[1, 1], window.kernel.as_slice()].concat();
    let ones = match elem {
        Elem::F64 => Tensor::from_vec(shape, vec![1f64; taps])?,
        _ => Tensor::from_vec(shape, vec![1f32; taps])?,
    };
    let ones = cx.constant(ones);
    let Window { strides, pads, dilations, .. } = window;
    let sums =
        cx.add_node(Conv { strides, pads, dilations, group: 1 }, &[Some(single), Some(ones), None])?[0];
    let shape = [lead, &cx.ty(sums).dims[2..]].concat();
    let sums = reshape(cx, sums, shape)?;
    let roots = root(cx, sums, p)?;
    Ok(vec![cast(cx, roots, ty.elem)?])
}

pub fn global_lp_pool(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (p, (x, axes)) = (exponent(cx)?, spatial(cx)?);
    let elem = cx.ty(x).elem;
    let powers = powers(cx, x, p)?;
    let sums = cx.add(ReduceSum { axes, keepdims: true }, &[powers])?;
    let roots = root(cx, sums, p)?;
    Ok(vec![cast(cx, roots, elem)?])
}

/// The pads after each axis with which a last window that sticks out is one as others are.
fn pads_of_last_windows(window: &Window, extents: &[Dim]) -> OpResult<Vec<Dim>> {
    let behind = |(axis, extent): (&WindowAxis, &Dim)| {
        let last = axis.count_dim(extent, true)?.sub(&Dim::constant(1));
        let start = last.and_then(|n| n.mul(&Dim::constant(axis.stride)));
        let end = start.and_then(|s| s.add(&Dim::integer(axis.reach() as i64 - axis.pads.0 as i64)));
        let behind = end.and_then(|e| e.sub(extent)?.max_of(&Dim::constant(0)));
        behind.ok_or_else(|| "the pads overflow".into())
    };
    window.axes()?.iter().zip(extents).map(behind).collect()
}

/// `p`, a float in opset 1.
fn exponent(cx: &NodeCx) -> OpResult<f64> {
    let p = match cx.opset() {
        1 => f64::from(cx.attr_float("p", 2.0)?),
        _ => cx.attr_int("p", 2)? as f64,
    };
    if p > 0.0 && p.is_finite() { Ok(p) } else { bail!("`p` is {p}, not above 0") }
}

/// `|x|^p` in f32 or f64.
fn powers(cx: &mut NodeCx, x: Value, p: f64) -> OpResult<Value> {
    let ty = cx.ty(x);
    if !ty.elem.is_float() {
        bail!("expects floats, got {ty}");
    }
    let elem = if ty.elem == Elem::F64 { Elem::F64 } else { Elem::F32 };
    let x = cast(cx, x, elem)?;
    if p == 2.0 {
        return cx.add(Mul {}, &[x, x]);
    }
    let x = cx.add(Abs {}, &[x])?;
    if p == 1.0 {
        return Ok(x);
    }
    let p = scalar(cx, elem, p)?;
    cx.add(Pow {}, &[x, p])
}

/// `x^(1/p)`.
fn root(cx: &mut NodeCx, x: Value, p: f64) -> OpResult<Value> {
    match p {
        1.0 => Ok(x),
        2.0 => cx.add(Sqrt {}, &[x]),
        _ => {
            let p = scalar(cx, cx.ty(x).elem, 1.0 / p)?;
            cx.add(Pow {}, &[x, p])
        }
    }
}
