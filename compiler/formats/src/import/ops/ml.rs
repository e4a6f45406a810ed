//! The few ops of `ai.onnx.ml` that are tensor arithmetic.

use trine_ir::ops::{Cast, Gather, Greater};
use trine_ir::{Dim, OpResult, Value, bail};

use super::nn::{product, reshape, scalar};
use super::{Mapper, NodeCx};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("ai.onnx.ml", "Binarizer") => binarizer,
        ("ai.onnx.ml", "ArrayFeatureExtractor") => array_feature_extractor,
        _ => return None,
    })
}

/// 1 above the threshold, else 0.
fn binarizer(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, threshold) = (cx.input(0)?, cx.attr_float("threshold", 0.0)?);
    let to = cx.ty(x).elem;
    let threshold = scalar(cx, to, threshold.into())?;
    let above = cx.add(Greater {}, &[x, threshold])?;
    Ok(vec![cx.add(Cast { to }, &[above])?])
}

/// Elements of the last axis; of a vector, as a row.
fn array_feature_extractor(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (mut x, indices) = (cx.input(0)?, cx.input(1)?);
    let dims = cx.ty(x).dims;
    match dims.as_slice() {
        [] => bail!("expects at least one axis"),
        [n] => x = reshape(cx, x, vec![Dim::constant(1), n.clone()])?,
        _ => {}
    }
    let count = product(&cx.ty(indices).dims)?;
    let indices = reshape(cx, indices, vec![count])?;
    let axis = cx.rank(x) - 1;
    Ok(vec![cx.add(Gather { axis }, &[x, indices])?])
}
