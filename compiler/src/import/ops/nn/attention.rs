//! Attention of ONNX: heads apart, masks combined; in primitives where its scores are asked for.

use trine_ir::attr::Flag;
use trine_ir::ops::{
    Add, And, Attention, Concat, Div, Greater, Less, LessOrEqual, Matmul, Mul, Softmax, Sub, Tanh, Where,
};
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::{
    NodeCx, aligned, attr_count, cast, expand, positions, product, quotient, reshape, scalar, size, sum,
    transpose,
};

/// Attention-23, 24.
pub fn attention(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (mut q, mut k, mut v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (mut mask, past_k, past_v) = (cx.opt(3), cx.opt(4), cx.opt(5));
    let packed = cx.rank(q) == 3;
    if packed {
        let (heads, kv_heads) = (attr_count(cx, "q_num_heads")?, attr_count(cx, "kv_num_heads")?);
        (q, k, v) =
            (split_heads(cx, q, heads)?, split_heads(cx, k, kv_heads)?, split_heads(cx, v, kv_heads)?);
    }
    if [q, k, v].iter().any(|x| cx.rank(*x) != 4) {
        bail!("expects q, k and v of three axes or of four");
    }
    let scale = match cx.attr_float_opt("scale")? {
        Some(scale) => scale,
        None => default_scale(cx, q)?,
    };
    let op = Attention {
        scale,
        causal: cx.attr_bool("is_causal", false)?,
        softcap: cx.attr_float("softcap", 0.0)?,
        hidden: None,
        nan_unseen: Flag(false),
        zero_nan: Flag(false),
    };
    if let Some(lengths) = cx.opt(6) {
        if past_k.is_some() {
            bail!("`nonpad_kv_seqlen` goes with keys that hold the past already, not with `past_key`");
        }
        mask = Some(within_lengths(cx, k, lengths, mask)?);
    } else if let Some(given) = mask {
        let new = cx.ty(k).dims[2].clone();
        let total = match past_k.map(|p| cx.ty(p).dims) {
            Some(past) => sum(past.get(2).ok_or("`past_key` is not [b,h,p,d]")?, &new)?,
            None => new,
        };
        mask = Some(padded(cx, given, &total)?);
    }
    let (y, k, v, scores) = if cx.wants(3) {
        let mode = cx.attr_int("qk_matmul_output_mode", 0)?;
        in_primitives(cx, &op, [q, k, v], mask, past_k.zip(past_v), mode)?
    } else {
        let results = cx.add_node(op, &present(&[Some(q), Some(k), Some(v), mask, past_k, past_v]))?;
        match results[..] {
            [y, present_k, present_v] => (y, present_k, present_v, y),
            _ => (results[0], k, v, results[0]),
        }
    };
    let y = if packed { merge_heads(cx, y)? } else { y };
    Ok(vec![y, k, v, scores])
}

/// `[b,s,h·d]` as `[b,h,s,d]`.
pub fn split_heads(cx: &mut NodeCx, x: Value, heads: usize) -> OpResult<Value> {
    let ty = cx.ty(x);
    let [b, s, hidden] = ty.dims.as_slice() else {
        bail!("expects heads in one axis, as [b,s,h·d], got {ty}")
    };
    let d = quotient(hidden, heads, "the size of a head")?;
    let x = reshape(cx, x, vec![b.clone(), s.clone(), Dim::constant(heads), d])?;
    transpose(cx, x, &[0, 2, 1, 3])
}

/// `[b,h,s,d]` as `[b,s,h·d]`.
pub fn merge_heads(cx: &mut NodeCx, x: Value) -> OpResult<Value> {
    let x = transpose(cx, x, &[0, 2, 1, 3])?;
    let dims = cx.ty(x).dims;
    reshape(cx, x, vec![dims[0].clone(), dims[1].clone(), product(&dims[2..])?])
}

/// `1 / sqrt(d)`.
pub fn default_scale(cx: &NodeCx, q: Value) -> OpResult<f32> {
    match cx.ty(q).back(0).and_then(Dim::as_const) {
        Some(d) if d > 0 => Ok((1.0 / (d as f64).sqrt()) as f32),
        _ => bail!("the size of a head of {} is not known", cx.ty(q)),
    }
}

/// Operands up to the last that is present.
pub fn present(operands: &[Option<Value>]) -> Vec<Option<Value>> {
    let len = operands.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
    operands[..len].to_vec()
}

/// A mask whose last axis is shorter than the keys hides those that it does not reach.
fn padded(cx: &mut NodeCx, mask: Value, total: &Dim) -> OpResult<Value> {
    let ty = cx.ty(mask);
    let (Some(have), Some(total)) = (ty.back(0).and_then(Dim::as_const), total.as_const()) else {
        return Ok(mask);
    };
    if have >= total {
        return Ok(mask);
    }
    let hidden = scalar(cx, ty.elem, if ty.elem == Elem::Bool { 0.0 } else { f64::NEG_INFINITY })?;
    let mut dims = ty.dims.clone();
    dims[ty.rank() - 1] = Dim::constant(total - have);
    let hidden = expand(cx, hidden, dims)?;
    cx.add(Concat { axis: ty.rank() - 1 }, &[mask, hidden])
}

/// `mask`, and keys from `lengths[b]` on hidden.
fn within_lengths(cx: &mut NodeCx, k: Value, lengths: Value, mask: Option<Value>) -> OpResult<Value> {
    let index = positions(cx, k, 2)?;
    let lengths = cast(cx, lengths, Elem::I64)?;
    let (index, lengths) = (aligned(cx, index, 4, &[3])?, aligned(cx, lengths, 4, &[0])?);
    let inside = cx.add(Less {}, &[index, lengths])?;
    let Some(mask) = mask else { return Ok(inside) };
    let mask = padded(cx, mask, &cx.ty(k).dims[2].clone())?;
    hide(cx, inside, mask)
}

/// `mask` where `seen`, else hidden.
pub fn hide(cx: &mut NodeCx, seen: Value, mask: Value) -> OpResult<Value> {
    match cx.ty(mask).elem {
        Elem::Bool => cx.add(And {}, &[seen, mask]),
        elem => {
            let hidden = scalar(cx, elem, f64::NEG_INFINITY)?;
            cx.add(Where {}, &[seen, mask, hidden])
        }
    }
}

/// Which keys a query sees, by positions: those up to its own, and with `width` only so many.
pub fn up_to(cx: &mut NodeCx, keys: Value, queries: Value, width: Option<usize>) -> OpResult<Value> {
    let seen = cx.add(LessOrEqual {}, &[keys, queries])?;
    let Some(width) = width else { return Ok(seen) };
    let width = scalar(cx, Elem::I64, width as f64)?;
    let before = cx.add(Sub {}, &[queries, width])?;
    let near = cx.add(Greater {}, &[keys, before])?;
    cx.add(And {}, &[seen, near])
}

/// Result, present keys and values, and the scores that `mode` asks for.
fn in_primitives(
    cx: &mut NodeCx,
    op: &Attention,
    [q, mut k, mut v]: [Value; 3],
    mask: Option<Value>,
    past: Option<(Value, Value)>,
    mode: i64,
) -> OpResult<(Value, Value, Value, Value)> {
    if let Some((past_k, past_v)) = past {
        k = cx.add(Concat { axis: 2 }, &[past_k, k])?;
        v = cx.add(Concat { axis: 2 }, &[past_v, v])?;
    }
    let elem = cx.ty(q).elem;
    let (keys, values) = (shared_heads(cx, k, q)?, shared_heads(cx, v, q)?);
    let raw = cx.add(Matmul { trans_b: true }, &[q, keys])?;
    let scale = scalar(cx, elem, op.scale.into())?;
    let raw = cx.add(Mul {}, &[raw, scale])?;
    let mut capped = raw;
    if op.softcap > 0.0 {
        let cap = scalar(cx, elem, op.softcap.into())?;
        let x = cx.add(Div {}, &[raw, cap])?;
        let x = cx.add(Tanh {}, &[x])?;
        capped = cx.add(Mul {}, &[x, cap])?;
    }
    let mut masked = capped;
    if let Some(mask) = mask {
        masked = if cx.ty(mask).elem == Elem::Bool {
            hide(cx, mask, masked)?
        } else {
            cx.add(Add {}, &[masked, mask])?
        };
    }
    if op.causal {
        let (keys, queries) = (positions(cx, k, 2)?, positions(cx, q, 2)?);
        let mut queries = aligned(cx, queries, 2, &[0])?;
        if let Some((past, _)) = past {
            let before = size(cx, past, 2)?;
            queries = cx.add(Add {}, &[queries, before])?;
        }
        let seen = up_to(cx, keys, queries, None)?;
        masked = hide(cx, seen, masked)?;
    }
    let weights = cx.add(Softmax { axis: 3 }, &[masked])?;
    let y = cx.add(Matmul { trans_b: false }, &[weights, values])?;
    let scores = match mode {
        0 => raw,
        1 => capped,
        2 => masked,
        3 => weights,
        _ => bail!("`qk_matmul_output_mode` is 0 to 3, not {mode}"),
    };
    Ok((y, k, v, scores))
}

/// Key or value heads repeated for each query head that shares them.
fn shared_heads(cx: &mut NodeCx, x: Value, q: Value) -> OpResult<Value> {
    let (dims, h) = (cx.ty(x).dims, cx.ty(q).dims[1].clone());
    if dims[1] == h {
        return Ok(x);
    }
    let Some((h, kv)) = h.as_const().zip(dims[1].as_const()) else {
        bail!("the number of heads is not known")
    };
    let each = quotient(&Dim::constant(h), kv, "query heads a key head")?;
    let [b, t, d] = [0, 2, 3].map(|i| dims[i].clone());
    let apart = reshape(cx, x, vec![b.clone(), kv.into(), 1.into(), t.clone(), d.clone()])?;
    let repeated = expand(cx, apart, vec![b.clone(), kv.into(), each, t.clone(), d.clone()])?;
    reshape(cx, repeated, vec![b, h.into(), t, d])
}
