//! Reductions, and what else goes along axes.

use trine_ir::ops::*;
use trine_ir::{Dim, Op, OpResult, Value, bail};

use super::{Mapper, NodeCx, unary};

pub(super) fn find(op_type: &str) -> Option<Mapper> {
    Some(match op_type {
        "ReduceSum" => |cx| reduce(cx, ReduceKind::ReduceSum),
        "ReduceMean" => |cx| reduce(cx, ReduceKind::ReduceMean),
        "ReduceMax" => |cx| reduce(cx, ReduceKind::ReduceMax),
        "ReduceMin" => |cx| reduce(cx, ReduceKind::ReduceMin),
        "ReduceProd" => |cx| reduce(cx, ReduceKind::ReduceProd),
        "ReduceL1" => |cx| reduce(cx, ReduceKind::ReduceL1),
        "ReduceL2" => |cx| reduce(cx, ReduceKind::ReduceL2),
        "ReduceLogSum" => |cx| reduce(cx, ReduceKind::ReduceLogSum),
        "ReduceLogSumExp" => |cx| reduce(cx, ReduceKind::ReduceLogSumExp),
        "ReduceSumSquare" => |cx| reduce(cx, ReduceKind::ReduceSumSquare),
        "ArgMax" => |cx| {
            let (axis, keepdims, last) = arg_attrs(cx)?;
            unary(cx, ArgMax { axis, keepdims, last })
        },
        "ArgMin" => |cx| {
            let (axis, keepdims, last) = arg_attrs(cx)?;
            unary(cx, ArgMin { axis, keepdims, last })
        },
        "Softmax" => |cx| along(cx, |axis| Softmax { axis }.into()),
        "LogSoftmax" => |cx| along(cx, |axis| LogSoftmax { axis }.into()),
        "Hardmax" => |cx| along(cx, |axis| Hardmax { axis }.into()),
        "CumSum" => |cx| {
            let (exclusive, reverse) = (cx.attr_bool("exclusive", false)?, cx.attr_bool("reverse", false)?);
            let args = [cx.input(0)?, cx.input(1)?];
            Ok(vec![cx.add(CumSum { exclusive, reverse }, &args)?])
        },
        "CumProd" => |cx| {
            let (exclusive, reverse) = (cx.attr_bool("exclusive", false)?, cx.attr_bool("reverse", false)?);
            let args = [cx.input(0)?, cx.input(1)?];
            Ok(vec![cx.add(CumProd { exclusive, reverse }, &args)?])
        },
        "TopK" => top_k,
        _ => return None,
    })
}

/// Axes are an attribute up to opset 17 (12 for `ReduceSum`) and then an input; none are all, or with
/// `noop_with_empty_axes` none, and then each element is reduced for itself.
fn reduce(cx: &mut NodeCx, by: ReduceKind) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let keepdims = cx.attr_bool("keepdims", true)?;
    let noop = cx.attr_bool("noop_with_empty_axes", false)?;
    let axes = match (cx.attr_ints("axes")?, cx.opt(1)) {
        (Some(axes), _) => axes.to_vec(),
        (None, None) => vec![],
        (None, Some(axes)) => match cx.const_ints(axes) {
            Some(axes) => axes,
            None if cx.ty(axes).dims == [Dim::constant(0)] => vec![],
            None => return reduce_dynamic(cx, by, x, axes, keepdims, noop),
        },
    };
    let axes = match axes.as_slice() {
        [] if noop => return each_alone(cx, by, x),
        [] => (0..cx.rank(x)).collect(),
        axes => cx.axes(axes, cx.rank(x))?,
    };
    unary(cx, by.op(axes, keepdims))
}

