//! Constants, shapes and the order of elements.

use trine_ir::ops::*;
use trine_ir::{Dim, Op, OpResult, Tensor, Value, bail};

use super::nn::{cast, positions};
use super::{Mapper, NodeCx};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "Constant") => constant,
        ("", "ConstantOfShape") => constant_of_shape,
        ("", "Identity") => |cx| Ok(vec![cx.input(0)?]),
        ("", "Reshape") => reshape,
        ("", "Squeeze") => squeeze,
        ("", "Unsqueeze") => unsqueeze,
        ("", "Flatten") => flatten,
        ("", "Transpose") => transpose,
        ("", "Expand") => expand,
        ("", "Tile") => tile,
        ("", "DepthToSpace") => depth_to_space,
        ("", "SpaceToDepth") => space_to_depth,
        ("", "Trilu") => trilu,
        ("", "Shape") => shape,
        ("", "Size") => |cx| one(cx, Size {}),
        ("", "Range") => range,
        ("", "EyeLike") => eye_like,
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

fn constant_of_shape(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let shape = cx.input(0)?;
    let value = cx.attr_tensor("value")?.unwrap_or_else(|| Tensor::scalar(0f32));
    let value = cx.constant(value.reshape(vec![])?);
    Ok(vec![match cx.shape_values(shape) {
        Some(shape) => cx.add(Expand { shape }, &[value])?,
        None => {
            let dims = stated_dims(cx, shape)?;
            cx.add(ExpandDynamic { dims }, &[value, shape])?
        }
    }])
}

fn reshape(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, allow_zero) = (cx.input(0)?, cx.attr_bool("allowzero", false)?);
    let given = match cx.attr_ints("shape")? {
        Some(shape) => shape.iter().map(|d| Some(Dim::integer(*d))).collect(),
        None => elements(cx, cx.input(1)?, "shape")?,
    };
    let from = cx.ty(x).dims;
    let mut shape = vec![];
    for (i, dim) in given.iter().enumerate() {
        shape.push(match dim.as_ref().map(|d| (d, d.as_integer())) {
            Some((_, Some(-1))) => None,
            Some((_, Some(0))) if !allow_zero => match from.get(i) {
                Some(d) => Some(d.clone()),
                None => bail!("axis {i} of the shape is 0, but {} has no axis {i}", cx.ty(x)),
            },
            Some((d, _)) => Some(d.clone()),
            None => None,
        });
    }
    if given.iter().all(Option::is_some) {
        let rest = quotient(&from, &shape);
        let shape: Vec<_> =
            shape.into_iter().map(|d| d.or_else(|| rest.clone()).unwrap_or_else(|| cx.fresh_dim())).collect();
        return Ok(vec![reshaped(cx, x, shape)?]);
    }
    let dims = shape.into_iter().map(|d| d.unwrap_or_else(|| cx.fresh_dim())).collect();
    let shape = cx.input(1)?;
    Ok(vec![cx.add(ReshapeDynamic { allow_zero, dims }, &[x, shape])?])
}

/// The product of `from` over those of `to` that are known, if that is a polynomial.
fn quotient(from: &[Dim], to: &[Option<Dim>]) -> Option<Dim> {
    let mut over: Vec<_> = from.to_vec();
    let mut under = Dim::constant(1);
    for dim in to.iter().flatten() {
        match over.iter().position(|d| d == dim) {
            Some(same) => drop(over.swap_remove(same)),
            None => under = under.mul(dim)?,
        }
    }
    // One that does not divide is refused where the elements are counted.
    Dim::product(&over)?.floordiv(&under)
}

/// `x` under `shape`; `x` itself if that is its shape.
pub(super) fn reshaped(cx: &mut NodeCx, x: Value, shape: Vec<Dim>) -> OpResult<Value> {
    if cx.ty(x).dims == shape { Ok(x) } else { cx.add(Reshape { shape }, &[x]) }
}

