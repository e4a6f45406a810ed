//! Rotary position embedding.

use trine_ir::ops::{Gather, Rotary};
use trine_ir::{Dim, OpResult, Value, bail};

use super::{NodeCx, attr_count, merge_heads, reshape, split_heads};

/// RotaryEmbedding-23.
pub fn rotary_embedding(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, mut tables) = (cx.input(0)?, (cx.input(1)?, cx.input(2)?));
    if let Some(ids) = cx.opt(3) {
        tables = gather_tables(cx, tables, ids)?;
    }
    let heads = if cx.rank(x) == 3 { Some(attr_count(cx, "num_heads")?) } else { None };
    let interleaved = cx.attr_bool("interleaved", false)?;
    Ok(vec![rotary(cx, x, heads, tables, interleaved)?])
}

/// Rows `ids`, `[b,s]`, of tables `[positions, r/2]`.
pub fn gather_tables(cx: &mut NodeCx, tables: (Value, Value), ids: Value) -> OpResult<(Value, Value)> {
    Ok((cx.add(Gather { axis: 0 }, &[tables.0, ids])?, cx.add(Gather { axis: 0 }, &[tables.1, ids])?))
}

/// Rotates `x`, `[b,h,s,d]` or, with the number of heads, `[b,s,h·d]`, by tables `[b|1,s,r/2]`.
pub fn rotary(
    cx: &mut NodeCx,
    x: Value,
    heads: Option<usize>,
    tables: (Value, Value),
    interleaved: bool,
) -> OpResult<Value> {
    let split = match heads {
        Some(heads) => split_heads(cx, x, heads)?,
        None => x,
    };
    let d = cx.ty(split).back(0).cloned();
    let half = cx.ty(tables.0).back(0).and_then(Dim::as_const);
    let rotated = match cx.attr_int("rotary_embedding_dim", 0)? {
        0 => d.as_ref().and_then(Dim::as_const),
        r => Some(usize::try_from(r).map_err(|_| format!("`rotary_embedding_dim` is {r}"))?),
    };
    if let (Some(half), Some(rotated)) = (half, rotated)
        && half.checked_mul(2) != Some(rotated)
    {
        bail!("tables turn {half} pairs, and {rotated} elements of a head are to turn");
    }
    let y = cx.add(Rotary { interleaved, rounded: None }, &[split, tables.0, tables.1])?;
    match heads {
        Some(_) => merge_heads(cx, y),
        None => reshape(cx, y, cx.ty(x).dims),
    }
}

/// Rotates the first elements of heads `[b,h,s,d]`, as many as tables `[b|1,s,r/2]` are for.
pub fn rotary_of_part(
    cx: &mut NodeCx,
    x: Value,
    tables: (Value, Value),
    interleaved: bool,
) -> OpResult<Value> {
    cx.add(Rotary { interleaved, rounded: None }, &[x, tables.0, tables.1])
}
