//! Ops that carry a state from token to token.

use trine_ir::ops::{Concat, Conv, LinearAttention, Silu, Split};
use trine_ir::{Dim, OpResult, Value, bail};

use super::attention::{default_scale, merge_heads, present, split_heads};
use super::{NodeCx, attr_count, expand, reshape, scalar, transpose};

/// LinearAttention-27. The update rule says which of decay and beta there are.
pub fn linear_attention(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (heads, kv_heads) = (attr_count(cx, "q_num_heads")?, attr_count(cx, "kv_num_heads")?);
    let (gated, delta) = match cx.attr_str("update_rule", "gated_delta")? {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        rule => bail!("unknown update rule `{}`", rule.escape_debug()),
    };
    let (state, decay, beta) = (cx.opt(3), cx.opt(4), cx.opt(5));
    if decay.is_some() != gated || beta.is_some() != delta {
        bail!("decay and beta do not fit the update rule");
    }
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (q, k, v) =
        (split_heads(cx, q, heads)?, split_heads(cx, k, kv_heads)?, split_heads(cx, v, kv_heads)?);
    let decay = decay.map(|d| split_heads(cx, d, kv_heads)).transpose()?;
    let beta = beta.map(|b| per_head(cx, b)).transpose()?;
    let scale = match cx.attr_float("scale", 0.0)? {
        0.0 => default_scale(cx, q)?,
        scale => scale,
    };
    let operands = present(&[Some(q), Some(k), Some(v), state, decay, beta]);
    let results = cx.add_node(LinearAttention { scale }, &operands)?;
    Ok(vec![merge_heads(cx, results[0])?, results[1]])
}

/// `[b,s,h]` as `[b,h,s,1]`.
fn per_head(cx: &mut NodeCx, x: Value) -> OpResult<Value> {
    let mut dims = cx.ty(x).dims;
    if dims.len() != 3 {
        bail!("expects a number a head, as [b,s,h], got {}", cx.ty(x));
    }
    dims.push(Dim::constant(1));
    let x = reshape(cx, x, dims)?;
    transpose(cx, x, &[0, 2, 1, 3])
}

/// CausalConvWithState-27: a convolution a channel over the state and then the input; the last `k - 1` of both are the
/// next state.
pub fn causal_conv_with_state(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, w, bias, state) = (cx.input(0)?, cx.input(1)?, cx.opt(2), cx.opt(3));
    let (ty, kernel) = (cx.ty(x), cx.ty(w));
    let channels = ty.dims.get(1).and_then(Dim::as_const);
    let taps = kernel.dims.get(2).and_then(Dim::as_const);
    let (3, Some(channels), Some(taps @ 1..)) = (ty.rank(), channels, taps) else {
        bail!("expects [b,channels,length] and a kernel [channels,1,taps], got {ty} and {kernel}");
    };
    let mut dims = ty.dims.clone();
    dims[2] = Dim::constant(taps - 1);
    let state = match state {
        Some(state) => state,
        None => {
            let zero = scalar(cx, ty.elem, 0.0)?;
            expand(cx, zero, dims.clone())?
        }
    };
    let all = cx.add(Concat { axis: 2 }, &[state, x])?;
    let op = Conv { strides: vec![1], pads: vec![0, 0], dilations: vec![1], group: channels };
    let y = cx.add_node(op, &present(&[Some(all), Some(w), bias]))?[0];
    let y = match cx.attr_str("activation", "none")? {
        "none" => y,
        "silu" | "swish" => cx.add(Silu {}, &[y])?,
        name => bail!("unknown activation `{}`", name.escape_debug()),
    };
    let sizes = vec![ty.dims[2].clone(), Dim::constant(taps - 1)];
    let next = cx.add_node(Split { axis: 2, sizes }, &[Some(all)])?[1];
    Ok(vec![y, next])
}
