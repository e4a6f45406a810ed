//! onnxruntime's grouped attention over a cache in which each sequence has a length of its own.

use trine_ir::ops::{Add, CachedAttention, Concat, ExpandDynamic, Less, Max, Pad, PadMode, Split, Sub};
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::NodeCx;
use super::attention::plain;
use super::nn::{
    aligned, attr_count, cast, default_scale, expand, gather_tables, hide, merge_heads, positions, present,
    product, quotient, reshape, rms_norm, rotary_of_part, scalar, size, split_heads, up_to,
};

/// GroupQueryAttention-1. New keys and values are written after those that each sequence has, of which `seqlens_k`, the index
/// of the last, tells; queries see what is before them. The cache has as many rows as the past, or as the longest sequence
/// will have where those are more: a past that has room for it keeps its length.
pub fn group_query_attention(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    refuse_others(cx)?;
    let (heads, kv_heads) = (attr_count(cx, "num_heads")?, attr_count(cx, "kv_num_heads")?);
    let [q, k, v] = projections(cx, heads, kv_heads)?;
    let lengths = lengths(cx, q)?;
    let starts = starts(cx, q, lengths)?;
    let steps = positions(cx, q, 1)?;
    let (at, steps) = (aligned(cx, starts, 2, &[0])?, aligned(cx, steps, 2, &[1])?);
    let at = cx.add(Add {}, &[at, steps])?;
    let (mut q, mut k, v) =
        (split_heads(cx, q, heads)?, split_heads(cx, k, kv_heads)?, split_heads(cx, v, kv_heads)?);
    (q, k) = (normed(cx, q, (14, "q_norm_epsilon"))?, normed(cx, k, (15, "k_norm_epsilon"))?);
    if cx.attr_bool("do_rotary", false)? {
        let tables = (cx.input(7)?, cx.input(8)?);
        let tables = gather_tables(cx, tables, cx.opt(9).unwrap_or(at))?;
        let interleaved = cx.attr_bool("rotary_interleaved", false)?;
        q = rotary_of_part(cx, q, tables, interleaved)?;
        k = rotary_of_part(cx, k, tables, interleaved)?;
    }
    let causal = cx.attr_bool("causal", true)?;
    let window = match cx.attr_int("local_window_size", -1)? {
        n if n < 0 => None,
        _ if !causal => bail!("a window is one of queries that see what is before them"),
        n => Some(usize::try_from(n).map_err(|e| e.to_string())?),
    };
    let scale = match cx.attr_float("scale", 0.0)? {
        0.0 => default_scale(cx, q)?,
        scale => scale,
    };
    let softcap = cx.attr_float("softcap", 0.0)?;
    let sink = sink(cx, heads, cx.ty(q).elem)?;
    let mut mask = cx.opt(10);
    if !causal {
        // Padding after a prompt is not seen.
        let (keys, ends) = (positions(cx, k, 2)?, aligned(cx, lengths, 4, &[0])?);
        if cx.opt(3).is_some() {
            bail!("a past of queries that see both ways is not supported");
        }
        let seen = cx.add(Less {}, &[keys, ends])?;
        mask = Some(match mask {
            Some(bias) => hide(cx, seen, bias)?,
            None => seen,
        });
    }
    let (past_k, past_v) = (cx.opt(3), cx.opt(4));
    if past_k.is_none() && past_v.is_none() && sink.is_none() {
        // A prompt alone is attention as all have it.
        if let Some(width) = window {
            let (keys, queries) = (positions(cx, k, 2)?, aligned(cx, at, 4, &[0, 2])?);
            let seen = up_to(cx, keys, queries, Some(width))?;
            mask = Some(match mask {
                Some(bias) => hide(cx, seen, bias)?,
                None => seen,
            });
        }
        let op = plain(scale, causal, softcap);
        let y = cx.add_node(op, &present(&[Some(q), Some(k), Some(v), mask]))?[0];
        return Ok(vec![merge_heads(cx, y)?, k, v]);
    }
    let (past_k, past_v, rows) = cache(cx, past_k, past_v, &cx.ty(k).dims[2].clone())?;
    let mask = mask.map(|mask| as_long(cx, mask, &rows)).transpose()?;
    let op = CachedAttention { scale, causal, softcap, window, rows };
    let starts = past_k.map(|_| starts);
    let operands = [Some(q), Some(k), Some(v), mask, past_k, past_v, starts, sink];
    let results = cx.add_node(op, &present(&operands))?;
    Ok(vec![merge_heads(cx, results[0])?, results[1], results[2]])
}

/// What the node may ask for that is not here.
fn refuse_others(cx: &NodeCx) -> OpResult<()> {
    if ["k_quant_type", "v_quant_type"].iter().any(|a| !matches!(cx.attr_str(a, "NONE"), Ok("NONE")))
        || cx.opt(12).is_some()
        || cx.opt(13).is_some()
    {
        bail!("quantized caches are not supported");
    }
    if cx.attr_bool("sliding_window_cache", false)? {
        bail!("a cache of a window's size is not supported");
    }
    if cx.wants(3) || cx.attr_bool("qk_output", false)? {
        bail!("scores as a result are not supported");
    }
    Ok(())
}

