//! QuantizeLinear and DequantizeLinear: which elements a scale is for.

use trine_ir::ops::{DequantizeLinear, QuantizeLinear};
use trine_ir::{Elem, OpResult, Value, bail};

use super::super::NodeCx;
use super::is_single;

pub fn quantize(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.opt(2));
    let stated = output_type(cx)?;
    let to = match (zero.map(|z| cx.ty(z).elem), stated) {
        (Some(zero), Some(stated)) if zero != stated => {
            bail!("the zero point is {zero}, but the result {stated}")
        }
        (Some(elem), _) | (None, Some(elem)) => elem,
        (None, None) => Elem::U8,
    };
    let (axis, block) = scope(cx, x, scale)?;
    if to.is_small_float() && !cx.attr_bool("saturate", true)? {
        bail!("values that are too large saturate in {to}; `saturate` 0 is not supported");
    }
    cx.add_node(QuantizeLinear { axis, block, to }, &[Some(x), Some(scale), zero])
}

pub fn dequantize(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.opt(2));
    let to = output_type(cx)?.unwrap_or(cx.ty(scale).elem);
    let (axis, block) = scope(cx, x, scale)?;
    cx.add_node(DequantizeLinear { axis, block, to }, &[Some(x), Some(scale), zero])
}

fn output_type(cx: &NodeCx) -> OpResult<Option<Elem>> {
    match cx.attr_int("output_dtype", 0)? {
        0 => Ok(None),
        _ => cx.attr_elem("output_dtype"),
    }
}

/// The axis along which scales differ, and how many elements share one.
fn scope(cx: &NodeCx, x: Value, scale: Value) -> OpResult<(Option<usize>, Option<usize>)> {
    let block = match usize::try_from(cx.attr_int("block_size", 0)?) {
        Ok(block) => Some(block).filter(|b| *b > 0),
        Err(_) => bail!("`block_size` is negative"),
    };
    if block.is_none() && is_single(cx, scale) && cx.rank(scale) <= 1 {
        return Ok((None, None));
    }
    let axis = cx.axis(cx.attr_int("axis", 1)?, cx.rank(x))?;
    Ok((Some(axis), block))
}
