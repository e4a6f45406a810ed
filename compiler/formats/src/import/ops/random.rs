//! Random numbers: by counter from a seed and a number's place, so that a program gives the same ones in every run, on
//! any number of threads.
//!
//! A node without a seed takes its name for one, so that no two nodes draw the same numbers.

use std::hash::{BuildHasher, Hasher};

use trine_ir::ops::*;
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::nn::{aligned, cast, scalar};
use super::{Mapper, NodeCx};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "RandomUniform" | "RandomUniformLike") => random_uniform,
        ("", "RandomNormal" | "RandomNormalLike") => random_normal,
        ("", "Bernoulli") => bernoulli,
        ("", "Multinomial") => multinomial,
        _ => return None,
    })
}

fn random_uniform(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (dims, elem) = result(cx)?;
    let (low, high) = (cx.attr_float("low", 0.0)?, cx.attr_float("high", 1.0)?);
    let u = uniform(cx, 0, dims)?;
    let y = scaled(cx, u, f64::from(high) - f64::from(low), low.into())?;
    Ok(vec![cast(cx, y, elem)?])
}

/// `√(-2·ln(1 - u))·cos(2πv)` of two uniform numbers (Box and Muller, 1958).
fn random_normal(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (dims, elem) = result(cx)?;
    let (mean, scale) = (cx.attr_float("mean", 0.0)?, cx.attr_float("scale", 1.0)?);
    let (u, v) = (uniform(cx, 0, dims.clone())?, uniform(cx, 1, dims)?);
    // Above 0, of which the logarithm is finite.
    let above = scaled(cx, u, -1.0, 1.0)?;
    let log = cx.add(Log {}, &[above])?;
    let square = scaled(cx, log, -2.0, 0.0)?;
    let radius = cx.add(Sqrt {}, &[square])?;
    let angle = scaled(cx, v, std::f64::consts::TAU, 0.0)?;
    let cosine = cx.add(Cos {}, &[angle])?;
    let y = cx.add(Mul {}, &[radius, cosine])?;
    let y = scaled(cx, y, scale.into(), mean.into())?;
    Ok(vec![cast(cx, y, elem)?])
}

/// 1 with the probability that an element says.
fn bernoulli(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let ty = cx.ty(x);
    let to = cx.attr_elem("dtype")?.unwrap_or(ty.elem);
    let u = uniform(cx, 0, ty.dims)?;
    let x = cast(cx, x, Elem::F32)?;
    let drawn = cx.add(Less {}, &[u, x])?;
    Ok(vec![cast(cx, drawn, to)?])
}

/// Classes by the logarithms of their probabilities, which need not sum up to one: how many of the sums of probabilities
/// up to a class a uniform number reaches.
fn multinomial(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let Ok([batch, classes]) = <[Dim; 2]>::try_from(cx.ty(x).dims) else {
        bail!("expects [batch,classes], got {}", cx.ty(x))
    };
    let Some(classes) = classes.as_const().filter(|n| *n > 0) else {
        bail!("the number of classes of {} must be known", cx.ty(x))
    };
    let samples = match usize::try_from(cx.attr_int("sample_size", 1)?) {
        Ok(samples) => Dim::constant(samples),
        Err(_) => bail!("attribute `sample_size` is negative"),
    };
    let to = cx.attr_elem("dtype")?.unwrap_or(Elem::I32);
    if !matches!(to, Elem::I32 | Elem::I64) {
        bail!("classes are of i32 or i64, not {to}");
    }
    let x = cast(cx, x, Elem::F32)?;
    let p = cx.add(Softmax { axis: 1 }, &[x])?;
    let axis = scalar(cx, Elem::I64, 1.0)?;
    let sums = cx.add(CumSum { exclusive: false, reverse: false }, &[p, axis])?;
    let u = uniform(cx, 0, vec![batch, samples])?;
    let (sums, u) = (aligned(cx, sums, 3, &[0, 2])?, aligned(cx, u, 3, &[0, 1])?);
    let reached = cx.add(LessOrEqual {}, &[sums, u])?;
    let reached = cast(cx, reached, to)?;
    let class = cx.add(ReduceSum { axes: vec![2], keepdims: false }, &[reached])?;
    // The last sum may be a little below 1.
    let last = scalar(cx, to, classes as f64 - 1.0)?;
    Ok(vec![cx.add(Min {}, &[class, last])?])
}

/// The shape and the element type that are asked for.
fn result(cx: &NodeCx) -> OpResult<(Vec<Dim>, Elem)> {
    let dtype = cx.attr_elem("dtype")?;
    let (dims, elem) = if cx.op_type().ends_with("Like") {
        let like = cx.ty(cx.input(0)?);
        (like.dims, dtype.unwrap_or(like.elem))
    } else {
        let Some(shape) = cx.attr_ints("shape")? else { bail!("attribute `shape` is missing") };
        if let Some(n) = shape.iter().find(|n| **n < 0) {
            bail!("attribute `shape` has a dimension {n}");
        }
        (shape.iter().map(|n| Dim::integer(*n)).collect(), dtype.unwrap_or(Elem::F32))
    };
    if !elem.is_float() {
        bail!("random numbers are floats, not {elem}");
    }
    Ok((dims, elem))
}

fn uniform(cx: &mut NodeCx, stream: usize, dims: Vec<Dim>) -> OpResult<Value> {
    let seed = match cx.attr_float_opt("seed")? {
        Some(seed) => u64::from(seed.to_bits()),
        None => {
            let mut hasher = rustc_hash::FxBuildHasher.build_hasher();
            hasher.write(cx.name().as_bytes());
            hasher.finish()
        }
    };
    cx.add(RandomUniform { seed, stream, dims }, &[])
}

/// `x·by + plus`.
fn scaled(cx: &mut NodeCx, x: Value, by: f64, plus: f64) -> OpResult<Value> {
    let (by, plus) = (scalar(cx, Elem::F32, by)?, scalar(cx, Elem::F32, plus)?);
    let x = cx.add(Mul {}, &[x, by])?;
    cx.add(Add {}, &[x, plus])
}
