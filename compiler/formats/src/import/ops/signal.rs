//! Spectra of signals, and the windows that are laid over them.

use trine_ir::ops::*;
use trine_ir::{Dim, Elem, OpResult, Tensor, Value, bail};

use super::nn::{aligned, cast, reshape, scalar, size};
use super::{Mapper, NodeCx};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "DFT") => dft,
        ("", "STFT") => stft,
        ("", "HannWindow") => |cx| window(cx, &[0.5, -0.5]),
        ("", "HammingWindow") => |cx| window(cx, &[25.0 / 46.0, -21.0 / 46.0]),
        ("", "BlackmanWindow") => |cx| window(cx, &[0.42, -0.5, 0.08]),
        ("", "MelWeightMatrix") => mel_weight_matrix,
        _ => return None,
    })
}

/// The axis is an attribute before opset 20, and then an input.
fn dft(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, length) = (cx.input(0)?, cx.opt(1));
    let axis = match (cx.opset(), cx.opt(2)) {
        (20.., Some(axis)) => axis,
        (20.., None) => cx.constant(Tensor::scalar(-2i64)),
        _ => {
            let axis = cx.attr_int("axis", 1)?;
            cx.constant(Tensor::scalar(axis))
        }
    };
    let (inverse, half) = (cx.attr_bool("inverse", false)?, cx.attr_bool("onesided", false)?);
    transform(cx, x, axis, length, inverse, half)
}

/// The transform with a shape as far as it is known.
fn transform(
    cx: &mut NodeCx,
    x: Value,
    axis: Value,
    length: Option<Value>,
    inverse: bool,
    half: bool,
) -> OpResult<Vec<Value>> {
    let mut dims = cx.ty(x).dims;
    let rank = dims.len();
    let Some(parts) = dims.last_mut() else { bail!("{} has no axis of numbers' parts", cx.ty(x)) };
    *parts = Dim::constant(if half && inverse { 1 } else { 2 });
    match cx.shape_values(axis).as_deref() {
        Some([axis]) => {
            let axis = cx.axis(axis.as_integer().unwrap_or(i64::MIN), rank)?;
            if axis + 1 == rank {
                bail!("axis {axis} of {} holds the parts of numbers", cx.ty(x));
            }
            let (one, two) = (Dim::constant(1), Dim::constant(2));
            let length = match length {
                Some(length) => single(cx, length),
                None if half && inverse => dims[axis].sub(&one).and_then(|d| d.mul(&two)),
                None => Some(dims[axis].clone()),
            };
            let bins = match half && !inverse {
                true => length.and_then(|n| n.floordiv(&two)).and_then(|n| n.add(&one)),
                false => length,
            };
            dims[axis] = bins.unwrap_or_else(|| cx.fresh_dim());
        }
        _ => dims[..rank - 1].iter_mut().for_each(|d| *d = cx.fresh_dim()),
    }
    let args: Vec<_> = [x, axis].into_iter().chain(length).collect();
    Ok(vec![cx.add(Dft { inverse, half, dims }, &args)?])
}

/// A transform of each frame of the signal under the window.
fn stft(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (signal, step) = (cx.input(0)?, cx.input(1)?);
    let (window, length) = (cx.opt(2), cx.opt(3));
    if cx.rank(signal) != 3 {
        bail!("expects a signal of three axes, got {}", cx.ty(signal));
    }
    let (step, step_dim) = (whole(cx, step)?, single(cx, step));
    let (length, length_dim) = match (length, window) {
        (Some(length), _) => (whole(cx, length)?, single(cx, length)),
        (None, Some(window)) => (size(cx, window, 0)?, cx.ty(window).dims.first().cloned()),
        (None, None) => bail!("has neither a window nor a frame length"),
    };
    let total = cx.ty(signal).dims[1].clone();
    let known = length_dim.as_ref().zip(step_dim.as_ref());
    let frames = known.and_then(|(length, step)| {
        let rest = total.sub(length)?;
        rest.floordiv(step)?.add(&Dim::constant(1))
    });
    let (one, samples) = (scalar(cx, Elem::I64, 1.0)?, size(cx, signal, 1)?);
    let rest = cx.add(Sub {}, &[samples, length])?;
    let rest = cx.add(Div {}, &[rest, step])?;
    let count = cx.add(Add {}, &[rest, one])?;
    let starts = up_to(cx, count, frames)?;
    let starts = cx.add(Mul {}, &[starts, step])?;
    let places = up_to(cx, length, length_dim)?;
    let (starts, places) = (aligned(cx, starts, 2, &[0])?, aligned(cx, places, 2, &[1])?);
    let places = cx.add(Add {}, &[starts, places])?;
    let mut frames = cx.add(Gather { axis: 1 }, &[signal, places])?;
    if let Some(window) = window {
        let window = aligned(cx, window, 4, &[2])?;
        frames = cx.add(Mul {}, &[frames, window])?;
    }
    let half = cx.attr_bool("onesided", true)?;
    let axis = cx.constant(Tensor::scalar(2i64));
    transform(cx, frames, axis, None, false, half)
}

