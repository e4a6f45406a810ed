//! What detectors, warps and regions of images are made of.

use trine_ir::attr::Attr;
use trine_ir::ops::*;
use trine_ir::{Dim, Elem, OpResult, Tensor, Value, bail};

use super::layout::elements;
use super::nn::{aligned, cast, reshape, scalar};
use super::{Mapper, NodeCx};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "GridSample") => grid_sample,
        ("", "AffineGrid") => affine_grid,
        ("", "NonMaxSuppression") => non_max_suppression,
        ("", "RoiAlign") => roi_align,
        ("", "MaxRoiPool") => max_roi_pool,
        _ => return None,
    })
}

/// The modes had names of their own before opset 20, which exporters kept.
fn grid_sample(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let mode = match cx.attr_str("mode", "linear")? {
        "linear" | "bilinear" => SampleMode::Linear,
        "cubic" | "bicubic" => SampleMode::Cubic,
        "nearest" => SampleMode::Nearest,
        other => bail!("no mode `{}`", other.escape_debug()),
    };
    let outside = Outside::parse(cx.attr_str("padding_mode", "zeros")?)?;
    let align_corners = cx.attr_bool("align_corners", false)?;
    let args = [cx.input(0)?, cx.input(1)?];
    Ok(vec![cx.add(GridSample { mode, outside, align_corners }, &args)?])
}

/// `theta · [x, y, 1]`, for each place of an image of the size that is asked for; f16 and bf16 are computed in f32.
fn affine_grid(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (theta, size) = (cx.input(0)?, cx.input(1)?);
    let (ty, sizes, align) = (cx.ty(theta), cx.ty(size), cx.attr_bool("align_corners", false)?);
    let asked = || sizes.dims.first()?.as_const()?.checked_sub(2);
    let axes = ty.dims.get(1).and_then(Dim::as_const).or_else(asked);
    let Some(axes) = axes.filter(|n| (1..=3).contains(n) && ty.rank() == 3 && sizes.rank() == 1) else {
        bail!("expects matrices [n,2,3] or [n,3,4] and sizes of 4 or 5 axes, got {ty} and {sizes}");
    };
    let size = reshape(cx, size, vec![Dim::constant(axes + 2)])?;
    let sizes = elements(cx, size, "size")?;
    let n = sizes[0].clone().unwrap_or_else(|| cx.fresh_dim());
    let shape = vec![n.clone(), Dim::constant(axes), Dim::constant(axes + 1)];
    let theta = match sizes[0] {
        Some(_) => reshape(cx, theta, shape)?,
        None => {
            let batch = cx.add(range_of(0, 0), &[size])?;
            let matrix = cx.constant(Tensor::vector(vec![axes as i64, axes as i64 + 1]));
            let asked = cx.add(Concat { axis: 0 }, &[batch, matrix])?;
            cx.add(ReshapeDynamic { allow_zero: true, dims: shape }, &[theta, asked])?
        }
    };
    let wide = if ty.elem == Elem::F64 { Elem::F64 } else { Elem::F32 };
    let theta = cast(cx, theta, wide)?;

    let mut column = vec![Dim::constant(1); axes + 2];
    (column[0], column[axes + 1]) = (n, Dim::constant(axes));
    let mut grid = None;
    // The last axis comes first.
    for (i, axis) in (0..axes).rev().enumerate() {
        let len = cx.add(range_of(0, axis + 2), &[size])?;
        let len = reshape(cx, len, vec![])?;
        let count = sizes[axis + 2].clone().unwrap_or_else(|| cx.fresh_dim());
        let places = spread(cx, len, count, wide, align)?;
        let places = aligned(cx, places, axes + 2, &[axis + 1])?;
        let by = cx.add(range_of(2, i), &[theta])?;
        let by = reshape(cx, by, column.clone())?;
        let moved = cx.add(Mul {}, &[places, by])?;
        grid = Some(match grid {
            None => moved,
            Some(grid) => cx.add(Add {}, &[grid, moved])?,
        });
    }
    let offset = cx.add(range_of(2, axes), &[theta])?;
    let offset = reshape(cx, offset, column)?;
    let grid = cx.add(Add {}, &[grid.ok_or("there are no axes")?, offset])?;
    Ok(vec![cast(cx, grid, ty.elem)?])
}

