//! onnxruntime's attention with as many key heads as query heads.

use trine_ir::attr::Flag;
use trine_ir::ops::{Add, And, Attention, Greater, GreaterOrEqual, Less, Range, Split, Where};
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::NodeCx;
use super::nn::{
    aligned, attr_count, cast, default_scale, merge_heads, present, reshape, scalar, size, split_heads, sum,
    transpose,
};

/// MultiHeadAttention-1.
pub fn multi_head_attention(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let heads = attr_count(cx, "num_heads")?;
    if cx.opt(8).is_some() || cx.opt(9).is_some() || cx.wants(3) {
        bail!("shared buffers, beams and scores as a result are not supported");
    }
    let [q, k, v] = projections(cx, heads)?;
    let (past_k, past_v) = (cx.opt(6), cx.opt(7));
    let keys: Vec<_> = past_k.into_iter().chain([k]).map(|x| (x, 2)).collect();
    let batch = cx.ty(k).dims[0].clone();
    let hidden = cx.opt(4).map(|mask| key_mask(cx, mask, &batch, &keys)).transpose()?;
    let mask = match (hidden, cx.opt(5)) {
        (Some(hidden), Some(bias)) => Some(cx.add(Add {}, &[hidden, bias])?),
        (hidden, bias) => hidden.or(bias),
    };
    let scale = match cx.attr_float("scale", 0.0)? {
        0.0 => default_scale(cx, q)?,
        scale => scale,
    };
    let causal = cx.attr_bool("unidirectional", false)?;
    let op = plain(scale, causal, 0.0);
    let results = cx.add_node(op, &present(&[Some(q), Some(k), Some(v), mask, past_k, past_v]))?;
    let (present_k, present_v) = match results[..] {
        [_, k, v] => (k, v),
        _ => (k, v),
    };
    Ok(vec![merge_heads(cx, results[0])?, present_k, present_v])
}

/// Attention as onnxruntime means it: what sees nothing is 0.
pub fn plain(scale: f32, causal: bool, softcap: f32) -> Attention {
    Attention { scale, causal, softcap, hidden: None, nan_unseen: Flag(false), zero_nan: Flag(false) }
}

/// Queries, keys and values as `[b,h,s,d]`, with their biases. They may come as one, `[b,s,h,3,d]`, and keys and values as
/// one, `[b,s,h,2,d]`.
fn projections(cx: &mut NodeCx, heads: usize) -> OpResult<[Value; 3]> {
    let q = cx.input(0)?;
    let mut all = match (cx.opt(1), cx.opt(2)) {
        (Some(k), Some(v)) => [q, k, v],
        (None, None) => match parts(cx, q, 3)?[..] {
            [q, k, v] => [q, k, v],
            _ => bail!("expects queries, keys and values"),
        },
        (Some(kv), None) => match parts(cx, kv, 2)?[..] {
            [k, v] => [q, k, v],
            _ => bail!("expects keys and values"),
        },
        (None, Some(_)) => bail!("has values without keys"),
    };
    if let Some(bias) = cx.opt(3) {
        let each = biases(cx, bias, &all, heads)?;
        for (x, bias) in all.iter_mut().zip(each) {
            *x = match cx.rank(*x) {
                3 => cx.add(Add {}, &[*x, bias])?,
                _ => {
                    let dims = cx.ty(*x).dims;
                    let bias = reshape(cx, bias, vec![dims[1].clone(), Dim::constant(1), dims[3].clone()])?;
                    cx.add(Add {}, &[*x, bias])?
                }
            };
        }
    }
    for x in &mut all {
        // Keys and values of cross attention may come with heads apart.
        if cx.rank(*x) == 3 {
            *x = split_heads(cx, *x, heads)?;
        }
        if cx.rank(*x) != 4 {
            bail!("expects three axes or four, got {}", cx.ty(*x));
        }
    }
    Ok(all)
}