/// What a reduction gives of each element alone.
fn each_alone(cx: &mut NodeCx, by: ReduceKind, x: Value) -> OpResult<Vec<Value>> {
    let floats = cx.ty(x).elem.is_float();
    Ok(vec![match by {
        ReduceKind::ReduceL1 => cx.add(Abs {}, &[x])?,
        ReduceKind::ReduceSumSquare => cx.add(Mul {}, &[x, x])?,
        ReduceKind::ReduceL2 if floats => {
            let square = cx.add(Mul {}, &[x, x])?;
            cx.add(Sqrt {}, &[square])?
        }
        ReduceKind::ReduceLogSum if floats => cx.add(Log {}, &[x])?,
        // Integers are rounded as the reduction rounds them.
        ReduceKind::ReduceL2 | ReduceKind::ReduceLogSum => cx.add(by.op(vec![], true), &[x])?,
        ReduceKind::ReduceSum
        | ReduceKind::ReduceMean
        | ReduceKind::ReduceMax
        | ReduceKind::ReduceMin
        | ReduceKind::ReduceProd
        | ReduceKind::ReduceLogSumExp => x,
    }])
}

fn reduce_dynamic(
    cx: &mut NodeCx,
    by: ReduceKind,
    x: Value,
    axes: Value,
    keepdims: bool,
    noop: bool,
) -> OpResult<Vec<Value>> {
    let one = Dim::constant(1);
    let dims = if keepdims {
        cx.ty(x).dims.into_iter().map(|d| if d == one { d } else { cx.fresh_dim() }).collect()
    } else {
        let Some(count) = cx.ty(axes).dims.first().and_then(Dim::as_const) else {
            bail!("the number of `axes` must be known when the model is compiled");
        };
        let Some(rank) = cx.rank(x).checked_sub(count) else {
            bail!("{count} axes of {}", cx.ty(x));
        };
        (0..rank).map(|_| cx.fresh_dim()).collect()
    };
    Ok(vec![cx.add(ReduceDynamic { by, keepdims, noop, dims }, &[x, axes])?])
}

fn arg_attrs(cx: &mut NodeCx) -> OpResult<(usize, bool, bool)> {
    let rank = cx.rank(cx.input(0)?);
    let axis = cx.axis(cx.attr_int("axis", 0)?, rank)?;
    Ok((axis, cx.attr_bool("keepdims", true)?, cx.attr_bool("select_last_index", false)?))
}

/// Before opset 13, all axes from the one named on are taken as one, and the default is the second.
fn along(cx: &mut NodeCx, op: fn(usize) -> Op) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let ty = cx.ty(x);
    if cx.opset() >= 13 {
        let axis = cx.axis(cx.attr_int("axis", -1)?, ty.rank())?;
        return unary(cx, op(axis));
    }
    let axis = match cx.attr_int("axis", 1)? {
        // One past the last leaves rows of one element.
        axis if axis == ty.rank() as i64 => ty.rank(),
        axis => cx.axis(axis, ty.rank())?,
    };
    if axis + 1 == ty.rank() {
        return unary(cx, op(axis));
    }
    let (Some(rows), Some(columns)) = (Dim::product(&ty.dims[..axis]), Dim::product(&ty.dims[axis..])) else {
        bail!("{ty} is too large");
    };
    let flat = cx.add(Reshape { shape: vec![rows, columns] }, &[x])?;
    let y = cx.add(op(1), &[flat])?;
    Ok(vec![cx.add(Reshape { shape: ty.dims }, &[y])?])
}

/// `k` is an attribute before opset 10; results are in order whether or not that is asked for.
fn top_k(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let axis = cx.axis(cx.attr_int("axis", -1)?, cx.rank(x))?;
    let largest = cx.attr_bool("largest", true)?;
    if let Some(k) = cx.attr_int_opt("k")? {
        return cx.add_node(TopK { axis, count: Dim::integer(k), largest }, &[Some(x)]);
    }
    let k = cx.input(1)?;
    match cx.shape_values(k).as_deref() {
        Some([count]) => cx.add_node(TopK { axis, count: count.clone(), largest }, &[Some(x)]),
        _ => {
            let count = cx.fresh_dim();
            cx.add_node(TopK { axis, count, largest }, &[Some(x), Some(k)])
        }
    }
}
