//! onnxruntime's attention whose projections are one product: Attention, and QAttention, whose product is of integers.

use trine_ir::ops::{Add, Concat, Matmul, MatmulInteger, Mul, Split};
use trine_ir::{Dim, OpResult, Value, bail};

use super::NodeCx;
use super::attention::{key_mask, plain};
use super::nn::{attr_count, cast, default_scale, merge_heads, present, quotient, reshape, split_heads};

/// Attention-1. Inputs: input, weights, bias, mask, past, what is added to the scores.
pub fn attention(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    if cx.opt(6).is_some() {
        bail!("a past whose length is an input is not supported");
    }
    let (x, w, bias) = (cx.input(0)?, cx.input(1)?, cx.opt(2));
    let y = cx.add(Matmul { trans_b: false }, &[x, w])?;
    let y = match bias {
        Some(bias) => cx.add(Add {}, &[y, bias])?,
        None => y,
    };
    attend(cx, y, [3, 4, 5])
}

/// QAttention-1. Inputs: input, weights, bias, scale of either, mask, zero of either, past.
pub fn quantized_attention(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let operands = [Some(cx.input(0)?), Some(cx.input(1)?), cx.opt(6), cx.opt(7)];
    let (bias, scales) = (cx.input(2)?, [cx.input(3)?, cx.input(4)?]);
    let sums = cx.add_node(MatmulInteger {}, &present(&operands))?[0];
    let scale = cx.add(Mul {}, &scales)?;
    let sums = cast(cx, sums, cx.ty(scale).elem)?;
    let y = cx.add(Mul {}, &[sums, scale])?;
    let y = cx.add(Add {}, &[y, bias])?;
    attend(cx, y, [5, 8, usize::MAX])
}

/// Attention over queries, keys and values `[b,s,…]` that follow one another along the last axis. `slots` are those of the
/// mask, of the past `[2,b,h,p,d]` and of what is added to the scores.
fn attend(cx: &mut NodeCx, qkv: Value, slots: [usize; 3]) -> OpResult<Vec<Value>> {
    if cx.attr_bool("do_rotary", false)? || cx.attr_bool("past_present_share_buffer", false)? {
        bail!("rotary embeddings and shared buffers are not supported here");
    }
    let heads = attr_count(cx, "num_heads")?;
    let [mask, past, bias] = slots.map(|slot| cx.opt(slot));
    let ty = cx.ty(qkv);
    let [batch, _, width] = ty.dims.as_slice() else { bail!("expects [b,s,width], got {ty}") };
    let sizes = match cx.attr_ints("qkv_hidden_sizes")? {
        None => vec![quotient(width, 3, "the size of queries, keys and values")?; 3],
        Some(sizes) if sizes.len() == 3 => sizes.iter().map(|s| Dim::integer(*s)).collect(),
        Some(sizes) => bail!("`qkv_hidden_sizes` has {} elements, not 3", sizes.len()),
    };
    let parts = cx.add_node(Split { axis: 2, sizes }, &[Some(qkv)])?;
    let [q, k, v] = parts[..] else { bail!("expects queries, keys and values") };
    let (q, k, v) = (split_heads(cx, q, heads)?, split_heads(cx, k, heads)?, split_heads(cx, v, heads)?);
    let (mut past_k, mut past_v) = (None, None);
    if let Some(past) = past {
        let ty = cx.ty(past);
        let [two, rest @ ..] = ty.dims.as_slice() else { bail!("the past is a scalar") };
        if two.as_const() != Some(2) || rest.len() != 4 {
            bail!("the past is [2,b,h,p,d], got {ty}");
        }
        let halves = cx.add_node(Split { axis: 0, sizes: vec![Dim::constant(1); 2] }, &[Some(past)])?;
        past_k = Some(reshape(cx, halves[0], rest.to_vec())?);
        past_v = Some(reshape(cx, halves[1], rest.to_vec())?);
    }
    let keys: Vec<_> = past_k.into_iter().chain([k]).map(|x| (x, 2)).collect();
    let hidden = mask.map(|mask| key_mask(cx, mask, batch, &keys)).transpose()?;
    let mask = match (hidden, bias) {
        (Some(hidden), Some(bias)) => Some(cx.add(Add {}, &[hidden, bias])?),
        (hidden, bias) => hidden.or(bias),
    };
    let scale = match cx.attr_float("scale", 0.0)? {
        0.0 => default_scale(cx, q)?,
        scale => scale,
    };
    let causal = cx.attr_bool("unidirectional", false)?;
    let results =
        cx.add_node(plain(scale, causal, 0.0), &present(&[Some(q), Some(k), Some(v), mask, past_k, past_v]))?;
    let y = merge_heads(cx, results[0])?;
    if !cx.wants(1) {
        return Ok(vec![y]);
    }
    let (k, v) = if let [_, k, v] = results[..] { (k, v) } else { (k, v) };
    let mut halves = vec![];
    for half in [k, v] {
        let dims = [&[Dim::constant(1)], cx.ty(half).dims.as_slice()].concat();
        halves.push(reshape(cx, half, dims)?);
    }
    Ok(vec![y, cx.add(Concat { axis: 0 }, &halves)?])
}
