//! Attention of ONNX: heads apart, masks combined; in primitives where its scores are asked for.

use trine_ir::attr::Flag;
use trine_ir::ops::{
    Add, And, Attention, Concat, Div, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Matmul, Mul, Range,
    ReduceMax, Softmax, Sub, Tanh, Where,
};
use trine_ir::{Dim, Elem, OpResult, Tensor, Value, bail};

use super::{
    NodeCx, aligned, attr_count, cast, expand, positions, product, quotient, reshape, scalar, size, sum,
    transpose,
};

/// Attention-23 to 25.
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
    let mut op = Attention {
        scale,
        causal: cx.attr_bool("is_causal", false)?,
        softcap: cx.attr_float("softcap", 0.0)?,
        hidden: None,
        nan_unseen: Flag(false),
        zero_nan: Flag(false),
    };
    let mut window = Window { left: side(cx, "left_window_size")?, right: side(cx, "right_window_size")? };
    let total = match past_k.map(|p| cx.ty(p).dims) {
        Some(past) => sum(past.get(2).ok_or("`past_key` is not [b,h,p,d]")?, &cx.ty(k).dims[2])?,
        None => cx.ty(k).dims[2].clone(),
    };
    if let Some(given) = mask {
        mask = Some(padded(cx, given, &total)?);
    }
    if let Some(lengths) = cx.opt(6) {
        if past_k.is_some() {
            bail!("`nonpad_kv_seqlen` goes with keys that hold the past already, not with `past_key`");
        }
        if std::mem::take(&mut op.causal) {
            window.right = Some(0);
        }
        mask = Some(within_lengths(cx, [q, k], lengths, mask, &window)?);
    } else if window.left.is_some() || window.right.is_some() {
        mask = Some(within_window(cx, q, k, past_k, mask, &window)?);
    }
    let precision = cx.attr_elem("softmax_precision")?.unwrap_or(cx.ty(q).elem);
    // Softmax is computed in f32 at least, of which what it is rounded to afterwards does not tell.
    let narrow = precision.bits() < cx.ty(q).elem.bits();
    let (y, k, v, scores) = if cx.wants(3) || narrow {
        let mode = cx.attr_int("qk_matmul_output_mode", 0)?;
        in_primitives(cx, &op, [q, k, v], mask, past_k.zip(past_v), mode, precision)?
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

/// A mask whose last axis is shorter than the keys hides those that it does not reach. Where its length is open it is
/// taken to be that of the keys, which exporters call by another name.
fn padded(cx: &mut NodeCx, mask: Value, total: &Dim) -> OpResult<Value> {
    let ty = cx.ty(mask);
    let Some(have) = ty.back(0) else { return Ok(mask) };
    let (have, total) = match (have.as_const(), total.as_const()) {
        (Some(have), Some(total)) => (have, total),
        (None, _) => {
            cx.require(have, total);
            return Ok(mask);
        }
        (Some(_), None) => return Ok(mask),
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

/// How far from its own position a query sees, to either side; `None` is without bound.
struct Window {
    left: Option<i64>,
    right: Option<i64>,
}

fn side(cx: &NodeCx, name: &str) -> OpResult<Option<i64>> {
    match cx.attr_int(name, -1)? {
        -1 => Ok(None),
        // There are not so many positions.
        n @ 0.. => Ok(Some(n.min(i32::MAX.into()))),
        n => bail!("`{name}` is {n}, neither a number of positions nor -1"),
    }
}

/// `mask`, and keys from `lengths[b]` on hidden. The queries are the last of so many positions, and see of these what
/// is in `window`.
fn within_lengths(
    cx: &mut NodeCx,
    [q, k]: [Value; 2],
    lengths: Value,
    mask: Option<Value>,
    window: &Window,
) -> OpResult<Value> {
    let keys = positions(cx, k, 2)?;
    let keys = aligned(cx, keys, 4, &[3])?;
    let lengths = cast(cx, lengths, Elem::I64)?;
    let lengths = aligned(cx, lengths, 4, &[0])?;
    // The last query stands at the last valid key: a window that ends there leaves out what is not valid.
    let inside = match window.right {
        Some(0) => None,
        _ => Some(cx.add(Less {}, &[keys, lengths])?),
    };
    let queries = positions(cx, q, 2)?;
    let (queries, new) = (aligned(cx, queries, 4, &[2])?, size(cx, q, 2)?);
    let before = cx.add(Sub {}, &[lengths, new])?;
    let queries = cx.add(Add {}, &[queries, before])?;
    let near = in_window(cx, keys, queries, window)?;
    all_of(cx, [inside, near], mask)
}

/// `mask`, and keys outside of `window` hidden.
fn within_window(
    cx: &mut NodeCx,
    q: Value,
    k: Value,
    past: Option<Value>,
    mask: Option<Value>,
    window: &Window,
) -> OpResult<Value> {
    let (mut keys, mut queries) = (positions(cx, k, 2)?, positions(cx, q, 2)?);
    queries = aligned(cx, queries, 2, &[0])?;
    if let Some(past) = past {
        let count = sum(&cx.ty(past).dims[2], &cx.ty(k).dims[2])?;
        let (start, before, new) = (scalar(cx, Elem::I64, 0.0)?, size(cx, past, 2)?, size(cx, k, 2)?);
        let (limit, step) = (cx.add(Add {}, &[before, new])?, scalar(cx, Elem::I64, 1.0)?);
        keys = cx.add(Range { count }, &[start, limit, step])?;
        queries = cx.add(Add {}, &[queries, before])?;
    }
    let near = in_window(cx, keys, queries, window)?;
    all_of(cx, [near, None], mask)
}

/// Which keys are in the window around queries, by positions; `None` where all are.
fn in_window(cx: &mut NodeCx, keys: Value, queries: Value, window: &Window) -> OpResult<Option<Value>> {
    let mut near = None;
    if let Some(left) = window.left {
        let left = integer(cx, left);
        let first = cx.add(Sub {}, &[queries, left])?;
        near = Some(cx.add(GreaterOrEqual {}, &[keys, first])?);
    }
    if let Some(right) = window.right {
        let last = match right {
            0 => queries,
            right => {
                let right = integer(cx, right);
                cx.add(Add {}, &[queries, right])?
            }
        };
        let before = cx.add(LessOrEqual {}, &[keys, last])?;
        near = Some(match near {
            Some(near) => cx.add(And {}, &[near, before])?,
            None => before,
        });
    }
    Ok(near)
}

fn integer(cx: &mut NodeCx, value: i64) -> Value {
    cx.constant(Tensor::scalar(value))
}

/// What all of the given masks leave.
fn all_of(cx: &mut NodeCx, seen: [Option<Value>; 2], mask: Option<Value>) -> OpResult<Value> {
    let seen = match seen {
        [Some(a), Some(b)] => cx.add(And {}, &[a, b])?,
        [Some(seen), None] | [None, Some(seen)] => seen,
        [None, None] => bail!("there is nothing to hide"),
    };
    match mask {
        Some(mask) => hide(cx, seen, mask),
        None => Ok(seen),
    }
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

/// Result, present keys and values, and the scores that `mode` asks for; the softmax is in `precision`.
fn in_primitives(
    cx: &mut NodeCx,
    op: &Attention,
    [q, mut k, mut v]: [Value; 3],
    mask: Option<Value>,
    past: Option<(Value, Value)>,
    mode: i64,
    precision: Elem,
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
    let scores = cast(cx, masked, precision)?;
    let weights = cx.add(Softmax { axis: 3 }, &[scores])?;
    let mut weights = cast(cx, weights, elem)?;
    if op.causal || mask.is_some() {
        // Weights of nothing are 0, not NaN.
        let best = cx.add(ReduceMax { axes: vec![3], keepdims: true }, &[masked])?;
        let (nothing, zero) = (scalar(cx, elem, f64::NEG_INFINITY)?, scalar(cx, elem, 0.0)?);
        let blind = cx.add(Equal {}, &[best, nothing])?;
        weights = cx.add(Where {}, &[blind, zero, weights])?;
    }
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
pub fn shared_heads(cx: &mut NodeCx, x: Value, q: Value) -> OpResult<Value> {
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
