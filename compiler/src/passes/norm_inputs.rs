//! ```text
//! matmul(rms_norm(x, g), W)  →  matmul(rms_norm(x, 1), diag(g)·W)
//! matmul(x, W)               →  r(x) · matmul(rms_norm(x, 1), W)      r(x) = sqrt(mean(x²) + eps)
//! ```
//!
//! Every linear layer then reads the result of a norm, which nothing but a scale a row tells from the model as it was
//! (arXiv 2505.08823, which trains with such norms and without `r`). Nothing is gained where nothing is trained; what
//! is ternarized after it has the inputs that the paper wants. A gain is taken in only where linear layers alone read
//! the norm. Ternary layers, whose weights cannot take it in, keep theirs.

use trine_ir::ops::{Add, Matmul, Mul, ReduceMean, RmsNorm, Sqrt};
use trine_ir::{Elem, Kind, Literal, Module, Op, Stage, Tensor, Value};

use super::recognize_norms::{is_one, ones};
use crate::layers;
use crate::pass::{Cx, PassError};
use crate::pattern::{Refusal, Rewrite, Rule, any, constant, maybe, op, refuse, rms_norm, rule};

const NAME: &str = "norm-inputs";

/// Added to the mean of squares; it cancels.
const EPS: f32 = 1e-6;

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    if module.stage > Stage::Ternary {
        let message = format!("the module is `{}` already", module.stage.name());
        return Err(PassError::Refused { pass: NAME, message });
    }
    Ok(cx.apply(module, &[take_gain_in(), norm_dense(), norm_ternary()]))
}

fn take_gain_in() -> Rule {
    let (x, gain, w) = (any(), constant(), any());
    let norm = rms_norm(&x, &gain);
    let root = layers::linear(&norm, &w);
    rule(NAME, root.clone(), move |m, g| {
        let Some(Op::RmsNorm(op)) = g.op(m[&norm]).cloned() else { return refuse("not a norm") };
        if is_one(g, m[&gain]).is_ok() {
            return refuse("its norm has no gain");
        }
        let readers = g.graph().users(m[&norm]);
        let linear = |(node, slot): &(_, usize)| {
            let weights = g.graph().operand(*node, Matmul::b).filter(|_| *slot == Matmul::a);
            g.graph().kind(*node) == Some(Kind::Matmul) && weights.is_some_and(|w| g.scope().is_known(w))
        };
        if g.graph().is_output(m[&norm]) || !readers.iter().all(linear) {
            return refuse("something else reads its norm");
        }
        let base = layers::weights_name(g, m[&w]);
        let mut matrix = layers::weights(g, m[&root], m[&w], true)?;
        let gain = g.tensor(m[&gain])?;
        let gain = gain.values::<f32>()?;
        for row in matrix.values.chunks_exact_mut(gain.len().max(1)) {
            row.iter_mut().zip(gain.iter()).for_each(|(w, gain)| *w *= gain);
        }
        let w = g.constant(&base, Tensor::from_vec(vec![matrix.n, matrix.k], matrix.values)?);
        let plain = norm_of(g, m[&x], op.eps)?;
        Ok(g.add(Matmul { trans_b: true }, &[plain, w])?)
    })
}

fn norm_dense() -> Rule {
    let (x, w) = (any(), any());
    let root = layers::linear(&x, &w);
    rule(NAME, root.clone(), move |m, g| {
        let Some(op) = g.op(m[&root]).cloned() else { return refuse("not a matmul") };
        let (plain, root_mean_square) = split(g, m[&x])?;
        let y = g.add(op, &[plain, m[&w]])?;
        Ok(g.add(Mul {}, &[y, root_mean_square])?)
    })
}

fn norm_ternary() -> Rule {
    let (x, w, scale, bias) = (any(), constant(), any(), any());
    let root = op(Kind::TernaryMatmul, [&x, &w, &scale, &maybe(&bias)]);
    rule(NAME, root.clone(), move |m, g| {
        let Some(op) = g.op(m[&root]).cloned() else { return refuse("not a ternary matmul") };
        let (plain, root_mean_square) = split(g, m[&x])?;
        let y = g.add(op, &[plain, m[&w], m[&scale]])?;
        let y = g.add(Mul {}, &[y, root_mean_square])?;
        match m.get(&bias) {
            Some(bias) => Ok(g.add(Add {}, &[y, bias])?),
            None => Ok(y),
        }
    })
}

/// `x` as the result of a norm and what that divided it by, unless it is the result of one.
fn split(g: &mut Rewrite, x: Value) -> Result<(Value, Value), Refusal> {
    if matches!(g.op(x), Some(Op::RmsNorm(_))) {
        return refuse("it reads a norm already");
    }
    let ty = g.ty(x).clone();
    if ty.elem != Elem::F32 || ty.rank() == 0 {
        return refuse(format!("its input is {ty}"));
    }
    let plain = norm_of(g, x, EPS)?;
    let squares = share(g, Mul {}, &[x, x])?;
    let mean = share(g, ReduceMean { axes: vec![ty.rank() - 1], keepdims: true }, &[squares])?;
    let eps = g.literal(Literal::F32(EPS));
    let sum = share(g, Add {}, &[mean, eps])?;
    Ok((plain, share(g, Sqrt {}, &[sum])?))
}

/// The norm of `x` without a gain; layers that read the same share it.
fn norm_of(g: &mut Rewrite, x: Value, eps: f32) -> Result<Value, Refusal> {
    let gain = ones(g, x)?;
    share(g, RmsNorm { eps }, &[x, gain])
}

fn share(g: &mut Rewrite, op: impl Into<Op>, args: &[Value]) -> Result<Value, Refusal> {
    let args: Vec<Option<Value>> = args.iter().copied().map(Some).collect();
    Ok(Value { node: g.share(op, &args)?, result: 0 })
}
