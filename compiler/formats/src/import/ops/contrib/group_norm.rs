//! GroupNorm and SkipGroupNorm of onnxruntime, whose channels mostly come last.

use trine_ir::ops::{Add, Mul, Silu};
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::NodeCx;
use super::channels_last::{channels_first, channels_last};
use super::nn::{aligned, attr_count, cast, layer_norm, product, quotient, reshape};

/// GroupNorm-1.
pub fn group_norm(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    Ok(vec![normed(cx, x)?])
}

/// SkipGroupNorm-1: of input, skip and bias together, which are result 1.
pub fn skip_group_norm(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, mut skip) = (cx.input(0)?, cx.input(3)?);
    let rank = cx.rank(x);
    let channels = if cx.attr_bool("channels_last", true)? { rank.saturating_sub(1) } else { 1 };
    if cx.rank(skip) == 2 {
        skip = aligned(cx, skip, rank, &[0, channels])?;
    }
    let mut sum = cx.add(Add {}, &[x, skip])?;
    if let Some(bias) = cx.opt(4) {
        let bias = aligned(cx, bias, rank, &[channels])?;
        sum = cx.add(Add {}, &[sum, bias])?;
    }
    if cx.ty(sum) != cx.ty(x) {
        bail!("skip and bias do not broadcast to {}", cx.ty(x));
    }
    Ok(vec![normed(cx, sum)?, sum])
}

/// `gain · (x - mean) / sqrt(variance + eps) + bias` over the channels of a group at all positions, in f32 at least.
fn normed(cx: &mut NodeCx, x: Value) -> OpResult<Value> {
    let (gain, bias) = (cx.input(1)?, cx.input(2)?);
    let (groups, eps) = (attr_count(cx, "groups")?, cx.attr_float("epsilon", 1e-5)?);
    let last = cx.attr_bool("channels_last", true)?;
    let elem = cx.ty(x).elem;
    let x = if last { channels_first(cx, x)? } else { x };
    let x = cast(cx, x, Elem::F32)?;
    let ty = cx.ty(x);
    if ty.rank() < 3 {
        bail!("expects channels and positions, got {ty}");
    }
    let each = quotient(&ty.dims[1], groups, "channels a group")?;
    let rest = product(&[&[each], &ty.dims[2..]].concat())?;
    let grouped = reshape(cx, x, vec![ty.dims[0].clone(), Dim::constant(groups), rest])?;
    let y = layer_norm(cx, grouped, None, None, 2, eps)?;
    let y = reshape(cx, y, ty.dims.clone())?;
    let (gain, bias) = (cast(cx, gain, Elem::F32)?, cast(cx, bias, Elem::F32)?);
    let (gain, bias) = (aligned(cx, gain, ty.rank(), &[1])?, aligned(cx, bias, ty.rank(), &[1])?);
    let y = cx.add(Mul {}, &[y, gain])?;
    let mut y = cx.add(Add {}, &[y, bias])?;
    if cx.ty(y) != ty {
        bail!("gain and bias do not fit {ty}");
    }
    match cx.attr_int("activation", 0)? {
        0 => {}
        1 => y = cx.add(Silu {}, &[y])?,
        other => bail!("`activation` is 0 for none or 1 for SiLU, not {other}"),
    }
    let y = cast(cx, y, elem)?;
    if last { channels_last(cx, y) } else { Ok(y) }
}
