//! `x · rsqrt(mean(x²) + eps) · gain  →  rms_norm(x, gain)`
//!
//! and `rms_norm(x - mean(x), gain) + bias  →  layer_norm(x, gain, bias)`. The bare quotient is found first
//! and takes its gain, its centre and its bias one by one, so the ways to write each do not multiply.
//!
//! Exact, but for the order of factors, where the mean is over the last axis and keeps it, `eps` is inside of the root
//! and a number that f32 holds, gain and bias are vectors along that axis, and squares are not f16, which overflow where
//! those of the norm do not. Rows of zeros without `eps`, NaN and ±∞
//! give what the quotient gives, NaN.

use trine_ir::ops::{LayerNorm, Reshape, RmsNorm};
use trine_ir::{Dim, Elem, Kind, Module, Op, Tensor, Value};

use crate::pass::{Cx, PassError};
use crate::pattern::*;

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let rules = [
        bare(),
        eps_outside(),
        gain_inside(),
        gain_behind(),
        half_precision(),
        centred(),
        by_moments(),
        layer_gain(),
        layer_bias(),
    ];
    Ok(cx.apply(module, &rules))
}

/// `x / √v` in all its spellings.
fn over_root(x: &Pat, v: &Pat) -> Pat {
    (x / root(v)) | (x * inverse_root(v))
}

fn root(v: &Pat) -> Pat {
    sqrt(v) | pow(v, 0.5)
}

/// `1 / √v`.
fn inverse_root(v: &Pat) -> Pat {
    any_of([rsqrt(v), pow(v, -0.5), 1.0 / root(v), reciprocal(root(v))])
}

/// `mean(x²)`, with `eps` added where the model does.
fn mean_square(mean: &Pat, eps: &Pat) -> Pat {
    (mean + eps) | mean
}

/// `x / √(mean(x²) + eps)`, a norm without gain.
fn bare() -> Rule {
    let (x, eps) = (any(), scalar());
    let mean = reduce_mean(square(&x));
    rule("rms-norm", over_root(&x, &mean_square(&mean, &eps)), move |m, g| {
        over_last_axis(g, m[&mean], m[&x])?;
        let gain = ones(g, m[&x])?;
        let eps = eps_of(m, g, &eps)?;
        Ok(g.add(RmsNorm { eps }, &[m[&x], gain])?)
    })
}

/// `x / (√mean(x²) + eps)` is another function.
fn eps_outside() -> Rule {
    let (x, eps) = (any(), scalar());
    let sum = root(&reduce_mean(square(&x))) + &eps;
    let root = (&x / &sum) | (&x * reciprocal(&sum)) | (&x * (1.0 / &sum));
    rule("rms-norm", root, move |_, _| refuse("eps is outside of the root"))
}

/// `(x · gain) / √(mean(x²) + eps)` and `x · (gain / √(mean(x²) + eps))`.
fn gain_inside() -> Rule {
    let (x, eps, gain) = (any(), scalar(), any());
    let mean = reduce_mean(square(&x));
    let square = mean_square(&mean, &eps);
    let root = over_root(&(&x * &gain), &square) | (&x * over_root(&gain, &square));
    rule("rms-norm", root, move |m, g| {
        over_last_axis(g, m[&mean], m[&x])?;
        let gain = along_last_axis(g, "gain", m[&gain], m[&x])?;
        let eps = eps_of(m, g, &eps)?;
        Ok(g.add(RmsNorm { eps }, &[m[&x], gain])?)
    })
}

/// `rms_norm(x, 1) · gain  →  rms_norm(x, gain)`.
fn gain_behind() -> Rule {
    let (x, gain) = (any(), any());
    // What is multiplied by more than its gain, as by the scale of a rounding, is no less a norm for that.
    let one = constant().filter(|scope, v| {
        let values = scope.tensor(v).and_then(|t| Scope::scalars(&t));
        values.is_some_and(|values| values.iter().all(|v| *v == 1.0))
    });
    let norm = rms_norm(&x, &one);
    rule("rms-norm-gain", &norm * &gain, move |m, g| {
        let Some(op @ Op::RmsNorm(_)) = g.op(m[&norm]).cloned() else { return refuse("not a norm") };
        let gain = along_last_axis(g, "gain", m[&gain], m[&x])?;
        Ok(g.add(op, &[m[&x], gain])?)
    })
}

