//! Element by element, and reductions.

mod activation;
mod legacy;
mod reduce;
mod select;

use trine_ir::op::{Args, OpDef};
use trine_ir::ops::*;
use trine_ir::{DimEnv, Elem, Op, OpResult, Tensor, Value, bail};

use super::{Mapper, NodeCx};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    if !domain.is_empty() {
        return None;
    }
    element(op_type)
        .or_else(|| activation::find(op_type))
        .or_else(|| select::find(op_type))
        .or_else(|| reduce::find(op_type))
}

/// Ops that mean one op of ours, without attributes.
fn element(op_type: &str) -> Option<Mapper> {
    Some(match op_type {
        "Add" => |cx| binary(cx, Add {}),
        "Sub" => |cx| binary(cx, Sub {}),
        "Mul" => |cx| binary(cx, Mul {}),
        "Div" => |cx| binary(cx, Div {}),
        "Pow" => |cx| binary(cx, Pow {}),
        "Mod" => |cx| {
            let fmod = cx.attr_bool("fmod", false)?;
            binary(cx, Mod { fmod })
        },
        "Equal" => |cx| binary(cx, Equal {}),
        "Greater" => |cx| binary(cx, Greater {}),
        "GreaterOrEqual" => |cx| binary(cx, GreaterOrEqual {}),
        "Less" => |cx| binary(cx, Less {}),
        "LessOrEqual" => |cx| binary(cx, LessOrEqual {}),
        "And" => |cx| binary(cx, And {}),
        "Or" => |cx| binary(cx, Or {}),
        "Xor" => |cx| binary(cx, Xor {}),
        "BitwiseAnd" => |cx| binary(cx, BitAnd {}),
        "BitwiseOr" => |cx| binary(cx, BitOr {}),
        "BitwiseXor" => |cx| binary(cx, BitXor {}),
        "BitwiseNot" => |cx| unary(cx, BitNot {}),
        "BitShift" => |cx| match cx.attr_str("direction", "")? {
            "LEFT" => binary(cx, Shift { left: true }),
            "RIGHT" => binary(cx, Shift { left: false }),
            other => bail!("attribute `direction` is `{}`, not `LEFT` or `RIGHT`", other.escape_debug()),
        },
        "Sum" => |cx| variadic(cx, Add {}),
        "Min" => |cx| variadic(cx, Min {}),
        "Max" => |cx| variadic(cx, Max {}),
        "Mean" => mean,
        "Neg" => |cx| unary(cx, Neg {}),
        "Abs" => |cx| unary(cx, Abs {}),
        "Sign" => |cx| unary(cx, Sign {}),
        "Not" => |cx| unary(cx, Not {}),
        "Sqrt" => |cx| unary(cx, Sqrt {}),
        "Reciprocal" => |cx| unary(cx, Reciprocal {}),
        "Floor" => |cx| unary(cx, Floor {}),
        "Ceil" => |cx| unary(cx, Ceil {}),
        "Round" => |cx| unary(cx, Round {}),
        "Exp" => |cx| unary(cx, Exp {}),
        "Log" => |cx| unary(cx, Log {}),
        "Erf" => |cx| unary(cx, Erf {}),
        "Det" => |cx| unary(cx, Det {}),
        "Sin" => |cx| unary(cx, Sin {}),
        "Cos" => |cx| unary(cx, Cos {}),
        "Tan" => |cx| unary(cx, Tan {}),
        "Asin" => |cx| unary(cx, Asin {}),
        "Acos" => |cx| unary(cx, Acos {}),
        "Atan" => |cx| unary(cx, Atan {}),
        "Sinh" => |cx| unary(cx, Sinh {}),
        "Cosh" => |cx| unary(cx, Cosh {}),
        "Asinh" => |cx| unary(cx, Asinh {}),
        "Acosh" => |cx| unary(cx, Acosh {}),
        "Atanh" => |cx| unary(cx, Atanh {}),
        "IsNaN" => |cx| unary(cx, IsNan {}),
        "IsInf" => |cx| {
            let positive = cx.attr_bool("detect_positive", true)?;
            let negative = cx.attr_bool("detect_negative", true)?;
            unary(cx, IsInf { positive, negative })
        },
        _ => return None,
    })
}

fn unary(cx: &mut NodeCx, op: impl Into<Op>) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    Ok(vec![cx.add(op, &[x])?])
}

fn binary(cx: &mut NodeCx, op: impl Into<Op>) -> OpResult<Vec<Value>> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let b = legacy::aligned(cx, a, b)?;
    Ok(vec![cx.add(op, &[a, b])?])
}

/// The op between all inputs, from the left; of one input, that.
fn variadic(cx: &mut NodeCx, op: impl Into<Op>) -> OpResult<Vec<Value>> {
    let op = op.into();
    let mut all = cx.inputs()?.into_iter();
    let mut y = all.next().ok_or("has no input")?;
    for x in all {
        y = cx.add(op.clone(), &[y, x])?;
    }
    Ok(vec![y])
}

fn mean(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let sum = variadic(cx, Add {})?[0];
    let elem = cx.ty(sum).elem;
    let n = scalar(cx, elem, cx.input_count() as f64)?;
    Ok(vec![cx.add(Div {}, &[sum, n])?])
}

/// A constant of any type of number.
fn scalar(cx: &mut NodeCx, elem: Elem, value: f64) -> OpResult<Value> {
    let wide = Tensor::scalar(value);
    let tensor = Cast { to: elem }.eval(Args::new(&[Some(&wide)]), &DimEnv::default())?.remove(0);
    Ok(cx.constant(tensor))
}
