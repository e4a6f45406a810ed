//! Parts of tensors, and tensors made of parts.

use half::{bf16, f16};
use trine_ir::attr::Attr;
use trine_ir::ops::*;
use trine_ir::{Dim, Elem, OpResult, Tensor, Value, bail};

use super::layout::{elements, vector_len};
use super::nn::{cast, reshape};
use super::{Mapper, NodeCx};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "Concat") => concat,
        ("", "Split") => split,
        ("", "Slice") => slice,
        ("", "Pad") => pad,
        ("", "CenterCropPad") => center_crop_pad,
        _ => return None,
    })
}

fn concat(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let xs = cx.inputs()?;
    let Some(first) = xs.first() else { bail!("has no inputs") };
    let axis = match cx.attr_int_opt("axis")? {
        Some(axis) => axis,
        None if cx.opset() < 4 => 1,
        None => bail!("attribute `axis` is missing"),
    };
    let axis = cx.axis(axis, cx.rank(*first))?;
    Ok(vec![cx.add(Concat { axis }, &xs)?])
}

fn split(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let axis = cx.axis(cx.attr_int("axis", 0)?, cx.rank(x))?;
    let whole = cx.ty(x).dims[axis].clone();
    let sizes = match (cx.attr_ints("split")?, cx.opt(1)) {
        (Some(sizes), _) => sizes.iter().map(|s| Dim::integer(*s)).collect(),
        (None, None) => equal_parts(cx, &whole)?,
        (None, Some(given)) => match cx.shape_values(given) {
            Some(sizes) => sizes,
            None => {
                let known = elements(cx, given, "split")?;
                let dims = known.into_iter().map(|d| d.unwrap_or_else(|| cx.fresh_dim())).collect();
                return cx.add_node(SplitDynamic { axis, dims }, &[Some(x), Some(given)]);
            }
        },
    };
    cx.add_node(Split { axis, sizes }, &[Some(x)])
}

/// As many parts as there are outputs, the last of which may be smaller.
fn equal_parts(cx: &NodeCx, whole: &Dim) -> OpResult<Vec<Dim>> {
    let outputs = cx.output_count();
    let parts = usize::try_from(cx.attr_int("num_outputs", outputs as i64)?).unwrap_or_default();
    if parts == 0 || parts != outputs {
        bail!("has {outputs} outputs for {parts} parts");
    }
    let Some(n) = whole.as_const() else {
        let count = Dim::constant(parts);
        let sizes = || {
            let part = whole.ceildiv(&count)?;
            let last = whole.sub(&part.mul(&Dim::constant(parts - 1))?)?;
            let mut sizes = vec![part; parts];
            sizes[parts - 1] = last;
            Some(sizes)
        };
        return sizes().ok_or_else(|| format!("`{whole}` is too large an expression").into());
    };
    let part = n.div_ceil(parts);
    let Some(last) = n.checked_sub(part * (parts - 1)) else {
        bail!("{n} elements do not make {parts} parts")
    };
    let mut sizes = vec![Dim::constant(part); parts];
    sizes[parts - 1] = Dim::constant(last);
    Ok(sizes)
}

fn slice(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let from = cx.ty(x).dims;
    let (starts, ends) = (bounds(cx, "starts", 1)?, bounds(cx, "ends", 2)?);
    let axes = match (cx.attr_ints("axes")?, cx.opt(3)) {
        (Some(axes), _) => Some(axes.to_vec()),
        (None, Some(axes)) => cx.const_ints(axes),
        (None, None) => Some((0..starts.len() as i64).collect()),
    };
    let steps = match cx.opt(4) {
        Some(steps) => cx.const_ints(steps),
        None => Some(vec![1; starts.len()]),
    };
    let n = starts.len();
    if ends.len() != n || [&axes, &steps].into_iter().flatten().any(|v| v.len() != n) {
        bail!("has {n} starts, but not as many ends, axes and steps");
    }
    let axes = axes.map(|axes| cx.axes(&axes, from.len())).transpose()?;
    if let (Some(axes), Some(steps)) = (&axes, &steps)
        && let (Some(starts), Some(ends)) = (starts.iter().cloned().collect(), ends.iter().cloned().collect())
    {
        let op = static_slice(cx, &from, axes.clone(), starts, ends, steps.clone());
        return Ok(vec![cx.add(op, &[x])?]);
    }
    let mut dims = from.clone();
    for (axis, dim) in dims.iter_mut().enumerate() {
        let at = axes.as_ref().map(|axes| axes.iter().position(|a| *a == axis));
        let length = match (at, &steps) {
            (Some(None), _) => continue,
            (Some(Some(i)), Some(steps)) => starts[i]
                .as_ref()
                .zip(ends[i].as_ref())
                .and_then(|(start, end)| slice_length(dim, &bound(start, dim), &bound(end, dim), steps[i])),
            _ => None,
        };
        *dim = length.unwrap_or_else(|| cx.fresh_dim());
    }
    let args: Vec<_> = (0..cx.input_count()).map(|i| cx.opt(i)).collect();
    Ok(vec![cx.add_node(SliceDynamic { dims }, &args)?[0]])
}

