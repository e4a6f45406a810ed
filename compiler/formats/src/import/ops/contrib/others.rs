//! Ops of onnxruntime's set that are older forms of ONNX's own, or small compositions of them.

use trine_ir::ops::*;
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::NodeCx;
use super::layout;
use super::nn::{aligned, cast, positions, product, quotient, reshape, scalar, transpose};

/// Trilu-1.
pub fn trilu(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    layout::trilu(cx)
}

/// Pad-1: pads are input 1, `[2·rank]` or `[1,2·rank]`, and the value may be a vector of one.
pub fn pad(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, pads, value) = (cx.input(0)?, cx.input(1)?, cx.opt(2));
    let mode = match cx.attr_str("mode", "constant")? {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        mode => bail!("no mode `{}`", mode.escape_debug()),
    };
    let flat = product(&cx.ty(pads).dims)?;
    let pads = reshape(cx, pads, vec![flat])?;
    let Some(pads) = cx.shape_values(pads) else { bail!("pads must be known when the model is compiled") };
    let value = value.map(|v| reshape(cx, v, vec![])).transpose()?;
    let operands: Vec<_> = [Some(x)].into_iter().chain(value.map(Some)).collect();
    cx.add_node(Pad { mode, pads }, &operands)
}

/// ExpandDims-1.
pub fn expand_dims(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, axis) = (cx.input(0)?, cx.input(1)?);
    let Some(axis) = cx.const_scalar(axis) else {
        bail!("the axis must be known when the model is compiled")
    };
    let mut dims = cx.ty(x).dims;
    let axis = cx.axis(axis as i64, dims.len() + 1)?;
    dims.insert(axis, Dim::constant(1));
    Ok(vec![reshape(cx, x, dims)?])
}

/// GatherND-1.
pub fn gather_nd(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let args = [cx.input(0)?, cx.input(1)?];
    Ok(vec![cx.add(GatherNd { batch_dims: 0 }, &args)?])
}

/// Range-1, whose step is 1 where it is left out; bounds may be vectors of one.
pub fn range(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let mut bounds = vec![];
    for slot in 0..2 {
        let bound = cx.input(slot)?;
        bounds.push(reshape(cx, bound, vec![])?);
    }
    let elem = cx.ty(bounds[0]).elem;
    bounds.push(match cx.opt(2) {
        Some(step) => reshape(cx, step, vec![])?,
        None => scalar(cx, elem, 1.0)?,
    });
    let count = layout::range_count(cx, [bounds[0], bounds[1], bounds[2]]).unwrap_or_else(|| cx.fresh_dim());
    Ok(vec![cx.add(Range { count }, &bounds)?])
}

/// BiasSoftmax-1: the bias is broadcast along the axes before `axis`, either those next to it or the outermost ones. All axes
/// from `axis` on are one.
pub fn bias_softmax(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, bias) = (cx.input(0)?, cx.input(1)?);
    let ty = cx.ty(x);
    let axis = cx.axis(cx.attr_int("axis", 1)?, ty.rank())?;
    let sum = cx.add(Add {}, &[x, bias])?;
    if cx.ty(sum) != ty {
        bail!("{} does not broadcast to {ty}", cx.ty(bias));
    }
    let shape = vec![product(&ty.dims[..axis])?, product(&ty.dims[axis..])?];
    let rows = reshape(cx, sum, shape)?;
    let y = cx.add(Softmax { axis: 1 }, &[rows])?;
    Ok(vec![reshape(cx, y, ty.dims)?])
}

/// BiasAdd-1: input, bias and residual.
pub fn bias_add(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, bias, skip) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let y = cx.add(Add {}, &[x, bias])?;
    Ok(vec![cx.add(Add {}, &[y, skip])?])
}

/// BiasSplitGelu-1: the left half times the GELU of the right one.
pub fn bias_split_gelu(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, bias) = (cx.input(0)?, cx.input(1)?);
    let x = cx.add(Add {}, &[x, bias])?;
    let Some(width) = cx.ty(x).dims.last().cloned() else { bail!("the input is a scalar") };
    let half = quotient(&width, 2, "half of the input")?;
    let halves = cx.add_node(Split { axis: cx.rank(x) - 1, sizes: vec![half; 2] }, &[Some(x)])?;
    let gate = cx.add(Gelu { form: GeluForm::Erf }, &[halves[1]])?;
    Ok(vec![cx.add(Mul {}, &[halves[0], gate])?])
}

