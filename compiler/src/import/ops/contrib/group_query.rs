//! onnxruntime's grouped attention over a cache in which each sequence has a length of its own.

use trine_ir::attr::Flag;
use trine_ir::ops::{Add, Attention, Concat, Max, Split, Sub, TensorScatter};
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::NodeCx;
use super::nn::{
    aligned, attr_count, cast, default_scale, expand, gather_tables, hide, merge_heads, positions, product,
    quotient, reshape, rotary, scalar, size, split_heads, up_to,
};

/// GroupQueryAttention-1. New keys and values are written behind those that each sequence has, of which
/// `seqlens_k`, the index of the last, tells; queries see what is before them.
pub fn group_query_attention(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (heads, kv_heads) = (attr_count(cx, "num_heads")?, attr_count(cx, "kv_num_heads")?);
    if cx.attr_bool("smooth_softmax", false)? || cx.opt(11).is_some() {
        bail!("a smooth softmax is not supported");
    }
    if ["k_quant_type", "v_quant_type"].iter().any(|a| !matches!(cx.attr_str(a, "NONE"), Ok("NONE"))) {
        bail!("quantized caches are not supported");
    }
    let [q, k, v] = projections(cx, heads, kv_heads)?;
    let starts = starts(cx, q)?;
    let steps = positions(cx, q, 1)?;
    let (at, steps) = (aligned(cx, starts, 2, &[0])?, aligned(cx, steps, 2, &[1])?);
    let at = cx.add(Add {}, &[at, steps])?;
    let (mut q, mut k, v) =
        (split_heads(cx, q, heads)?, split_heads(cx, k, kv_heads)?, split_heads(cx, v, kv_heads)?);
    if cx.attr_bool("do_rotary", false)? {
        let ids = cx.opt(9).unwrap_or(at);
        let tables = gather_tables(cx, (cx.input(7)?, cx.input(8)?), ids)?;
        (q, k) = (turned(cx, q, tables)?, turned(cx, k, tables)?);
    }
    let (k, v) = (extended(cx, cx.opt(3), k, starts)?, extended(cx, cx.opt(4), v, starts)?);
    let width = match cx.attr_int("local_window_size", -1)? {
        n if n < 0 => None,
        n => Some(usize::try_from(n).map_err(|e| e.to_string())?),
    };
    let keys = positions(cx, k, 2)?;
    let queries = aligned(cx, at, 4, &[0, 2])?;
    let mut mask = up_to(cx, keys, queries, width)?;
    if let Some(bias) = cx.opt(10) {
        mask = hide(cx, mask, bias)?;
    }
    let scale = match cx.attr_float("scale", 0.0)? {
        0.0 => default_scale(cx, q)?,
        scale => scale,
    };
    let softcap = cx.attr_float("softcap", 0.0)?;
    let op = Attention {
        scale,
        causal: false,
        softcap,
        hidden: None,
        nan_unseen: Flag(false),
        zero_nan: Flag(false),
    };
    let y = cx.add(op, &[q, k, v, mask])?;
    Ok(vec![merge_heads(cx, y)?, k, v])
}

/// Queries, keys and values, `[b,s,h·d]`, which may come as one.
fn projections(cx: &mut NodeCx, heads: usize, kv_heads: usize) -> OpResult<[Value; 3]> {
    let q = cx.input(0)?;
    if cx.rank(q) != 3 {
        bail!("expects heads in one axis, as [b,s,h·d], got {}", cx.ty(q));
    }
    if let (Some(k), Some(v)) = (cx.opt(1), cx.opt(2)) {
        return Ok([q, k, v]);
    }
    let parts = kv_heads.checked_mul(2).and_then(|n| n.checked_add(heads)).ok_or("too many heads")?;
    let Some(hidden) = cx.ty(q).back(0).cloned() else { bail!("the query has no axes") };
    let d = quotient(&hidden, parts, "the size of a head")?;
    let part = |heads: usize| product(&[Dim::constant(heads), d.clone()]);
    let sizes = vec![part(heads)?, part(kv_heads)?, part(kv_heads)?];
    match cx.add_node(Split { axis: cx.rank(q) - 1, sizes }, &[Some(q)])?[..] {
        [q, k, v] => Ok([q, k, v]),
        _ => bail!("expects queries, keys and values"),
    }
}

/// How many keys each sequence has before the new ones. A first prompt may have padding behind it.
fn starts(cx: &mut NodeCx, q: Value) -> OpResult<Value> {
    let last = cx.input(5)?;
    let last = cast(cx, last, Elem::I64)?;
    // Lengths come as `[b]` or `[b,1]`.
    let last = reshape(cx, last, cx.ty(q).dims[..1].to_vec())?;
    let (one, zero, new) = (scalar(cx, Elem::I64, 1.0)?, scalar(cx, Elem::I64, 0.0)?, size(cx, q, 1)?);
    let total = cx.add(Add {}, &[last, one])?;
    let before = cx.add(Sub {}, &[total, new])?;
    cx.add(Max {}, &[before, zero])
}

/// `past` with `new` written from `starts` on; the past has room for no more than itself.
fn extended(cx: &mut NodeCx, past: Option<Value>, new: Value, starts: Value) -> OpResult<Value> {
    let Some(past) = past else { return Ok(new) };
    let ty = cx.ty(new);
    let zero = scalar(cx, ty.elem, 0.0)?;
    let room = expand(cx, zero, ty.dims)?;
    let cache = cx.add(Concat { axis: 2 }, &[past, room])?;
    cx.add(TensorScatter { axis: 2, circular: false }, &[cache, new, starts])
}

fn turned(cx: &mut NodeCx, x: Value, tables: (Value, Value)) -> OpResult<Value> {
    let interleaved = cx.attr_bool("rotary_interleaved", false)?;
    rotary(cx, x, None, tables, interleaved)
}
