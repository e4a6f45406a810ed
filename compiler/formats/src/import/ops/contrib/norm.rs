//! Norms with the residual addition or the embedding before them.

use trine_ir::ops::{Add, Gather, ReduceSum};
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::NodeCx;
use super::nn::{
    cast, expand, inverse_deviation, inverse_root_mean_square, layer_norm, positions, rms_norm, scalar,
};
use super::quantized::dequantized_by;

/// SkipLayerNormalization-1.
pub fn skip_layer_normalization(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (gain, bias) = (cx.input(2)?, cx.opt(3));
    let (sum, eps) = (residual(cx, 4)?, epsilon(cx)?);
    let last = cx.rank(sum) - 1;
    let y = layer_norm(cx, sum, Some(gain), bias, last, eps)?;
    let [mean, inverse] =
        if cx.wants(1) || cx.wants(2) { inverse_deviation(cx, sum, &[last], eps)? } else { [y, y] };
    Ok(vec![y, mean, inverse, sum])
}

/// SkipSimplifiedLayerNormalization-1. There is no mean; onnxruntime leaves that result empty too.
pub fn skip_simplified_layer_normalization(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let gain = cx.input(2)?;
    let (sum, eps) = (residual(cx, 3)?, epsilon(cx)?);
    if cx.wants(1) {
        bail!("an RMS norm has no mean to give");
    }
    let last = cx.rank(sum) - 1;
    let y = rms_norm(cx, sum, gain, last, eps)?;
    let inverse = if cx.wants(2) { inverse_root_mean_square(cx, sum, vec![last], eps)? } else { y };
    Ok(vec![y, y, inverse, sum])
}

/// EmbedLayerNormalization-1. The mask's result counts the tokens of each sequence.
pub fn embed_layer_normalization(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let tables = [cx.input(2)?, cx.input(3)?, cx.input(5)?, cx.input(6)?];
    embedded(cx, tables, cx.opt(4), cx.opt(8))
}

/// QEmbedLayerNormalization-1: the same with tables of eight bits, whose scales and zeros follow from input 8 on.
pub fn quantized_embed_layer_normalization(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let table = |cx: &mut NodeCx, slot: usize| dequantized_by(cx, [slot, slot + 6, slot + 11]);
    let tables = [table(cx, 2)?, table(cx, 3)?, table(cx, 5)?, table(cx, 6)?];
    let kinds = if cx.opt(4).is_some() { Some(table(cx, 4)?) } else { None };
    embedded(cx, tables, kinds, None)
}

/// Tables of words and of places, gain and bias, with a table of segments and where the words stand.
fn embedded(
    cx: &mut NodeCx,
    [words, places, gain, bias]: [Value; 4],
    kinds: Option<Value>,
    at: Option<Value>,
) -> OpResult<Vec<Value>> {
    let (ids, segments) = (cx.input(0)?, cx.opt(1));
    if cx.rank(ids) != 2 {
        bail!("token ids are [b,s], got {}", cx.ty(ids));
    }
    let at = match at {
        Some(ids) => ids,
        None => positions(cx, ids, 1)?,
    };
    let (word, place) =
        (cx.add(Gather { axis: 0 }, &[words, ids])?, cx.add(Gather { axis: 0 }, &[places, at])?);
    let mut sum = cx.add(Add {}, &[word, place])?;
    if let (Some(segments), Some(table)) = (segments, kinds) {
        let segment = cx.add(Gather { axis: 0 }, &[table, segments])?;
        sum = cx.add(Add {}, &[sum, segment])?;
    }
    let eps = epsilon(cx)?;
    let y = layer_norm(cx, sum, Some(gain), Some(bias), 2, eps)?;
    let counts = match cx.opt(7) {
        Some(mask) => {
            let mask = cast(cx, mask, Elem::I32)?;
            cx.add(ReduceSum { axes: vec![1], keepdims: false }, &[mask])?
        }
        None => {
            let (zero, batch): (Value, Dim) = (scalar(cx, Elem::I32, 0.0)?, cx.ty(ids).dims[0].clone());
            expand(cx, zero, vec![batch])?
        }
    };
    Ok(vec![y, counts, sum])
}

/// Input plus skip, plus the bias in slot `bias` if there is one.
fn residual(cx: &mut NodeCx, bias: usize) -> OpResult<Value> {
    let (x, skip) = (cx.input(0)?, cx.input(1)?);
    let mut sum = cx.add(Add {}, &[x, skip])?;
    if let Some(bias) = cx.opt(bias) {
        sum = cx.add(Add {}, &[sum, bias])?;
    }
    if cx.rank(sum) == 0 || cx.ty(sum) != cx.ty(x) {
        bail!("skip and bias do not broadcast to {}", cx.ty(x));
    }
    Ok(sum)
}

fn epsilon(cx: &NodeCx) -> OpResult<f32> {
    cx.attr_float("epsilon", 1e-12)
}
