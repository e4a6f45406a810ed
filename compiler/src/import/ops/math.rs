//! Element by element, and reductions.

use trine_ir::ops::{Add, Div, Mul, Sub};
use trine_ir::{Op, OpResult, Value};

use super::{Mapper, NodeCx};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "Add") => |cx| binary(cx, Add {}),
        ("", "Sub") => |cx| binary(cx, Sub {}),
        ("", "Mul") => |cx| binary(cx, Mul {}),
        ("", "Div") => |cx| binary(cx, Div {}),
        _ => return None,
    })
}

fn binary(cx: &mut NodeCx, op: impl Into<Op>) -> OpResult<Vec<Value>> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![cx.add(op, &[a, b])?])
}