fn squeeze(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let dims = cx.ty(x).dims;
    let axes = match known_axes(cx)? {
        Axes::Known(axes) => cx.axes(&axes, dims.len())?,
        Axes::Absent => {
            for dim in dims.iter().filter(|d| d.as_const().is_none()) {
                require_not_one(cx, dim)?;
            }
            (0..dims.len()).filter(|i| dims[*i].as_const() == Some(1)).collect()
        }
        Axes::Dynamic(axes, count) => {
            let Some(rank) = dims.len().checked_sub(count) else { bail!("{count} axes of {}", cx.ty(x)) };
            let dims = (0..rank).map(|_| cx.fresh_dim()).collect();
            return Ok(vec![cx.add(SqueezeDynamic { dims }, &[x, axes])?]);
        }
    };
    if let Some(axis) = axes.iter().find(|a| dims[**a].as_const().is_some_and(|n| n != 1)) {
        bail!("axis {axis} of {} is not of length 1", cx.ty(x));
    }
    // An exporter's branch may drop the axis where it is 1 and keep it elsewhere: the size stays what it is.
    for axis in &axes {
        cx.assume(&dims[*axis], &Dim::constant(1));
    }
    let kept = dims.into_iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| d).collect();
    Ok(vec![reshaped(cx, x, kept)?])
}

/// Takes a dimension on which a rank depends not to be 1.
pub(super) fn require_not_one(cx: &mut NodeCx, dim: &Dim) -> OpResult<()> {
    let one = Dim::constant(1);
    // The square of how far it is from 1 is 0 there alone.
    let away = dim.sub(&one).and_then(|d| d.mul(&d)).and_then(|d| d.min_of(&one));
    match away.filter(|_| cx.can_require(&[dim])) {
        Some(away) => cx.assume(&away, &one),
        None => bail!("the rank depends on whether `{dim}` is 1; fix it by `--dim`"),
    }
    Ok(())
}

fn unsqueeze(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let from = cx.ty(x).dims;
    Ok(vec![match known_axes(cx)? {
        Axes::Known(axes) => {
            let rank = from.len() + axes.len();
            let axes = cx.axes(&axes, rank)?;
            let mut rest = from.into_iter();
            let dim = |i| if axes.contains(&i) { Some(Dim::constant(1)) } else { rest.next() };
            let shape = (0..rank).filter_map(dim).collect();
            reshaped(cx, x, shape)?
        }
        Axes::Absent => bail!("has no axes"),
        Axes::Dynamic(axes, count) => {
            let dims = (0..from.len() + count).map(|_| cx.fresh_dim()).collect();
            cx.add(UnsqueezeDynamic { dims }, &[x, axes])?
        }
    }])
}

enum Axes {
    Known(Vec<i64>),
    Absent,
    /// An input with so many elements.
    Dynamic(Value, usize),
}

/// The axes of Squeeze and Unsqueeze, an attribute before opset 13.
fn known_axes(cx: &NodeCx) -> OpResult<Axes> {
    if let Some(axes) = cx.attr_ints("axes")? {
        return Ok(Axes::Known(axes.to_vec()));
    }
    let Some(axes) = cx.opt(1) else { return Ok(Axes::Absent) };
    match cx.const_ints(axes) {
        Some(axes) => Ok(Axes::Known(axes)),
        None => Ok(Axes::Dynamic(axes, vector_len(cx, axes, "axes")?)),
    }
}

fn flatten(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let dims = cx.ty(x).dims;
    let axis = match cx.attr_int("axis", 1)? {
        axis if axis == dims.len() as i64 => dims.len(),
        axis => cx.axis(axis, dims.len())?,
    };
    let product = |dims: &[Dim]| Dim::product(dims).ok_or("is too large");
    let shape = vec![product(&dims[..axis])?, product(&dims[axis..])?];
    Ok(vec![reshaped(cx, x, shape)?])
}

fn transpose(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let perm = match cx.attr_ints("perm")? {
        Some(perm) => cx.axes(perm, rank)?,
        None => (0..rank).rev().collect(),
    };
    one(cx, Transpose { perm })
}

