//! Matrix products of ONNX.

use trine_ir::ops::{Add, Matmul, Mul};
use trine_ir::{OpResult, Value, bail};

use super::{NodeCx, scalar, transpose};

/// MatMul-1, 9, 13.
pub fn matmul(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![cx.add(Matmul { trans_b: false }, &[a, b])?])
}

/// Gemm-1 to 13: `alpha · a·b + beta · c`; factors of one leave nothing after.
pub fn gemm(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (mut a, b, c) = (cx.input(0)?, cx.input(1)?, cx.opt(2));
    if cx.rank(a) != 2 || cx.rank(b) != 2 {
        bail!("expects matrices, got {} and {}", cx.ty(a), cx.ty(b));
    }
    if cx.attr_bool("transA", false)? {
        a = transpose(cx, a, &[1, 0])?;
    }
    let trans_b = cx.attr_bool("transB", false)?;
    let product = cx.add(Matmul { trans_b }, &[a, b])?;
    let alpha = cx.attr_float("alpha", 1.0)?;
    let y = scaled(cx, product, alpha)?;
    let beta = cx.attr_float("beta", 1.0)?;
    let Some(c) = c.filter(|_| beta != 0.0) else { return Ok(vec![y]) };
    let addend = scaled(cx, c, beta)?;
    let sum = cx.add(Add {}, &[y, addend])?;
    if cx.ty(sum) != cx.ty(y) {
        bail!("{} does not broadcast to {}", cx.ty(c), cx.ty(y));
    }
    Ok(vec![sum])
}

/// `factor · x`.
pub fn scaled(cx: &mut NodeCx, x: Value, factor: f32) -> OpResult<Value> {
    if factor == 1.0 {
        return Ok(x);
    }
    let elem = cx.ty(x).elem;
    if elem.is_int() && factor.fract() != 0.0 {
        bail!("{factor} is no {elem}");
    }
    let factor = scalar(cx, elem, factor.into())?;
    cx.add(Mul {}, &[x, factor])
}
