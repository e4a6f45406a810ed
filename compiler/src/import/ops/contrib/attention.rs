//! onnxruntime's attention with as many key heads as query heads.

use trine_ir::attr::Flag;
use trine_ir::ops::{Add, Attention, Less, Split, Where};
use trine_ir::{Elem, OpResult, Value, bail};

use super::NodeCx;
use super::nn::{
    aligned, attr_count, cast, default_scale, merge_heads, positions, present, scalar, split_heads,
};

/// MultiHeadAttention-1.
pub fn multi_head_attention(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let heads = attr_count(cx, "num_heads")?;
    if cx.opt(8).is_some() || cx.opt(9).is_some() || cx.wants(3) {
        bail!("shared buffers, beams and scores as a result are not supported");
    }
    let [q, k, v] = projections(cx, heads)?;
    let (past_k, past_v) = (cx.opt(6), cx.opt(7));
    let padding = cx.opt(4).map(|mask| key_padding(cx, mask, k)).transpose()?;
    let mask = match (padding, cx.opt(5)) {
        (Some(padding), Some(bias)) => Some(cx.add(Add {}, &[padding, bias])?),
        (padding, bias) => padding.or(bias),
    };
    let scale = match cx.attr_float("scale", 0.0)? {
        0.0 => default_scale(cx, q)?,
        scale => scale,
    };
    let causal = cx.attr_bool("unidirectional", false)?;
    let op = Attention {
        scale,
        causal,
        softcap: 0.0,
        hidden: None,
        nan_unseen: Flag(false),
        zero_nan: Flag(false),
    };
    let results = cx.add_node(op, &present(&[Some(q), Some(k), Some(v), mask, past_k, past_v]))?;
    let (present_k, present_v) = match results[..] {
        [_, k, v] => (k, v),
        _ => (k, v),
    };
    Ok(vec![merge_heads(cx, results[0])?, present_k, present_v])
}

/// Queries, keys and values as `[b,h,s,d]`, with their biases.
fn projections(cx: &mut NodeCx, heads: usize) -> OpResult<[Value; 3]> {
    let (Some(k), Some(v)) = (cx.opt(1), cx.opt(2)) else {
        bail!("queries, keys and values in one are not supported")
    };
    let mut all = [cx.input(0)?, k, v];
    if let Some(bias) = cx.opt(3) {
        let width = |cx: &NodeCx, x: Value| cx.ty(x).back(0).cloned().ok_or("expects an axis of heads");
        let sizes = all.iter().map(|x| Ok(width(cx, *x)?)).collect::<OpResult<Vec<_>>>()?;
        let biases = cx.add_node(Split { axis: 0, sizes }, &[Some(bias)])?;
        for (x, bias) in all.iter_mut().zip(biases) {
            *x = cx.add(Add {}, &[*x, bias])?;
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

/// What is added to the scores of keys that are padding: `[b,t]` says which are none, `[b]` how many.
fn key_padding(cx: &mut NodeCx, mask: Value, k: Value) -> OpResult<Value> {
    let (mask, elem) = (cast(cx, mask, Elem::I64)?, cx.ty(k).elem);
    let seen = match cx.rank(mask) {
        1 if cx.ty(mask).dims[0] == cx.ty(k).dims[0] => {
            let (keys, counts) = (positions(cx, k, 2)?, aligned(cx, mask, 4, &[0])?);
            cx.add(Less {}, &[keys, counts])?
        }
        2 | 3 => {
            let axes: &[usize] = if cx.rank(mask) == 2 { &[0, 3] } else { &[0, 2, 3] };
            let mask = aligned(cx, mask, 4, axes)?;
            cast(cx, mask, Elem::Bool)?
        }
        _ => bail!("a key padding mask {} is not supported", cx.ty(mask)),
    };
    let shown = scalar(cx, elem, 0.0)?;
    let hidden = scalar(cx, elem, cx.attr_float("mask_filter_value", -10000.0)?.into())?;
    cx.add(Where {}, &[seen, shown, hidden])
}
