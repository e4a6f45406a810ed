//! Reading and writing at indices.

use trine_ir::attr::Attr;
use trine_ir::ops::*;
use trine_ir::{Dim, OpResult, Tensor, Value, bail};

use super::{Mapper, NodeCx};

mod select;

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "Gather") => |cx| {
            let axis = axis(cx, 0)?;
            two(cx, Gather { axis })
        },
        ("", "GatherElements") => |cx| {
            let axis = axis(cx, 0)?;
            two(cx, GatherElements { axis })
        },
        ("", "GatherND") => |cx| match usize::try_from(cx.attr_int("batch_dims", 0)?) {
            Ok(batch_dims) => two(cx, GatherNd { batch_dims }),
            Err(_) => bail!("attribute `batch_dims` is negative"),
        },
        ("", "Scatter" | "ScatterElements") => |cx| {
            let op = ScatterElements { axis: axis(cx, 0)?, reduction: reduction(cx)? };
            let args = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
            Ok(vec![cx.add(op, &args)?])
        },
        ("", "ScatterND") => |cx| {
            let op = ScatterNd { reduction: reduction(cx)? };
            let args = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
            Ok(vec![cx.add(op, &args)?])
        },
        ("", "TensorScatter") => tensor_scatter,
        ("", "OneHot") => one_hot,
        ("", "NonZero") => |cx| {
            let (x, count) = (cx.input(0)?, cx.fresh_dim());
            Ok(vec![cx.add(NonZero { count }, &[x])?])
        },
        ("", "Compress") => select::compress,
        ("", "Unique") => select::unique,
        ("", "ReverseSequence") => select::reverse_sequence,
        ("", "TfIdfVectorizer") => select::tf_idf,
        _ => return None,
    })
}

fn two(cx: &mut NodeCx, op: impl Into<trine_ir::Op>) -> OpResult<Vec<Value>> {
    let args = [cx.input(0)?, cx.input(1)?];
    Ok(vec![cx.add(op, &args)?])
}

/// The axis of input 0 that the attribute names.
fn axis(cx: &NodeCx, default: i64) -> OpResult<usize> {
    cx.axis(cx.attr_int("axis", default)?, cx.rank(cx.input(0)?))
}

fn reduction(cx: &NodeCx) -> OpResult<Reduction> {
    Ok(Reduction::parse(cx.attr_str("reduction", "none")?)?)
}

/// Indices of i64 that do not count from the end of an axis, as ours do: negative ones are made such that they are refused.
pub(super) fn from_the_start(cx: &mut NodeCx, indices: Value) -> OpResult<Value> {
    let (zero, nowhere) = (cx.constant(Tensor::scalar(0i64)), cx.constant(Tensor::scalar(i64::MIN)));
    let negative = cx.add(Less {}, &[indices, zero])?;
    cx.add(Where {}, &[negative, nowhere, indices])
}

fn tensor_scatter(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let circular = match cx.attr_str("mode", "linear")? {
        "linear" => false,
        "circular" => true,
        mode => bail!("no mode `{}`", mode.escape_debug()),
    };
    let axis = axis(cx, -2)?;
    let mut args = vec![Some(cx.input(0)?), Some(cx.input(1)?)];
    args.extend(cx.opt(2).map(Some));
    cx.add_node(TensorScatter { axis, circular }, &args)
}

fn one_hot(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let args = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    let axis = cx.axis(cx.attr_int("axis", -1)?, cx.rank(args[0]) + 1)?;
    let known = match cx.const_scalar(args[1]) {
        Some(depth) => Some(Dim::integer(depth as i64)),
        None => cx.shape_values(args[1]).and_then(|v| v.into_iter().next()),
    };
    let size = known.unwrap_or_else(|| cx.fresh_dim());
    Ok(vec![cx.add(OneHot { axis, size }, &args)?])
}