/// Element `i` of `axis`, which is kept.
fn range_of(axis: usize, i: usize) -> Slice {
    let [starts, ends] = [i, i + 1].map(|n| vec![Dim::constant(n)]);
    Slice { axes: vec![axis], starts, ends, steps: vec![1], sizes: None }
}

/// `count` numbers, which are `len`, from -1 to 1: both included, or the middles of as many parts.
fn spread(cx: &mut NodeCx, len: Value, count: Dim, elem: Elem, align: bool) -> OpResult<Value> {
    let (zero, one) = (scalar(cx, Elem::I64, 0.0)?, scalar(cx, Elem::I64, 1.0)?);
    let positions = cx.add(Range { count }, &[zero, len, one])?;
    let (positions, len) = (cast(cx, positions, elem)?, cast(cx, len, elem)?);
    let [one, two] = [1.0, 2.0].map(|v| scalar(cx, elem, v));
    let (one, two) = (one?, two?);
    let (places, parts) = match align {
        // One place alone is at -1.
        true => {
            let parts = cx.add(Sub {}, &[len, one])?;
            (positions, cx.add(Max {}, &[parts, one])?)
        }
        false => {
            let half = scalar(cx, elem, 0.5)?;
            (cx.add(Add {}, &[positions, half])?, len)
        }
    };
    let doubled = cx.add(Mul {}, &[places, two])?;
    let share = cx.add(Div {}, &[doubled, parts])?;
    cx.add(Sub {}, &[share, one])
}

fn non_max_suppression(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let centred = match cx.attr_int("center_point_box", 0)? {
        0 => false,
        1 => true,
        other => bail!("`center_point_box` is {other}"),
    };
    // An absent input may be one without elements.
    let filled = |v: &Value| cx.ty(*v).dims.first().is_none_or(|n| n.as_const() != Some(0));
    let given = [2, 3, 4].map(|i| cx.opt(i).filter(filled));
    let count = if given[0].is_none() { Dim::constant(0) } else { cx.fresh_dim() };
    let args = [[Some(cx.input(0)?), Some(cx.input(1)?)].as_slice(), &given].concat();
    cx.add_node(NonMaxSuppression { centred, count }, &args)
}

/// Before opset 16, the first element's centre was at 0.
fn roi_align(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let default = if cx.opset() < 16 { "output_half_pixel" } else { "half_pixel" };
    let half_pixel = match cx.attr_str("coordinate_transformation_mode", default)? {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => bail!("no coordinates `{}`", other.escape_debug()),
    };
    let pool = match cx.attr_str("mode", "avg")? {
        "avg" => RoiPool::Average,
        "max" => RoiPool::Max,
        other => bail!("no mode `{}`", other.escape_debug()),
    };
    let count = |name: &str, default: i64| match usize::try_from(cx.attr_int(name, default)?) {
        Ok(n) => Ok(n),
        Err(_) => bail!("attribute `{name}` is negative"),
    };
    let op = RoiAlign {
        pool,
        size: vec![count("output_height", 1)?, count("output_width", 1)?],
        samples: count("sampling_ratio", 0)?,
        scale: cx.attr_float("spatial_scale", 1.0)?,
        half_pixel,
    };
    let args = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    Ok(vec![cx.add(op, &args)?])
}

fn max_roi_pool(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let Some(shape) = cx.attr_ints("pooled_shape")? else { bail!("attribute `pooled_shape` is missing") };
    let size = shape.iter().map(|n| usize::try_from(*n)).collect::<Result<Vec<_>, _>>();
    let Ok(size) = size else { bail!("`pooled_shape` is {shape:?}") };
    let args = [cx.input(0)?, cx.input(1)?];
    Ok(vec![cx.add(MaxRoiPool { size, scale: cx.attr_float("spatial_scale", 1.0)? }, &args)?])
}