/// `cast(rms_norm(cast(x), gain))  →  rms_norm(x, gain)`, which computes in f32 either way.
fn half_precision() -> Rule {
    let (x, gain) = (any(), constant());
    let norm = rms_norm(cast(&x), &gain);
    let root = cast(&norm);
    rule("rms-norm-cast", root.clone(), move |m, g| {
        let Some(op @ Op::RmsNorm(_)) = g.op(m[&norm]).cloned() else { return refuse("not a norm") };
        let (elem, inner) = (g.ty(m[&x]).elem, g.ty(m[&norm]).elem);
        if !matches!(elem, Elem::F16 | Elem::Bf16) || inner != Elem::F32 || g.ty(m[&root]).elem != elem {
            return refuse(format!("casts from {elem} to {inner} and to {}", g.ty(m[&root]).elem));
        }
        let wide = g.tensor(m[&gain])?;
        let narrow = numbers(&wide.values::<f32>()?, elem)?;
        let exact = Scope::scalars(&narrow).zip(Scope::scalars(&wide)).is_some_and(|(n, w)| n == w);
        if !exact {
            return refuse(format!("the gain is not exact in {elem}"));
        }
        let name = g.graph().const_key(m[&gain]).unwrap_or("gain").to_string();
        let gain = g.constant(&name, narrow);
        Ok(g.add(op, &[m[&x], gain])?)
    })
}

/// `rms_norm(x - mean(x), gain)  →  layer_norm(x, gain)`.
fn centred() -> Rule {
    let (x, gain) = (any(), constant());
    let mean = reduce_mean(&x);
    let norm = rms_norm(&x - &mean, &gain);
    rule("layer-norm", norm.clone(), move |m, g| {
        let Some(Op::RmsNorm(RmsNorm { eps })) = g.op(m[&norm]).cloned() else { return refuse("not a norm") };
        over_last_axis(g, m[&mean], m[&x])?;
        let gain = Some(m[&gain]).filter(|v| is_one(g, *v).is_err());
        layer_norm(g, eps, m[&x], gain, None)
    })
}

/// `(x - mean(x)) / √(mean(x²) - mean(x)² + eps)` is another function: where `mean(x)²` is large beside the variance, the
/// difference keeps few of its digits or is negative, and what it gives is not what `layer_norm` does.
fn by_moments() -> Rule {
    let (x, eps) = (any(), scalar());
    let mean = reduce_mean(&x);
    let variance = reduce_mean(square(&x)) - square(&mean);
    let root = over_root(&(&x - &mean), &mean_square(&variance, &eps));
    rule("layer-norm", root, move |_, _| refuse("the variance is a difference of moments, which cancels"))
}

/// `layer_norm(x) · gain  →  layer_norm(x, gain)`.
fn layer_gain() -> Rule {
    let (x, gain) = (any(), any());
    let norm = op(Kind::LayerNorm, [&x]);
    rule("layer-norm-gain", &norm * &gain, move |m, g| {
        let Some(Op::LayerNorm(LayerNorm { eps })) = g.op(m[&norm]).cloned() else {
            return refuse("not a norm");
        };
        let gain = along_last_axis(g, "gain", m[&gain], m[&x])?;
        layer_norm(g, eps, m[&x], Some(gain), None)
    })
}

/// `layer_norm(x, gain) + bias  →  layer_norm(x, gain, bias)`.
fn layer_bias() -> Rule {
    let (x, gain, bias) = (any(), any(), any());
    let norm = op(Kind::LayerNorm, [x.clone(), maybe(&gain)]);
    rule("layer-norm-bias", &norm + &bias, move |m, g| {
        let Some(Op::LayerNorm(LayerNorm { eps })) = g.op(m[&norm]).cloned() else {
            return refuse("not a norm");
        };
        let bias = along_last_axis(g, "bias", m[&bias], m[&x])?;
        layer_norm(g, eps, m[&x], m.get(&gain), Some(bias))
    })
}