/// Starts or ends, an attribute before opset 10.
fn bounds(cx: &NodeCx, name: &str, input: usize) -> OpResult<Vec<Option<Dim>>> {
    match cx.attr_ints(name)? {
        Some(ints) => Ok(ints.iter().map(|i| Some(Dim::integer(*i))).collect()),
        None => elements(cx, cx.input(input)?, name),
    }
}

fn static_slice(
    cx: &mut NodeCx,
    from: &[Dim],
    axes: Vec<usize>,
    starts: Vec<Dim>,
    ends: Vec<Dim>,
    steps: Vec<i64>,
) -> Slice {
    let bounds = |given: Vec<Dim>| -> Vec<Dim> {
        axes.iter().zip(given).map(|(axis, d)| bound(&d, &from[*axis])).collect()
    };
    let (starts, ends) = (bounds(starts), bounds(ends));
    for (i, axis) in axes.iter().enumerate() {
        take_inside(cx, &from[*axis], steps[i], [&starts[i], &ends[i]]);
    }
    let length = |i: usize| slice_length(&from[axes[i]], &starts[i], &ends[i], steps[i]);
    let proven: Vec<_> = (0..axes.len()).map(length).collect();
    let mut sizes = None;
    if proven.iter().any(Option::is_none) {
        let state = |n: Option<Dim>| n.unwrap_or_else(|| cx.fresh_dim());
        sizes = Some(proven.into_iter().map(state).collect());
    }
    Slice { axes, starts, ends, steps, sizes }
}

/// Takes a slice up to a computed size, such as the first `seq` rows of a table, not to reach beyond the axis, so that
/// it has as many rows as `seq`: which is required of the run. One that does so needs its sizes fixed.
fn take_inside(cx: &mut NodeCx, len: &Dim, step: i64, bounds: [&Dim; 2]) {
    for bound in bounds {
        let computed = step == 1 && bound.as_integer().is_none() && bound.is_nonnegative();
        if !computed || len.is_at_least(bound) || !cx.can_require(&[len, bound]) {
            continue;
        }
        if let Some(inside) = bound.min_of(len).filter(|inside| inside != len) {
            cx.assume(&inside, bound);
        }
    }
}

/// A bound of a slice of `len` elements, with what stands for the end or the beginning, however far, replaced
/// by a bound that is just so far.
fn bound(given: &Dim, len: &Dim) -> Dim {
    const FAR: i64 = i32::MAX as i64;
    let Some(value) = given.as_integer() else { return given.clone() };
    match len.as_const().and_then(|n| i64::try_from(n).ok()) {
        Some(n) => Dim::integer(value.clamp(-n - 1, n)),
        None if value >= FAR => len.clone(),
        None if value <= -FAR => Dim::integer(-1).sub(len).unwrap_or_else(|| given.clone()),
        None => given.clone(),
    }
}

fn pad(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let mode = PadMode::parse(cx.attr_str("mode", "constant")?)?;
    let attribute = if cx.opset() == 1 { "paddings" } else { "pads" };
    if let Some(pads) = cx.attr_ints(attribute)? {
        let value = cx.attr_float("value", 0.0)?;
        let value = float(value, cx.ty(x).elem)?;
        let value = cx.constant(value);
        let pads = pads.iter().map(|p| Dim::integer(*p)).collect();
        return Ok(vec![cx.add(Pad { mode, pads }, &[x, value])?]);
    }
    let (given, value) = (cx.input(1)?, cx.opt(2));
    let axes = match cx.opt(3) {
        Some(axes) => cx.const_ints(axes).map(|axes| cx.axes(&axes, rank)).transpose()?,
        None => Some((0..rank).collect()),
    };
    let known = match &axes {
        Some(_) => cx.partial_shape_values(given),
        None => None,
    };
    let Some((axes, known)) = axes.zip(known) else {
        vector_len(cx, given, "pads")?;
        let dims = (0..rank).map(|_| cx.fresh_dim()).collect();
        let args: Vec<_> = (0..cx.input_count()).map(|i| cx.opt(i)).collect();
        return cx.add_node(PadDynamic { mode, dims }, &args);
    };
    if known.len() != 2 * axes.len() {
        bail!("{} pads for {} axes, not two an axis", known.len(), axes.len());
    }
    let mut pads = vec![Some(Dim::constant(0)); 2 * rank];
    for (i, axis) in axes.iter().enumerate() {
        pads[*axis] = known[i].clone();
        pads[rank + axis] = known[axes.len() + i].clone();
    }
    if let Some(pads) = pads.iter().cloned().collect() {
        return cx.add_node(Pad { mode, pads }, &[Some(x), value]);
    }
    let from = cx.ty(x).dims;
    let padded = |(axis, d): (usize, Dim)| {
        let sum = pads[axis].as_ref().zip(pads[rank + axis].as_ref()).and_then(|(a, b)| d.add(a)?.add(b));
        sum.unwrap_or_else(|| cx.fresh_dim())
    };
    let dims = from.into_iter().enumerate().map(padded).collect();
    let args: Vec<_> = (0..cx.input_count()).map(|i| cx.opt(i)).collect();
    cx.add_node(PadDynamic { mode, dims }, &args)
}

