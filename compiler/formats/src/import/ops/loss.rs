//! Losses of classifiers, in which graphs of training and evaluation end.

use trine_ir::ops::*;
use trine_ir::{Dim, Elem, Op, OpResult, Tensor, Value, bail};

use super::index::from_the_start;
use super::nn::{cast, reshape, scalar, transpose};
use super::{Mapper, NodeCx};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "NegativeLogLikelihoodLoss") => |cx| {
            let log_probabilities = cx.input(0)?;
            Ok(vec![negative_log_likelihood(cx, log_probabilities)?])
        },
        ("", "SoftmaxCrossEntropyLoss") => |cx| {
            let scores = cx.input(0)?;
            if cx.rank(scores) < 2 {
                bail!("expects scores [n,classes,…], got {}", cx.ty(scores));
            }
            let log_probabilities = cx.add(LogSoftmax { axis: 1 }, &[scores])?;
            Ok(vec![negative_log_likelihood(cx, log_probabilities)?, log_probabilities])
        },
        _ => return None,
    })
}

/// `-x[n, label[n, …], …] · weight[label[n, …]]`, 0 where the label is `ignore_index`, and reduced as the node says.
///
/// The mean is one of weights: those of the classes, or 1, and 0 for what is ignored.
fn negative_log_likelihood(cx: &mut NodeCx, x: Value) -> OpResult<Value> {
    let (given, weights) = (cx.input(1)?, cx.opt(2));
    let ty = cx.ty(x);
    if ty.rank() < 2 || cx.rank(given) + 1 != ty.rank() || !ty.elem.is_float() {
        bail!("expects floats [n,classes,…] and labels [n,…], got {ty} and {}", cx.ty(given));
    }
    let zero = scalar(cx, ty.elem, 0.0)?;
    let mut labels = cast(cx, given, Elem::I64)?;
    let mut ignored = None;
    if let Some(index) = cx.attr_int_opt("ignore_index")? {
        let index = cx.constant(Tensor::scalar(index));
        let is_ignored = cx.add(Equal {}, &[labels, index])?;
        let some_class = scalar(cx, Elem::I64, 0.0)?;
        labels = cx.add(Where {}, &[is_ignored, some_class, labels])?;
        ignored = Some(is_ignored);
    }
    labels = from_the_start(cx, labels)?;

    let classes_last: Vec<usize> = [0].into_iter().chain(2..ty.rank()).chain([1]).collect();
    let x = transpose(cx, x, &classes_last)?;
    let tuples = [cx.ty(labels).dims, vec![Dim::constant(1)]].concat();
    let tuples = reshape(cx, labels, tuples)?;
    let picked = cx.add(GatherNd { batch_dims: ty.rank() - 1 }, &[x, tuples])?;
    let mut loss = cx.add(Neg {}, &[picked])?;
    if let Some(ignored) = ignored {
        loss = cx.add(Where {}, &[ignored, zero, loss])?;
    }

    let weight = match weights {
        Some(weights) => {
            let weights = reshape(cx, weights, vec![ty.dims[1].clone()])?;
            Some(cx.add(Gather { axis: 0 }, &[weights, labels])?)
        }
        None if ignored.is_some() => Some(scalar(cx, ty.elem, 1.0)?),
        None => None,
    };
    let weight = match (weight, ignored) {
        (Some(weight), Some(ignored)) => Some(cx.add(Where {}, &[ignored, zero, weight])?),
        (weight, _) => weight,
    };
    if let (Some(weight), Some(_)) = (weight, weights) {
        loss = cx.add(Mul {}, &[loss, weight])?;
    }

    let axes: Vec<usize> = (0..ty.rank() - 1).collect();
    let sum = Op::from(ReduceSum { axes: axes.clone(), keepdims: false });
    match (cx.attr_str("reduction", "mean")?, weight) {
        ("none", _) => Ok(loss),
        ("sum", _) => cx.add(sum, &[loss]),
        ("mean", None) => cx.add(ReduceMean { axes, keepdims: false }, &[loss]),
        ("mean", Some(weight)) => {
            let (loss, weight) = (cx.add(sum.clone(), &[loss])?, cx.add(sum, &[weight])?);
            cx.add(Div {}, &[loss, weight])
        }
        (other, _) => bail!("attribute `reduction` is `{}`", other.escape_debug()),
    }
}