/// Queries, keys and values, `[b,s,h·d]`, which may come as one.
fn projections(cx: &mut NodeCx, heads: usize, kv_heads: usize) -> OpResult<[Value; 3]> {
    let q = cx.input(0)?;
    if cx.rank(q) != 3 {
        bail!("expects heads in one axis, as [b,s,h·d], got {}", cx.ty(q));
    }
    match (cx.opt(1), cx.opt(2)) {
        (Some(k), Some(v)) => return Ok([q, k, v]),
        (None, None) => {}
        _ => bail!("keys and values come together"),
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

/// How many keys each sequence has with the new ones.
fn lengths(cx: &mut NodeCx, q: Value) -> OpResult<Value> {
    let last = cx.input(5)?;
    let last = cast(cx, last, Elem::I64)?;
    // Lengths come as `[b]` or `[b,1]`.
    let last = reshape(cx, last, cx.ty(q).dims[..1].to_vec())?;
    let one = scalar(cx, Elem::I64, 1.0)?;
    cx.add(Add {}, &[last, one])
}

/// How many keys each sequence has before the new ones. A first prompt may have padding after it; chunks of prompts say how
/// many of their tokens are none.
fn starts(cx: &mut NodeCx, q: Value, lengths: Value) -> OpResult<Value> {
    let zero = scalar(cx, Elem::I64, 0.0)?;
    let new = match cx.opt(16) {
        Some(counts) => cast(cx, counts, Elem::I64)?,
        None => size(cx, q, 1)?,
    };
    let before = cx.add(Sub {}, &[lengths, new])?;
    cx.add(Max {}, &[before, zero])
}

/// An RMS norm of each head, where the node has a gain for it.
fn normed(cx: &mut NodeCx, x: Value, (slot, epsilon): (usize, &str)) -> OpResult<Value> {
    let Some(gain) = cx.opt(slot) else { return Ok(x) };
    let eps = match cx.attr_float_opt(epsilon)? {
        Some(eps) => eps,
        None => cx.attr_float("qk_norm_epsilon", 1e-6)?,
    };
    rms_norm(cx, x, gain, 3, eps)
}

/// The score that weighs nothing of each head: 0 for a smooth softmax.
fn sink(cx: &mut NodeCx, heads: usize, elem: Elem) -> OpResult<Option<Value>> {
    if let Some(sink) = cx.opt(11) {
        return Ok(Some(sink));
    }
    if cx.attr_int("smooth_softmax", -1)? != 1 {
        return Ok(None);
    }
    let zero = scalar(cx, elem, 0.0)?;
    Ok(Some(expand(cx, zero, vec![Dim::constant(heads)])?))
}

/// A bias that reaches as far as the cache, whose last rows nobody sees where it is shorter.
fn as_long(cx: &mut NodeCx, bias: Value, rows: &Dim) -> OpResult<Value> {
    let ty = cx.ty(bias);
    let Some((last, one)) = ty.dims.last().zip(Some(Dim::constant(1))) else { return Ok(bias) };
    if last == rows || *last == one {
        return Ok(bias);
    }
    let mut pads = vec![Dim::constant(0); 2 * ty.rank()];
    pads[2 * ty.rank() - 1] = rows.sub(last).ok_or("the sequence is too long")?;
    Ok(cx.add_node(Pad { mode: PadMode::Constant, pads }, &[Some(bias)])?[0])
}

/// Past keys and values, and how many rows the cache has.
fn cache(
    cx: &mut NodeCx,
    past_k: Option<Value>,
    past_v: Option<Value>,
    new: &Dim,
) -> OpResult<(Option<Value>, Option<Value>, Dim)> {
    let (k, v) = match (past_k, past_v) {
        (Some(k), Some(v)) => (k, v),
        (None, None) => return Ok((None, None, new.clone())),
        _ => bail!("past keys and values come together"),
    };
    let Some(rows) = cx.ty(k).dims.get(2).cloned() else { bail!("the past is [b,h,p,d], got {}", cx.ty(k)) };
    let total = cx.input(6)?;
    if let Some([total]) = cx.shape_values(total).as_deref() {
        let rows = rows.max_of(total).ok_or("the sequence is too long")?;
        return Ok((Some(k), Some(v), rows));
    }
    // Rows that only a run can count are put after the past.
    let (total, one) = (cast(cx, total, Elem::I64)?, scalar(cx, Elem::I64, 0.0)?);
    let total = reshape(cx, total, vec![])?;
    let held = size(cx, k, 2)?;
    let more = cx.add(Sub {}, &[total, held])?;
    let more = cx.add(Max {}, &[more, one])?;
    let count = cx.fresh_dim();
    let rows = rows.add(&count).ok_or("the sequence is too long")?;
    let mut roomy = |past: Value| {
        let mut sizes = vec![];
        for axis in 0..4 {
            let n = if axis == 2 { more } else { size(cx, past, axis)? };
            sizes.push(reshape(cx, n, vec![Dim::constant(1)])?);
        }
        let sizes = cx.add(Concat { axis: 0 }, &sizes)?;
        let mut dims = cx.ty(past).dims;
        *dims.get_mut(2).ok_or("the past is [b,h,p,d]")? = count.clone();
        let zero = scalar(cx, cx.ty(past).elem, 0.0)?;
        let room = cx.add(ExpandDynamic { dims }, &[zero, sizes])?;
        cx.add(Concat { axis: 2 }, &[past, room])
    };
    let (k, v): (OpResult<Value>, OpResult<Value>) = (roomy(k), roomy(v));
    Ok((Some(k?), Some(v?), rows))
}