/// Pads that may be negative: what is cut off and what is added is as much on both sides, or one less before.
fn center_crop_pad(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, shape) = (cx.input(0)?, cx.input(1)?);
    let (from, rank) = (cx.ty(x).dims, cx.rank(x));
    let axes = match cx.attr_ints("axes")? {
        Some(axes) => cx.axes(axes, rank)?,
        None => (0..rank).collect(),
    };
    let shape = reshape(cx, shape, vec![Dim::constant(axes.len())])?;
    let asked = elements(cx, shape, "shape")?;
    let mut pads = vec![Dim::constant(0); 2 * rank];
    for (axis, size) in axes.iter().zip(&asked) {
        let Some(size) = size else { return center_crop_pad_dynamic(cx, x, shape, &axes, &asked) };
        let (zero, two, len) = (Dim::constant(0), Dim::constant(2), &from[*axis]);
        let both = || {
            let half = |n: Dim| n.max_of(&zero)?.floordiv(&two);
            let before = half(size.sub(len)?)?.sub(&half(len.sub(size)?)?)?;
            Some((before.clone(), size.sub(len)?.sub(&before)?))
        };
        let Some((before, after)) = both() else { bail!("`{size}` is too large an expression") };
        (pads[*axis], pads[rank + axis]) = (before, after);
    }
    cx.add_node(Pad { mode: PadMode::Constant, pads }, &[Some(x)])
}

/// The same with pads that are computed when the sizes are there.
fn center_crop_pad_dynamic(
    cx: &mut NodeCx,
    x: Value,
    shape: Value,
    axes: &[usize],
    asked: &[Option<Dim>],
) -> OpResult<Vec<Value>> {
    let mut dims = cx.ty(x).dims;
    for (axis, size) in axes.iter().zip(asked) {
        dims[*axis] = size.clone().unwrap_or_else(|| cx.fresh_dim());
    }
    let places = cx.constant(Tensor::vector(axes.iter().map(|a| *a as i64).collect::<Vec<i64>>()));
    let (zero, two) = (cx.constant(Tensor::scalar(0i64)), cx.constant(Tensor::scalar(2i64)));
    let lengths = cx.add(Shape { start: 0, end: cx.rank(x) }, &[x])?;
    let lengths = cx.add(Gather { axis: 0 }, &[lengths, places])?;
    let shape = cast(cx, shape, Elem::I64)?;
    let half = |cx: &mut NodeCx, a: Value, b: Value| {
        let more = cx.add(Sub {}, &[a, b])?;
        let more = cx.add(Max {}, &[more, zero])?;
        cx.add(Div {}, &[more, two])
    };
    let (added, cut) = (half(cx, shape, lengths)?, half(cx, lengths, shape)?);
    let before = cx.add(Sub {}, &[added, cut])?;
    let all = cx.add(Sub {}, &[shape, lengths])?;
    let after = cx.add(Sub {}, &[all, before])?;
    let pads = cx.add(Concat { axis: 0 }, &[before, after])?;
    let op = PadDynamic { mode: PadMode::Constant, dims };
    cx.add_node(op, &[Some(x), Some(pads), None, Some(places)])
}

/// The padding of opsets that have it as an attribute, and floats alone.
fn float(value: f32, elem: Elem) -> OpResult<Tensor> {
    Ok(match elem {
        Elem::F32 => Tensor::scalar(value),
        Elem::F64 => Tensor::scalar(f64::from(value)),
        Elem::F16 => Tensor::scalar(f16::from_f32(value)),
        Elem::Bf16 => Tensor::scalar(bf16::from_f32(value)),
        _ => bail!("cannot pad {elem} before opset 11"),
    })
}
