//! Casts, choices and bounds.

use trine_ir::ops::*;
use trine_ir::small_float::Round;
use trine_ir::{Elem, Literal, OpResult, Value, bail};

use super::{Mapper, NodeCx, scalar, unary};

pub(super) fn find(op_type: &str) -> Option<Mapper> {
    Some(match op_type {
        "Cast" => |cx| match cx.attr_elem("to")? {
            Some(to) => cast(cx, to),
            None => bail!("attribute `to` is missing"),
        },
        "BitCast" => |cx| match cx.attr_elem("to")? {
            Some(to) => unary(cx, BitCast { to }),
            None => bail!("attribute `to` is missing"),
        },
        "CastLike" => |cx| {
            let to = cx.ty(cx.input(1)?).elem;
            cast(cx, to)
        },
        "Where" => |cx| {
            let args = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
            Ok(vec![cx.add(Where {}, &args)?])
        },
        "Clip" => clip,
        "Dropout" => dropout,
        _ => return None,
    })
}

/// To floats of 8 bits and under by way of f32.
fn cast(cx: &mut NodeCx, to: Elem) -> OpResult<Vec<Value>> {
    let mut x = cx.input(0)?;
    let from = cx.ty(x).elem;
    if !to.is_small_float() || from == to {
        return Ok(vec![cx.add(Cast { to }, &[x])?]);
    }
    if from != Elem::F32 {
        x = cx.add(Cast { to: Elem::F32 }, &[x])?;
    }
    let round = match cx.attr_str("round_mode", "up")? {
        "up" => Round::Up,
        "down" => Round::Down,
        "nearest" => Round::Nearest,
        other => bail!("attribute `round_mode` is `{}`, not `up`, `down` or `nearest`", other.escape_debug()),
    };
    let saturate = cx.attr_bool("saturate", true)?;
    Ok(vec![cx.add(Narrow { to, saturate, round }, &[x])?])
}

/// The bounds are attributes before opset 11.
fn clip(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let bounds = match cx.opset() {
        11.. => [cx.opt(1), cx.opt(2)],
        _ => {
            let elem = cx.ty(x).elem;
            let (low, high) = (cx.attr_float_opt("min")?, cx.attr_float_opt("max")?);
            let mut bound = |b: Option<f32>| b.map(|b| scalar(cx, elem, b.into())).transpose();
            [bound(low)?, bound(high)?]
        }
    };
    match bounds {
        [None, None] => Ok(vec![x]),
        [low, high] => cx.add_node(Clip {}, &[Some(x), low, high]),
    }
}

/// The identity, unless the model is in training mode: then the seed says what is dropped.
fn dropout(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let training = cx.opt(2).filter(|t| cx.const_tensor(*t).is_none_or(|t| *t.bytes().as_ref() != [0]));
    if cx.opset() < 7 && !cx.attr_bool("is_test", false)? {
        bail!("is in training mode: set `is_test`");
    }
    let ratio = cx.opt(1);
    match training {
        Some(training) => match cx.attr_int_opt("seed")? {
            Some(seed) => cx.add_node(Dropout { seed }, &[Some(x), ratio, Some(training)]),
            None => bail!("is in training mode and has no seed"),
        },
        None if cx.wants(1) => {
            let inference = cx.constant(Literal::Bool(false).tensor()?);
            let mask = cx.add_node(Dropout { seed: 0 }, &[Some(x), None, Some(inference)])?[1];
            Ok(vec![x, mask])
        }
        None => Ok(vec![x]),
    }
}