fn layer_norm(
    g: &mut Rewrite,
    eps: f32,
    x: Value,
    gain: Option<Value>,
    bias: Option<Value>,
) -> Result<Value, Refusal> {
    let node = g.add_node(LayerNorm { eps }, &[Some(x), gain, bias])?;
    Ok(Value { node, result: 0 })
}

fn eps_of(m: &Match, g: &Rewrite, eps: &Pat) -> Result<f32, Refusal> {
    match m.get(eps) {
        Some(eps) => g.single(eps),
        None => Ok(0.0),
    }
}

/// Whether a mean is over the last axis of `x` and keeps it.
fn over_last_axis(g: &Rewrite, mean: Value, x: Value) -> Result<(), Refusal> {
    let Some(Op::ReduceMean(reduce)) = g.op(mean) else { return refuse("not a mean") };
    let rank = g.ty(x).rank();
    if rank == 0 || reduce.axes != [rank - 1] {
        return refuse(format!("the mean is over axes {:?}, not the last of {}", reduce.axes, g.ty(x)));
    }
    if !reduce.keepdims && rank > 1 {
        return refuse("the mean does not keep its axis");
    }
    if g.ty(x).elem == Elem::F16 {
        return refuse("squares of f16 overflow where those of the norm do not");
    }
    Ok(())
}

/// `v` as a vector that runs along the last axis of `x`.
fn along_last_axis(g: &mut Rewrite, what: &str, v: Value, x: Value) -> Result<Value, Refusal> {
    let (ty, row) = (g.ty(v).clone(), g.ty(x).back(0).cloned());
    let fits =
        ty.back(0) == row.as_ref() && ty.dims[..ty.rank().max(1) - 1].iter().all(|d| d.as_const() == Some(1));
    if !fits {
        return refuse(format!("{what} {ty} does not run along the last axis of {}", g.ty(x)));
    }
    if ty.rank() == 1 {
        return Ok(v);
    }
    let shape: Vec<Dim> = row.into_iter().collect();
    match (g.tensor(v), shape[0].as_const()) {
        (Ok(tensor), Some(n)) => {
            let name = g.graph().const_key(v).unwrap_or(what).to_string();
            let flat = tensor.reshape(vec![n])?;
            Ok(g.constant(&name, flat))
        }
        _ => Ok(g.add(Reshape { shape }, &[v])?),
    }
}

/// A gain of ones for `x`.
pub(super) fn ones(g: &mut Rewrite, x: Value) -> Result<Value, Refusal> {
    let ty = g.ty(x).clone();
    let Some(n) = ty.back(0).and_then(Dim::as_const) else {
        return refuse(format!("the last axis of {ty} is not constant"));
    };
    let tensor = numbers(&vec![1.0; n], ty.elem)?;
    Ok(g.constant("ones", tensor))
}

pub(super) fn is_one(g: &Rewrite, v: Value) -> Result<(), Refusal> {
    match Scope::scalars(&g.tensor(v)?) {
        Some(values) if values.iter().all(|v| *v == 1.0) => Ok(()),
        _ => refuse("it has a gain already"),
    }
}

/// A vector of floats of the given element type.
fn numbers(values: &[f32], elem: Elem) -> Result<Tensor, Refusal> {
    Ok(match elem {
        Elem::F32 => Tensor::vector(values.to_vec()),
        Elem::F64 => Tensor::vector(values.iter().map(|v| f64::from(*v)).collect()),
        Elem::F16 => Tensor::vector(values.iter().map(|v| half::f16::from_f32(*v)).collect()),
        Elem::Bf16 => Tensor::vector(values.iter().map(|v| half::bf16::from_f32(*v)).collect()),
        elem => return refuse(format!("norms are of floats, not {elem}")),
    })
}
