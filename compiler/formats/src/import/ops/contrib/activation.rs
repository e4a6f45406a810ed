//! GELUs with what stands before them.

use trine_ir::ops::{Add, Gelu, GeluForm, Swish};
use trine_ir::{OpResult, Value};

use super::NodeCx;

/// Gelu-1.
pub fn gelu(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    Ok(vec![cx.add(Gelu { form: GeluForm::Erf }, &[x])?])
}

/// FastGelu-1: GELU by tanh, of the input plus a bias if there is one.
pub fn fast_gelu(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let mut x = cx.input(0)?;
    if let Some(bias) = cx.opt(1) {
        x = cx.add(Add {}, &[x, bias])?;
    }
    Ok(vec![cx.add(Gelu { form: GeluForm::Tanh }, &[x])?])
}

/// BiasGelu-1.
pub fn bias_gelu(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, bias) = (cx.input(0)?, cx.input(1)?);
    let x = cx.add(Add {}, &[x, bias])?;
    Ok(vec![cx.add(Gelu { form: GeluForm::Erf }, &[x])?])
}

/// QuickGelu-1: `x · sigmoid(alpha · x)`.
pub fn quick_gelu(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let alpha = cx.attr_float("alpha", 1.702)?;
    Ok(vec![cx.add(Swish { alpha }, &[x])?])
}