/// ONNX broadcasts both ways; in our `expand` the shape is that of the result.
fn expand(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, shape) = (cx.input(0)?, cx.input(1)?);
    let from = cx.ty(x).dims;
    let to = elements(cx, shape, "shape")?;
    let rank = from.len().max(to.len());
    let one = Dim::constant(1);
    let dim = |i: usize| {
        let from = (i + from.len()).checked_sub(rank).map_or(&one, |j| &from[j]);
        let to = (i + to.len()).checked_sub(rank).map_or(Some(&one), |j| to[j].as_ref());
        match to {
            Some(to) if *from == one || to == from => Some(to.clone()),
            Some(to) if *to == one || from.as_const().is_some() => Some(from.clone()),
            Some(to) if to.as_const().is_some() => Some(to.clone()),
            Some(to) => Dim::broadcast([from.clone(), to.clone()]),
            None if from.as_const().is_some_and(|n| n > 1) => Some(from.clone()),
            None => None,
        }
    };
    let dims: Vec<_> = (0..rank).map(dim).collect();
    if let Some(shape) = dims.iter().cloned().collect::<Option<Vec<_>>>()
        && to.iter().all(Option::is_some)
    {
        return Ok(vec![if shape == from { x } else { cx.add(Expand { shape }, &[x])? }]);
    }
    let dims = dims.into_iter().map(|d| d.unwrap_or_else(|| cx.fresh_dim())).collect();
    Ok(vec![cx.add(ExpandDynamic { dims }, &[x, shape])?])
}

fn tile(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, repeats) = (cx.input(0)?, cx.input(1)?);
    if let Some(repeats) = cx.shape_values(repeats) {
        return one(cx, Tile { repeats });
    }
    let dims = (0..cx.rank(x)).map(|_| cx.fresh_dim()).collect();
    Ok(vec![cx.add(TileDynamic { dims }, &[x, repeats])?])
}

/// `[b, c, h, w]` to `[b, c/s², h·s, w·s]`.
fn depth_to_space(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, [b, c, h, w], s) = image(cx)?;
    let square = s.mul(&s).ok_or("the block is too large")?;
    let Some(depth) = c.div_exact(&square) else { bail!("{} channels do not divide by {square}", c) };
    let (apart, perm) = match cx.attr_str("mode", "DCR")? {
        "DCR" => {
            (vec![b.clone(), s.clone(), s.clone(), depth.clone(), h.clone(), w.clone()], [0, 3, 4, 1, 5, 2])
        }
        "CRD" => {
            (vec![b.clone(), depth.clone(), s.clone(), s.clone(), h.clone(), w.clone()], [0, 1, 4, 2, 5, 3])
        }
        mode => bail!("no mode `{}`", mode.escape_debug()),
    };
    let apart = reshaped(cx, x, apart)?;
    let moved = cx.add(Transpose { perm: perm.into() }, &[apart])?;
    let (Some(h), Some(w)) = (h.mul(&s), w.mul(&s)) else { bail!("is too large") };
    Ok(vec![reshaped(cx, moved, vec![b, depth, h, w])?])
}

/// `[b, c, h·s, w·s]` to `[b, s²·c, h, w]`, the places in a block before the channels, or after them.
fn space_to_depth(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, [b, c, h, w], s) = image(cx)?;
    let h = h.floordiv(&s).ok_or("is too large")?;
    let rows = reshaped(cx, x, vec![b.clone(), c.clone(), h.clone(), s.clone(), w.clone()])?;
    let w = w.floordiv(&s).ok_or("is too large")?;
    let apart = vec![b.clone(), c.clone(), h.clone(), s.clone(), w.clone(), s.clone()];
    let apart = reshaped(cx, rows, apart)?;
    let perm = match cx.attr_str("mode", "DCR")? {
        "DCR" => vec![0, 3, 5, 1, 2, 4],
        "CRD" => vec![0, 1, 3, 5, 2, 4],
        mode => bail!("no mode `{}`", mode.escape_debug()),
    };
    let moved = cx.add(Transpose { perm }, &[apart])?;
    let depth = c.mul(&s).and_then(|d| d.mul(&s)).ok_or("is too large")?;
    Ok(vec![reshaped(cx, moved, vec![b, depth, h, w])?])
}

/// Input 0 with its four dimensions, and the block size.
fn image(cx: &NodeCx) -> OpResult<(Value, [Dim; 4], Dim)> {
    let x = cx.input(0)?;
    let Ok(dims) = <[Dim; 4]>::try_from(cx.ty(x).dims) else {
        bail!("{} is not a batch of images", cx.ty(x))
    };
    match cx.attr_int("blocksize", 0)? {
        size @ 1.. => Ok((x, dims, Dim::integer(size))),
        size => bail!("a block size of {size}"),
    }
}

