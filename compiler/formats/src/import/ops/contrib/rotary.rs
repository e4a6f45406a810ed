//! onnxruntime's rotary position embedding.

use trine_ir::ops::Add;
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::NodeCx;
use super::nn::{aligned, cast, gather_tables, positions, rotary};

/// RotaryEmbedding-1. Position ids of one element are where the sequence starts.
pub fn rotary_embedding(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, ids) = (cx.input(0)?, cx.input(1)?);
    let tables = (cx.input(2)?, cx.input(3)?);
    if cx.attr_bool("is_packed_batching", false)? || cx.attr_float("scale", 1.0)? != 1.0 {
        bail!("packed batches and scales are not supported");
    }
    let (rank, sequence) = (cx.rank(x), if cx.rank(x) == 4 { 2 } else { 1 });
    let mut ids = cast(cx, ids, Elem::I64)?;
    if cx.rank(ids) < 2 {
        let steps = positions(cx, x, sequence)?;
        let steps = cx.add(Add {}, &[steps, ids])?;
        ids = aligned(cx, steps, 2, &[1])?;
    }
    let tables = gather_tables(cx, tables, ids)?;
    let heads = if rank == 3 { Some(heads(cx, x, tables.0)?) } else { None };
    let interleaved = cx.attr_bool("interleaved", false)?;
    Ok(vec![rotary(cx, x, heads, tables, interleaved)?])
}

/// The attribute, or else as many heads as full tables of half a head's size make.
fn heads(cx: &NodeCx, x: Value, table: Value) -> OpResult<usize> {
    if let Some(heads) = cx.attr_int_opt("num_heads")?.filter(|n| *n > 0) {
        return Ok(usize::try_from(heads).map_err(|e| e.to_string())?);
    }
    let sizes = cx.ty(x).back(0).and_then(Dim::as_const).zip(cx.ty(table).back(0).and_then(Dim::as_const));
    match sizes {
        Some((hidden, half)) if half > 0 => Ok(hidden / half / 2),
        _ => bail!("the number of heads is not known"),
    }
}
