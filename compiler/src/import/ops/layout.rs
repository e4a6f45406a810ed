//! Shapes and indices.

use trine_ir::{OpResult, Tensor, Value, bail};

use super::{Mapper, NodeCx};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "Constant") => constant,
        ("", "Identity") => |cx| Ok(vec![cx.input(0)?]),
        _ => return None,
    })
}

/// The attribute that is there is the value.
fn constant(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let tensor = if let Some(tensor) = cx.attr_tensor("value")? {
        tensor
    } else if let Some(tensor) = cx.attr_tensor("sparse_value")? {
        tensor
    } else if let Some(v) = cx.attr_float_opt("value_float")? {
        Tensor::scalar(v)
    } else if let Some(v) = cx.attr_int_opt("value_int")? {
        Tensor::scalar(v)
    } else if let Some(v) = cx.attr_floats("value_floats")? {
        Tensor::vector(v.to_vec())
    } else if let Some(v) = cx.attr_ints("value_ints")? {
        Tensor::vector(v.to_vec())
    } else {
        bail!("has no value that is a tensor of numbers");
    };
    Ok(vec![cx.constant(tensor)])
}
