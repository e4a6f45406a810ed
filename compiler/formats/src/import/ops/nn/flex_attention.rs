//! Attention whose scores and weights the model changes by subgraphs of its own.

use trine_ir::attr::Flag;
use trine_ir::ops::{Attention, Matmul, Mul, Softmax};
use trine_ir::{Elem, OpResult, Value, bail};

use super::attention::{default_scale, shared_heads};
use super::{NodeCx, cast, scalar};

/// FlexAttention of `ai.onnx.preview`.
pub fn flex_attention(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    if [q, k, v].iter().any(|x| cx.rank(*x) != 4) {
        bail!("expects q, k and v of four axes");
    }
    let scale = match cx.attr_float_opt("scale")? {
        Some(scale) => scale,
        None => default_scale(cx, q)?,
    };
    let elem = cx.ty(q).elem;
    let wide = if elem == Elem::F64 { Elem::F64 } else { Elem::F32 };
    let precision = cx.attr_elem("softmax_precision")?.unwrap_or(wide);
    let (score_mod, prob_mod) = (cx.has_attr("score_mod"), cx.has_attr("prob_mod"));
    if !score_mod && !prob_mod && precision == wide {
        // A row of scores that are all -∞ is a softmax's.
        let (nan_unseen, zero_nan) = (Flag(true), Flag(false));
        let op = Attention { scale, causal: false, softcap: 0.0, hidden: None, nan_unseen, zero_nan };
        return cx.add_node(op, &[Some(q), Some(k), Some(v)]);
    }
    let (keys, values) = (shared_heads(cx, k, q)?, shared_heads(cx, v, q)?);
    let scores = cx.add(Matmul { trans_b: true }, &[q, keys])?;
    let mut scores = cast(cx, scores, precision)?;
    let scale = scalar(cx, precision, scale.into())?;
    scores = cx.add(Mul {}, &[scores, scale])?;
    if score_mod {
        scores = changed(cx, "score_mod", scores)?;
    }
    let mut weights = cx.add(Softmax { axis: 3 }, &[scores])?;
    if prob_mod {
        weights = changed(cx, "prob_mod", weights)?;
    }
    let weights = cast(cx, weights, elem)?;
    Ok(vec![cx.add(Matmul { trans_b: false }, &[weights, values])?])
}

/// What the subgraph makes of `x`, which is of the same type.
fn changed(cx: &mut NodeCx, attribute: &str, x: Value) -> OpResult<Value> {
    match cx.inline_body(attribute, &[x])?[..] {
        [y] if cx.ty(y) == cx.ty(x) => Ok(y),
        [y] => bail!("`{attribute}` makes {} of {}", cx.ty(y), cx.ty(x)),
        ref many => bail!("`{attribute}` has {} outputs where one is used", many.len()),
    }
}
