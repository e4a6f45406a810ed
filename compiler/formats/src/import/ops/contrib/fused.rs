//! Convolutions and products with an activation after them.

use trine_ir::ops::*;
use trine_ir::{Elem, Op, OpResult, Value, bail};

use super::NodeCx;
use super::nn::{gemm, scalar};
use super::{conv, matmul};

/// FusedConv-1: what may be added to the result is input 3.
pub fn fused_conv(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, w, bias) = (cx.input(0)?, cx.input(1)?, cx.opt(2));
    let mut y = conv::conv(cx, x, w, bias)?;
    if let Some(z) = cx.opt(3) {
        let sum = cx.add(Add {}, &[y, z])?;
        if cx.ty(sum) != cx.ty(y) {
            bail!("{} is added to {}", cx.ty(z), cx.ty(y));
        }
        y = sum;
    }
    let params = cx.attr_floats("activation_params")?.unwrap_or_default().to_vec();
    Ok(vec![activation(cx, y, &params)?])
}

/// FusedGemm-1, whose activation's parameters have attributes of their own.
pub fn fused_gemm(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let y = gemm(cx)?[0];
    let params = gemm_params(cx)?;
    Ok(vec![activation(cx, y, &params)?])
}

/// FusedMatMulActivation-1.
pub fn fused_matmul_activation(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let y = matmul::fused_matmul(cx)?[0];
    if let Some(axis) = cx.attr_int_opt("activation_axis")?
        && cx.attr_str("activation", "")? == "Softmax"
    {
        let axis = cx.axis(axis, cx.rank(y))?;
        return Ok(vec![cx.add(Softmax { axis }, &[y])?]);
    }
    let params = gemm_params(cx)?;
    Ok(vec![activation(cx, y, &params)?])
}

fn gemm_params(cx: &NodeCx) -> OpResult<Vec<f32>> {
    let mut params = vec![];
    for name in ["activation_alpha", "activation_beta", "activation_gamma"] {
        match cx.attr_float_opt(name)? {
            Some(value) => params.push(value),
            None => break,
        }
    }
    Ok(params)
}

/// The node's `activation` of `y`. Those of `params` that are not there have ONNX's defaults.
pub fn activation(cx: &mut NodeCx, y: Value, params: &[f32]) -> OpResult<Value> {
    let name = cx.attr_str("activation", "")?;
    let param = |i: usize, default: f32| params.get(i).copied().unwrap_or(default);
    let op: Op = match name {
        "" => return Ok(y),
        "Relu" => Relu {}.into(),
        "Tanh" => Tanh {}.into(),
        "Sigmoid" => Sigmoid {}.into(),
        "Softplus" => Softplus {}.into(),
        "Softsign" => Softsign {}.into(),
        "HardSwish" => HardSwish {}.into(),
        "LeakyRelu" => LeakyRelu { alpha: param(0, 0.01) }.into(),
        "Elu" => Elu { alpha: param(0, 1.0) }.into(),
        "ThresholdedRelu" => ThresholdedRelu { alpha: param(0, 1.0) }.into(),
        "Selu" => Selu { alpha: param(0, 1.673_263_2), gamma: param(1, 1.050_701) }.into(),
        "HardSigmoid" => HardSigmoid { alpha: param(0, 0.2), beta: param(1, 0.5) }.into(),
        "Gelu" => Gelu { form: GeluForm::Erf }.into(),
        "Clip" => {
            let elem = cx.ty(y).elem;
            if !matches!(elem, Elem::F32 | Elem::F64 | Elem::F16 | Elem::Bf16) {
                bail!("a clip of {elem} is not supported");
            }
            let (low, high) = (param(0, f32::MIN), param(1, f32::MAX));
            let (low, high) = (scalar(cx, elem, low.into())?, scalar(cx, elem, high.into())?);
            return cx.add(Clip {}, &[y, low, high]);
        }
        other => bail!("there is no activation `{}`", other.escape_debug()),
    };
    cx.add(op, &[y])
}

/// ConvTransposeWithDynamicPads-1: pads are input 2, the bias is input 3.
pub fn conv_transpose_with_pads(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let pads = match cx.opt(2) {
        None => None,
        Some(pads) => match cx.const_ints(pads) {
            Some(pads) => Some(pads),
            None => bail!("pads must be known when the model is compiled"),
        },
    };
    conv::conv_transpose_of(cx, cx.opt(3), pads)
}
