//! Resize, and Upsample before it.

use trine_ir::attr::Attr;
use trine_ir::ops::*;
use trine_ir::{Dim, OpResult, Value, bail};

use super::{Mapper, NodeCx};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "Resize") => resize,
        ("", "Upsample") => upsample,
        _ => return None,
    })
}

fn resize(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    if cx.opset() < 11 {
        let scales = cx.input(1)?;
        return early(cx, x, scales);
    }
    let axes = match cx.attr_ints("axes")? {
        Some(axes) => cx.axes(axes, rank)?,
        None => (0..rank).collect(),
    };
    let coordinates = Coordinates::parse(cx.attr_str("coordinate_transformation_mode", "half_pixel")?)?;
    let crops = coordinates == Coordinates::TfCropAndResize;
    let op = Resize {
        axes,
        mode: ResizeMode::parse(cx.attr_str("mode", "nearest")?)?,
        coordinates,
        nearest: Nearest::parse(cx.attr_str("nearest_mode", "round_prefer_floor")?)?,
        aspect_ratio: AspectRatio::parse(cx.attr_str("keep_aspect_ratio_policy", "stretch")?)?,
        cubic_a: cx.attr_float("cubic_coeff_a", -0.75)?,
        exclude_outside: cx.attr_bool("exclude_outside", false)?,
        antialias: cx.attr_bool("antialias", false)?,
        extrapolation: cx.attr_float("extrapolation_value", 0.0)?,
        dims: vec![],
    };
    // Before opset 13 an absent input may be one without elements.
    let filled = |v: &Value| cx.ty(*v).dims.first().is_none_or(|n| n.as_const() != Some(0));
    let (scales, sizes) = (cx.opt(2).filter(filled), cx.opt(3).filter(filled));
    let roi = cx.opt(1).filter(|_| crops);
    build(cx, op, [Some(x), roi, if sizes.is_some() { None } else { scales }, sizes])
}

/// Scales are an input from opset 9 on.
fn upsample(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let scales = match cx.attr_floats("scales")? {
        Some(scales) => cx.constant(trine_ir::Tensor::vector(scales.to_vec())),
        None => cx.input(1)?,
    };
    early(cx, x, scales)
}

/// As resizing was before opset 11: of the elements around, the one towards the origin counts.
fn early(cx: &mut NodeCx, x: Value, scales: Value) -> OpResult<Vec<Value>> {
    let mode = match cx.attr_str("mode", "nearest")? {
        "nearest" => ResizeMode::Nearest,
        "linear" | "bilinear" => ResizeMode::Linear,
        mode => bail!("no mode `{}`", mode.escape_debug()),
    };
    let op = Resize {
        axes: (0..cx.rank(x)).collect(),
        mode,
        coordinates: Coordinates::Asymmetric,
        nearest: Nearest::Floor,
        aspect_ratio: AspectRatio::Stretch,
        cubic_a: -0.75,
        exclude_outside: false,
        antialias: false,
        extrapolation: 0.0,
        dims: vec![],
    };
    build(cx, op, [Some(x), None, Some(scales), None])
}

/// Adds the op with the dimensions of its result as far as they are known.
fn build(cx: &mut NodeCx, op: Resize, args: [Option<Value>; 4]) -> OpResult<Vec<Value>> {
    let [Some(x), _, scales, sizes] = args else { bail!("input 0 is missing") };
    let from = cx.ty(x);
    let [scale_values, size_values] = [scales, sizes].map(|v| v.and_then(|v| cx.const_tensor(v)));
    if let Some(from) = from.static_dims()
        && (scale_values.is_some() || size_values.is_some())
    {
        let dims = op.result_dims(&from, scale_values.as_ref(), size_values.as_ref())?;
        let dims = dims.into_iter().map(Dim::constant).collect();
        return cx.add_node(Resize { dims, ..op }, &args);
    }
    let sizes = sizes.and_then(|v| cx.shape_values(v)).filter(|_| op.aspect_ratio == AspectRatio::Stretch);
    let scales = scale_values.and_then(|t| Some(t.values::<f32>().ok()?.to_vec()));
    let mut dims = from.dims;
    for (i, axis) in op.axes.iter().enumerate() {
        let size = match (&sizes, &scales) {
            (Some(sizes), _) => sizes.get(i).cloned(),
            (_, Some(scales)) => scales.get(i).and_then(|s| scaled(&dims[*axis], *s)),
            _ => None,
        };
        dims[*axis] = size.unwrap_or_else(|| cx.fresh_dim());
    }
    cx.add_node(Resize { dims, ..op }, &args)
}

/// A dimension times a number of few binary digits, rounded down: with others the product is not exact.
fn scaled(dim: &Dim, scale: f32) -> Option<Dim> {
    let halves = (0..=8).map(|i| 1u32 << i).find(|by| (scale * *by as f32).fract() == 0.0)?;
    let over = (1.0..=1e6).contains(&(scale * halves as f32)).then_some((scale * halves as f32) as usize)?;
    dim.mul(&Dim::constant(over))?.floordiv(&Dim::constant(halves as usize))
}