/// UnfoldTensor-1: windows of `size` along `dim`, each as a last axis.
pub fn unfold_tensor(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let axis = cx.axis(cx.attr_int("dim", -1)?, rank)?;
    let (Some(size), step) = (cx.attr_int_opt("size")?, cx.attr_int("step", 1)?) else {
        bail!("attribute `size` is missing")
    };
    if size < 1 || step < 1 {
        bail!("windows of {size} elements, {step} apart");
    }
    let (size, step) = (Dim::integer(size), Dim::integer(step));
    let room = cx.ty(x).dims[axis].sub(&size).ok_or("the axis is too long")?;
    let count = room.floordiv(&step).and_then(|n| n.add(&Dim::constant(1))).ok_or("the axis is too long")?;
    let range = |cx: &mut NodeCx, count: Dim, by: &Dim| {
        let shape = vec![count.clone()];
        let zero = scalar(cx, Elem::I64, 0.0)?;
        let like = cx.add(Expand { shape }, &[zero])?;
        let index = positions(cx, like, 0)?;
        let by = scalar(cx, Elem::I64, by.as_integer().unwrap_or(1) as f64)?;
        cx.add(Mul {}, &[index, by])
    };
    let (starts, steps) = (range(cx, count, &step)?, range(cx, size, &Dim::constant(1))?);
    let (starts, steps) = (aligned(cx, starts, 2, &[0])?, aligned(cx, steps, 2, &[1])?);
    let at = cx.add(Add {}, &[starts, steps])?;
    let y = cx.add(Gather { axis }, &[x, at])?;
    let perm: Vec<_> = (0..rank + 1).filter(|i| *i != axis + 1).chain([axis + 1]).collect();
    Ok(vec![transpose(cx, y, &perm)?])
}

/// CDist-1: how far each row of one matrix is from each row of another.
pub fn cdist(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    if cx.rank(a) != 2 || cx.rank(b) != 2 {
        bail!("expects matrices, got {} and {}", cx.ty(a), cx.ty(b));
    }
    let (a, b) = (aligned(cx, a, 3, &[0, 2])?, aligned(cx, b, 3, &[1, 2])?);
    let apart = cx.add(Sub {}, &[a, b])?;
    let y = cx.add(ReduceSumSquare { axes: vec![2], keepdims: false }, &[apart])?;
    match cx.attr_str("metric", "sqeuclidean")? {
        "sqeuclidean" => Ok(vec![y]),
        "euclidean" => Ok(vec![cx.add(Sqrt {}, &[y])?]),
        other => bail!("there is no metric `{}` here", other.escape_debug()),
    }
}

/// Inverse-1, in f32 at least.
pub fn inverse(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let elem = cx.ty(x).elem;
    let wide = if elem == Elem::F64 { x } else { cast(cx, x, Elem::F32)? };
    let y = cx.add(Inverse {}, &[wide])?;
    Ok(vec![cast(cx, y, elem)?])
}

/// MatMulInteger16-1: a product of integers of 16 bits, summed in 32.
pub fn matmul_integer_16(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let unsigned = [a, b].iter().all(|x| cx.ty(*x).elem == Elem::U16);
    let to = if unsigned { Elem::U32 } else { Elem::I32 };
    let (a, b) = (cast(cx, a, to)?, cast(cx, b, to)?);
    Ok(vec![cx.add(Matmul { trans_b: false }, &[a, b])?])
}

/// SwiGLU-1: `gate · sigmoid(alpha · gate) · (up + beta)`, both cut at a limit if there is one. Without `up`, the gate holds both.
pub fn swiglu(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (mut gate, elem) = (cx.input(0)?, cx.ty(cx.input(0)?).elem);
    let mut up = match cx.opt(1) {
        Some(up) => up,
        None => {
            let Some(width) = cx.ty(gate).dims.last().cloned() else { bail!("the gate is a scalar") };
            let half = quotient(&width, 2, "half of the gate")?;
            let halves =
                cx.add_node(Split { axis: cx.rank(gate) - 1, sizes: vec![half; 2] }, &[Some(gate)])?;
            gate = halves[0];
            halves[1]
        }
    };
    (gate, up) = (cast(cx, gate, Elem::F32)?, cast(cx, up, Elem::F32)?);
    let limit = cx.attr_float("limit", 0.0)?;
    if limit > 0.0 {
        let (most, least) = (scalar(cx, Elem::F32, limit.into())?, scalar(cx, Elem::F32, (-limit).into())?);
        gate = cx.add(Min {}, &[gate, most])?;
        up = cx.add(Clip {}, &[up, least, most])?;
    }
    let mut gate = match cx.attr_float("activation_alpha", 1.0)? {
        1.0 => cx.add(Silu {}, &[gate])?,
        alpha => cx.add(Swish { alpha }, &[gate])?,
    };
    if cx.attr_bool("round_activation", false)? {
        gate = cast(cx, gate, elem)?;
        gate = cast(cx, gate, Elem::F32)?;
    }
    let beta = cx.attr_float("activation_beta", 0.0)?;
    if beta != 0.0 {
        let beta = scalar(cx, Elem::F32, beta.into())?;
        up = cx.add(Add {}, &[up, beta])?;
    }
    let y = cx.add(Mul {}, &[gate, up])?;
    Ok(vec![cast(cx, y, elem)?])
}
