//! Activations.

use trine_ir::ops::*;
use trine_ir::{Elem, OpResult, Value, bail};

use super::super::nn::cast;
use super::{Mapper, NodeCx, legacy, scalar, unary};

pub(super) fn find(op_type: &str) -> Option<Mapper> {
    Some(match op_type {
        "Relu" => |cx| unary(cx, Relu {}),
        "Tanh" => |cx| unary(cx, Tanh {}),
        "Sigmoid" => |cx| unary(cx, Sigmoid {}),
        "Softplus" => |cx| unary(cx, Softplus {}),
        "Softsign" => |cx| unary(cx, Softsign {}),
        "HardSwish" => |cx| unary(cx, HardSwish {}),
        "Mish" => |cx| unary(cx, Mish {}),
        "LeakyRelu" => |cx| {
            let alpha = cx.attr_float("alpha", 0.01)?;
            unary(cx, LeakyRelu { alpha })
        },
        "ThresholdedRelu" => |cx| {
            let alpha = cx.attr_float("alpha", 1.0)?;
            unary(cx, ThresholdedRelu { alpha })
        },
        "Elu" => |cx| {
            let alpha = cx.attr_float("alpha", 1.0)?;
            unary(cx, Elu { alpha })
        },
        "Celu" => |cx| {
            let alpha = cx.attr_float("alpha", 1.0)?;
            unary(cx, Celu { alpha })
        },
        "Selu" => selu,
        "HardSigmoid" => |cx| {
            let (alpha, beta) = (cx.attr_float("alpha", 0.2)?, cx.attr_float("beta", 0.5)?);
            unary(cx, HardSigmoid { alpha, beta })
        },
        "Swish" => |cx| match cx.attr_float("alpha", 1.0)? {
            1.0 => unary(cx, Silu {}),
            alpha => unary(cx, Swish { alpha }),
        },
        "SwiGLU" => swiglu,
        "Gelu" => gelu,
        "PRelu" => prelu,
        "Shrink" => shrink,
        _ => return None,
    })
}

fn selu(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    // The defaults of opset 1 had fewer digits.
    let (alpha, gamma) = if cx.opset() < 6 { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
    let (alpha, gamma) = (cx.attr_float("alpha", alpha)?, cx.attr_float("gamma", gamma)?);
    unary(cx, Selu { alpha, gamma })
}

fn gelu(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let form = match cx.attr_str("approximate", "none")? {
        "none" => GeluForm::Erf,
        "tanh" => GeluForm::Tanh,
        other => bail!("attribute `approximate` is `{}`, not `none` or `tanh`", other.escape_debug()),
    };
    unary(cx, Gelu { form })
}

/// The second operand by `Swish` of the first.
fn swiglu(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (gate, x) = (cx.input(0)?, cx.input(1)?);
    let act = match cx.attr_float("alpha", 1.0)? {
        1.0 => cx.add(Silu {}, &[gate])?,
        alpha => cx.add(Swish { alpha }, &[gate])?,
    };
    let (a, b) = (cx.ty(gate), cx.ty(x));
    let differ = a.dims.iter().zip(&b.dims).any(|(a, b)| a.as_const() != b.as_const());
    if a.rank() != b.rank() || differ {
        bail!("the operands are of one shape, not {a} and {b}");
    }
    Ok(vec![cx.add(Mul {}, &[act, x])?])
}

/// Before opset 7, a slope of one axis is one a channel.
fn prelu(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, mut slope) = (cx.input(0)?, cx.input(1)?);
    if cx.opset() < 7 && cx.rank(slope) == 1 && cx.rank(x) > 1 {
        slope = legacy::at_axis(cx, slope, 1, cx.rank(x))?;
    }
    let y = cx.add(PRelu {}, &[x, slope])?;
    if cx.ty(y) != cx.ty(x) {
        bail!("slope {} is not broadcast to {}", cx.ty(slope), cx.ty(x));
    }
    Ok(vec![y])
}

/// `x + bias` below `-lambd`, `x - bias` above `lambd`, else 0; integers and narrow floats are widened in between.
fn shrink(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let from = cx.ty(x).elem;
    let elem = match from {
        Elem::F32 | Elem::F16 | Elem::Bf16 => Elem::F32,
        _ if from == Elem::F64 || from.is_int() && from.bits() >= 8 => Elem::F64,
        _ => bail!("expects numbers, got {}", cx.ty(x)),
    };
    let (bias, lambd) = (cx.attr_float("bias", 0.0)?, cx.attr_float("lambd", 0.5)?);
    let [zero, bias, low, high] = [0.0, bias, -lambd, lambd].map(|v| scalar(cx, elem, v.into()));
    let (zero, bias, low, high) = (zero?, bias?, low?, high?);
    let x = cast(cx, x, elem)?;
    let (below, above) = (cx.add(Less {}, &[x, low])?, cx.add(Greater {}, &[x, high])?);
    let (more, less) = (cx.add(Add {}, &[x, bias])?, cx.add(Sub {}, &[x, bias])?);
    let not_below = cx.add(Where {}, &[above, less, zero])?;
    let y = cx.add(Where {}, &[below, more, not_below])?;
    Ok(vec![cast(cx, y, from)?])
}