/// `Σ weights[k]·cos(2πki/n)` for `i` from 0 on; of a window that is not periodic `n` is one less than there are.
fn window(cx: &mut NodeCx, weights: &[f64]) -> OpResult<Vec<Value>> {
    let given = cx.input(0)?;
    let (count, dim) = (whole(cx, given)?, single(cx, given));
    let to = cx.attr_elem("output_datatype")?.unwrap_or(Elem::F32);
    let mut period = cast(cx, count, Elem::F64)?;
    if !cx.attr_bool("periodic", true)? {
        let one = scalar(cx, Elem::F64, 1.0)?;
        period = cx.add(Sub {}, &[period, one])?;
    }
    let places = up_to(cx, count, dim)?;
    let places = cast(cx, places, Elem::F64)?;
    let mut y = scalar(cx, Elem::F64, weights[0])?;
    for (k, weight) in weights.iter().enumerate().skip(1) {
        let turn = scalar(cx, Elem::F64, k as f64 * std::f64::consts::TAU)?;
        let angle = cx.add(Mul {}, &[places, turn])?;
        let angle = cx.add(Div {}, &[angle, period])?;
        let cosine = cx.add(Cos {}, &[angle])?;
        let weight = scalar(cx, Elem::F64, *weight)?;
        let term = cx.add(Mul {}, &[cosine, weight])?;
        y = cx.add(Add {}, &[y, term])?;
    }
    Ok(vec![cast(cx, y, to)?])
}

fn mel_weight_matrix(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let given = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    let edges = [cx.input(3)?, cx.input(4)?];
    let to = cx.attr_elem("output_datatype")?.unwrap_or(Elem::F32);
    let length = single(cx, given[1]).and_then(|n| n.floordiv(&Dim::constant(2)));
    let frequencies = length.and_then(|n| n.add(&Dim::constant(1))).unwrap_or_else(|| cx.fresh_dim());
    let bins = single(cx, given[0]).unwrap_or_else(|| cx.fresh_dim());
    let mut args = given.to_vec();
    for edge in edges {
        let edge = cast(cx, edge, Elem::F64)?;
        args.push(reshape(cx, edge, vec![])?);
    }
    let y = cx.add(MelWeights { dims: vec![frequencies, bins] }, &args)?;
    Ok(vec![cast(cx, y, to)?])
}

/// `0, 1, …` up to a scalar of i64, which is `count` if that is known.
fn up_to(cx: &mut NodeCx, limit: Value, count: Option<Dim>) -> OpResult<Value> {
    let count = count.unwrap_or_else(|| cx.fresh_dim());
    let (start, step) = (scalar(cx, Elem::I64, 0.0)?, scalar(cx, Elem::I64, 1.0)?);
    cx.add(Range { count }, &[start, limit, step])
}

/// A single integer as a scalar of i64.
fn whole(cx: &mut NodeCx, v: Value) -> OpResult<Value> {
    let v = cast(cx, v, Elem::I64)?;
    reshape(cx, v, vec![])
}

/// What is known of a single integer.
fn single(cx: &NodeCx, v: Value) -> Option<Dim> {
    match cx.shape_values(v)?.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}