pub(super) fn trilu(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let upper = cx.attr_bool("upper", true)?;
    let args = [Some(cx.input(0)?), cx.opt(1)];
    cx.add_node(Trilu { upper }, &args[..cx.input_count().min(2)])
}

fn shape(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let rank = cx.rank(cx.input(0)?) as i64;
    let clamp = |axis: i64| (if axis < 0 { axis.saturating_add(rank) } else { axis }).clamp(0, rank) as usize;
    let (start, end) = (clamp(cx.attr_int("start", 0)?), clamp(cx.attr_int("end", rank)?));
    one(cx, Shape { start, end: end.max(start) })
}

fn range(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let args = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    let count = range_count(cx, args).unwrap_or_else(|| cx.fresh_dim());
    Ok(vec![cx.add(Range { count }, &args)?])
}

/// How many numbers there are, when the bounds are constants, or whole and one apart.
pub(super) fn range_count(cx: &NodeCx, bounds: [Value; 3]) -> Option<Dim> {
    if let [Some(start), Some(limit), Some(delta)] = bounds.map(|b| cx.const_tensor(b)) {
        let op = Op::from(Range { count: Dim::constant(0) });
        let args = [Some(&start), Some(&limit), Some(&delta)];
        return Some(Dim::constant(op.eval(&args, &trine_ir::DimEnv::default()).ok()?.first()?.len()));
    }
    let [start, limit, delta] = bounds.map(|b| cx.shape_values(b).and_then(|v| v.into_iter().next()));
    let (start, limit) = (start?, limit?);
    let (span, step) = match delta?.as_integer()? {
        0 => return None,
        step @ 1.. => (limit.sub(&start)?, step),
        step => (start.sub(&limit)?, step.checked_neg()?),
    };
    let span = if span.is_nonnegative() { span } else { span.max_of(&Dim::constant(0))? };
    span.ceildiv(&Dim::integer(step))
}

/// Ones on diagonal `k` of a matrix of the shape of input 0, and zeros.
fn eye_like(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let ty = cx.ty(x);
    let [rows, _] = ty.dims.as_slice() else { bail!("expects a matrix, got {ty}") };
    let elem = cx.attr_elem("dtype")?.unwrap_or(ty.elem);
    let k = cx.constant(Tensor::scalar(cx.attr_int("k", 0)?));
    let (row, column) = (positions(cx, x, 0)?, positions(cx, x, 1)?);
    let row = reshaped(cx, row, vec![rows.clone(), Dim::constant(1)])?;
    let diagonal = cx.add(Add {}, &[row, k])?;
    let one = cx.add(Equal {}, &[diagonal, column])?;
    Ok(vec![cast(cx, one, elem)?])
}

fn one(cx: &mut NodeCx, op: impl Into<Op>) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    Ok(vec![cx.add(op, &[x])?])
}

/// The length of a vector input whose elements are not known.
pub(super) fn vector_len(cx: &NodeCx, v: Value, name: &str) -> OpResult<usize> {
    match cx.ty(v).dims.as_slice() {
        [n] if n.as_const().is_some_and(|n| n <= 64) => Ok(n.as_const().unwrap_or_default()),
        _ => bail!("`{name}` is {}, from which the rank of the result does not follow", cx.ty(v)),
    }
}

/// The elements of a vector input as far as they are known.
pub(super) fn elements(cx: &NodeCx, v: Value, name: &str) -> OpResult<Vec<Option<Dim>>> {
    match cx.partial_shape_values(v) {
        Some(elements) => Ok(elements),
        None => Ok(vec![None; vector_len(cx, v, name)?]),
    }
}

/// The elements of a shape input, with symbols for those that are not known.
fn stated_dims(cx: &mut NodeCx, shape: Value) -> OpResult<Vec<Dim>> {
    let known = elements(cx, shape, "shape")?;
    Ok(known.into_iter().map(|d| d.unwrap_or_else(|| cx.fresh_dim())).collect())
}
