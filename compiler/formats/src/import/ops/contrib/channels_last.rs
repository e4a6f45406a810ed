//! Ops on images whose channels come last, and quantized pools, which may be of either kind.

use trine_ir::ops::{Add, ReduceMean};
use trine_ir::{OpResult, Value, bail};

use super::NodeCx;
use super::conv;
use super::fused::activation;
use super::nn::transpose;
use super::quantized::{dequantized, quantized};

/// NhwcConv-1 and NhwcFusedConv-1, whose result may have something added to it before its activation.
pub fn nhwc_conv(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, w, bias) = (cx.input(0)?, cx.input(1)?, cx.opt(2));
    let x = channels_first(cx, x)?;
    let y = conv::conv(cx, x, w, bias)?;
    let mut y = channels_last(cx, y)?;
    if let Some(z) = cx.opt(3) {
        y = cx.add(Add {}, &[y, z])?;
    }
    let params = cx.attr_floats("activation_params")?.unwrap_or_default().to_vec();
    Ok(vec![activation(cx, y, &params)?])
}

/// NhwcMaxPool-1.
pub fn nhwc_max_pool(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let x = channels_first(cx, x)?;
    let y = conv::max_pool_of(cx, x)?[0];
    Ok(vec![channels_last(cx, y)?])
}

/// QLinearAveragePool-1.
pub fn qlinear_average_pool(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let last = cx.attr_bool("channels_last", false)?;
    let mut x = dequantized(cx, 0)?;
    if last {
        x = channels_first(cx, x)?;
    }
    let mut y = conv::average_pool_of(cx, x)?[0];
    if last {
        y = channels_last(cx, y)?;
    }
    quantized(cx, y, 3)
}

/// QLinearGlobalAveragePool-1.
pub fn qlinear_global_average_pool(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = dequantized(cx, 0)?;
    let rank = cx.rank(x);
    if rank < 3 {
        bail!("expects channels and positions, got {}", cx.ty(x));
    }
    let axes =
        if cx.attr_bool("channels_last", false)? { (1..rank - 1).collect() } else { (2..rank).collect() };
    let y = cx.add(ReduceMean { axes, keepdims: true }, &[x])?;
    quantized(cx, y, 3)
}

/// `[n,…,c]` as `[n,c,…]`.
pub fn channels_first(cx: &mut NodeCx, x: Value) -> OpResult<Value> {
    let rank = cx.rank(x);
    if rank < 3 {
        bail!("expects positions and channels, got {}", cx.ty(x));
    }
    let perm: Vec<_> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    transpose(cx, x, &perm)
}

/// `[n,c,…]` as `[n,…,c]`.
pub fn channels_last(cx: &mut NodeCx, x: Value) -> OpResult<Value> {
    let perm: Vec<_> = [0].into_iter().chain(2..cx.rank(x)).chain([1]).collect();
    transpose(cx, x, &perm)
}