/// `[b,s,h,n,d]` as `n` times `[b,h,s,d]`.
fn parts(cx: &mut NodeCx, x: Value, n: usize) -> OpResult<Vec<Value>> {
    let ty = cx.ty(x);
    let [b, s, h, count, d] = ty.dims.as_slice() else { bail!("expects [b,s,h,{n},d], got {ty}") };
    if count.as_const() != Some(n) {
        bail!("expects [b,s,h,{n},d], got {ty}");
    }
    let apart = cx.add_node(Split { axis: 3, sizes: vec![Dim::constant(1); n] }, &[Some(x)])?;
    let flat = |cx: &mut NodeCx, part: Value| {
        let part = reshape(cx, part, vec![b.clone(), s.clone(), h.clone(), d.clone()])?;
        transpose(cx, part, &[0, 2, 1, 3])
    };
    apart.into_iter().map(|part| flat(cx, part)).collect()
}

/// The biases of queries, keys and values, which follow one another.
fn biases(cx: &mut NodeCx, bias: Value, all: &[Value; 3], heads: usize) -> OpResult<Vec<Value>> {
    let width = |x: &Value| {
        let dims = cx.ty(*x).dims;
        match dims.as_slice() {
            [_, _, width] => Some(width.clone()),
            [_, _, _, d] => d.mul(&Dim::constant(heads)),
            _ => None,
        }
    };
    let sizes = all.iter().map(|x| width(x).ok_or("expects an axis of heads")).collect::<Result<_, _>>()?;
    cx.add_node(Split { axis: 0, sizes }, &[Some(bias)])
}

/// What is added to the scores of keys that are not to be seen. A mask `[b,t]` or `[b,s,t]` says which are, `[b]` how many, and
/// `[2b]` where those end, then where they begin. There are as many keys as the axes `keys` have elements together.
pub fn key_mask(cx: &mut NodeCx, mask: Value, batch: &Dim, keys: &[(Value, usize)]) -> OpResult<Value> {
    let (elem, ty) = (cx.ty(keys[0].0).elem, cx.ty(mask));
    let seen = match ty.dims.as_slice() {
        [n] if n == batch => before(cx, mask, keys)?,
        [n] if Some(n) == batch.mul(&Dim::constant(2)).as_ref() => {
            let sizes = vec![batch.clone(); 2];
            let halves = cx.add_node(Split { axis: 0, sizes }, &[Some(mask)])?;
            let index = positions(cx, keys)?;
            let start = cast(cx, halves[1], Elem::I64)?;
            let start = aligned(cx, start, 4, &[0])?;
            let (behind, inside) =
                (before(cx, halves[0], keys)?, cx.add(GreaterOrEqual {}, &[index, start])?);
            cx.add(And {}, &[behind, inside])?
        }
        [_, _] | [_, _, _] => {
            let axes: &[usize] = if ty.rank() == 2 { &[0, 3] } else { &[0, 2, 3] };
            let mask = aligned(cx, mask, 4, axes)?;
            if ty.elem == Elem::Bool {
                mask
            } else {
                let zero = scalar(cx, ty.elem, 0.0)?;
                cx.add(Greater {}, &[mask, zero])?
            }
        }
        _ => bail!("a mask of keys {ty} is not supported"),
    };
    let shown = scalar(cx, elem, 0.0)?;
    let hidden = scalar(cx, elem, cx.attr_float("mask_filter_value", -10000.0)?.into())?;
    cx.add(Where {}, &[seen, shown, hidden])
}

/// Which keys are before `ends`, one a sequence.
fn before(cx: &mut NodeCx, ends: Value, keys: &[(Value, usize)]) -> OpResult<Value> {
    let ends = cast(cx, ends, Elem::I64)?;
    let (index, ends) = (positions(cx, keys)?, aligned(cx, ends, 4, &[0])?);
    cx.add(Less {}, &[index, ends])
}

/// `0, 1, …`, as many as the axes have elements together.
fn positions(cx: &mut NodeCx, keys: &[(Value, usize)]) -> OpResult<Value> {
    let (mut count, mut limit) = (Dim::constant(0), None);
    for (x, axis) in keys {
        let dims = cx.ty(*x).dims;
        count = sum(&count, dims.get(*axis).ok_or("an axis is missing")?)?;
        let n = size(cx, *x, *axis)?;
        limit = Some(match limit {
            Some(limit) => cx.add(Add {}, &[limit, n])?,
            None => n,
        });
    }
    let (start, delta) = (scalar(cx, Elem::I64, 0.0)?, scalar(cx, Elem::I64, 1.0)?);
    cx.add(Range { count }, &[start, limit.ok_or("there are no keys")?, delta])
}
