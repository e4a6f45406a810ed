//! Resampling along axes, one axis after the other: what `resize` does at any scale, in any mode.

mod taps;

use super::layout::args::*;
use super::layout::copy::take;
use super::*;
use crate::tensor::result_count;
use crate::ty::Elem;
use crate::{attr_enum, bail, op};
use taps::{Axis, Taps, nearest, taps};

attr_enum! {
    /// How an element of the result follows from its neighbours in the source.
    ResizeMode {
        Nearest = "nearest",
        Linear = "linear",
        Cubic = "cubic",
    }
}
attr_enum! {
    /// Where in the source an index of the result lies, as ONNX names the ways.
    Coordinates {
        HalfPixel = "half_pixel",
        HalfPixelSymmetric = "half_pixel_symmetric",
        PytorchHalfPixel = "pytorch_half_pixel",
        AlignCorners = "align_corners",
        Asymmetric = "asymmetric",
        TfCropAndResize = "tf_crop_and_resize",
    }
}
attr_enum! {
    /// Which of two neighbours is the nearest; `round_…` prefer one where both are as near.
    Nearest {
        RoundPreferFloor = "round_prefer_floor",
        RoundPreferCeil = "round_prefer_ceil",
        Floor = "floor",
        Ceil = "ceil",
    }
}
attr_enum! {
    /// What `sizes` mean.
    AspectRatio {
        /// The result has these sizes.
        Stretch = "stretch",
        /// All axes are scaled alike, so that none becomes larger.
        NotLarger = "not_larger",
        /// All axes are scaled alike, so that none becomes smaller.
        NotSmaller = "not_smaller",
    }
}
op! {
    /// `x` resampled along `axes` by the factors in `scales`, or to `sizes`. `roi` holds the starts, then the
    /// ends, of the region that `tf_crop_and_resize` shows, in parts of the axes; where it lies outside of
    /// the source the result is `extrapolation`. `dims` states the shape of the result. ONNX Resize.
    Resize = "resize" (x, roi: optional, scales: optional, sizes: optional) {
        axes: Vec<usize>, mode: ResizeMode, coordinates: Coordinates, nearest: Nearest,
        aspect_ratio: AspectRatio, cubic_a: f32, exclude_outside: bool, antialias: bool,
        extrapolation: f32, dims: Vec<Dim>,
    }
}

impl OpDef for Resize {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        for (i, axis) in self.axes.iter().enumerate() {
            expect_axis(x, *axis)?;
            if self.axes[..i].contains(axis) {
                bail!("axis {axis} occurs twice");
            }
        }
        match (args.get(2), args.get(3)) {
            (Some(scales), None) => expect_floats(scales, "scales", self.axes.len())?,
            (None, Some(sizes)) => expect_vector(sizes, "sizes", Some(self.axes.len()))?,
            _ => bail!("takes either scales or sizes"),
        }
        match args.get(1) {
            Some(roi) => expect_floats(roi, "roi", 2 * self.axes.len())?,
            None if self.coordinates == Coordinates::TfCropAndResize => bail!("`roi` is missing"),
            None => {}
        }
        if self.mode != ResizeMode::Nearest && (x.elem.bits() < 8 || x.elem == Elem::Bool) {
            bail!("cannot interpolate {x}");
        }
        if self.dims.len() != x.rank() {
            bail!("`dims` has {} axes, not those of {x}", self.dims.len());
        }
        Ok(vec![Type { elem: x.elem, dims: dimensions(&self.dims)? }])
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = &args[0];
        let axes = self.extents(x.dims(), args.get(1), args.get(2), args.get(3))?;
        let mut dims = x.dims().to_vec();
        for (axis, extent) in self.axes.iter().zip(&axes) {
            if extent.from == 0 && extent.to > 0 {
                bail!("axis {axis} has no elements to resize");
            }
            dims[*axis] = extent.to;
        }
        result_count(Elem::F64, &dims)?;
        let work = self.axes.iter().zip(&axes).filter(|(_, extent)| !extent.is_identity());
        if self.mode == ResizeMode::Nearest && self.coordinates != Coordinates::TfCropAndResize {
            let resized = work.into_iter().try_fold(x.clone(), |x, (axis, extent)| {
                let indices: Vec<_> = (0..extent.to).map(|i| nearest(self, extent, i).0).collect();
                take(&x, *axis, &indices)
            });
            return Ok(vec![resized?]);
        }
        let wide = Cast { to: Elem::F64 }.eval(Args::new(&[Some(x)]), cx)?.remove(0);
        let resized = work.into_iter().try_fold(wide, |x, (axis, extent)| {
            interpolate(&x, *axis, &taps(self, extent)?, self.extrapolation.into())
        })?;
        let fitting = saturate(&resized, x.elem())?;
        Cast { to: x.elem() }.eval(Args::new(&[Some(&fitting)]), cx)
    }
}

impl Resize {
    /// The shape of the result for a source of shape `from`.
    pub fn result_dims(
        &self,
        from: &[usize],
        scales: Option<&Tensor>,
        sizes: Option<&Tensor>,
    ) -> OpResult<Vec<usize>> {
        let mut dims = from.to_vec();
        for (axis, extent) in self.axes.iter().zip(self.extents(from, None, scales, sizes)?) {
            dims[*axis] = extent.to;
        }
        Ok(dims)
    }

    /// How each of `axes` is resized.
    fn extents(
        &self,
        dims: &[usize],
        roi: Option<&Tensor>,
        scales: Option<&Tensor>,
        asked: Option<&Tensor>,
    ) -> OpResult<Vec<Axis>> {
        let n = self.axes.len();
        let roi = roi.map(floats).transpose()?.unwrap_or_else(|| [vec![0.0; n], vec![1.0; n]].concat());
        let from: Vec<usize> = self.axes.iter().map(|a| dims[*a]).collect();
        let (to, scales) = match (scales, asked) {
            (Some(scales), None) => {
                let scales = floats(scales)?;
                // In f32, as exporters compute the sizes they expect.
                let to = from.iter().zip(&scales).map(|(n, s)| (*n as f32 * *s as f32).floor() as usize);
                (to.collect(), scales)
            }
            (None, Some(asked)) => self.fit(&from, sizes(asked)?),
            _ => bail!("takes either scales or sizes"),
        };
        if roi.len() != 2 * n || to.len() != n || scales.len() != n {
            bail!("{} scales or sizes and {} bounds for {n} axes", to.len(), roi.len());
        }
        if let Some(bad) = scales.iter().find(|s| !s.is_finite() || **s < 0.0) {
            bail!("cannot scale by {bad}");
        }
        let axis =
            |i: usize| Axis { from: from[i], to: to[i], scale: scales[i], start: roi[i], end: roi[n + i] };
        Ok((0..n).map(axis).collect())
    }

    /// Sizes of the result and scales, from the sizes that are asked for.
    fn fit(&self, from: &[usize], asked: Vec<usize>) -> (Vec<usize>, Vec<f64>) {
        let scales = from.iter().zip(&asked).map(|(n, m)| if n == m { 1.0 } else { *m as f64 / *n as f64 });
        let common = match self.aspect_ratio {
            AspectRatio::Stretch => None,
            AspectRatio::NotLarger => scales.clone().reduce(f64::min),
            AspectRatio::NotSmaller => scales.clone().reduce(f64::max),
        };
        match common {
            None => (asked.clone(), scales.map(|s| if s.is_finite() { s } else { 1.0 }).collect()),
            Some(s) => (from.iter().map(|n| (s * *n as f64 + 0.5) as usize).collect(), vec![s; from.len()]),
        }
    }
}

/// `x` of f64 with each element along `axis` the weighted sum that its taps say.
fn interpolate(x: &Tensor, axis: usize, taps: &[Taps], outside: f64) -> OpResult<Tensor> {
    let mut dims = x.dims().to_vec();
    let from = std::mem::replace(&mut dims[axis], taps.len());
    let inner: usize = dims[axis + 1..].iter().product();
    let mut out = vec![0f64; result_count(Elem::F64, &dims)?];
    if !out.is_empty() {
        let source = x.values::<f64>()?;
        for (rows, out) in source.chunks_exact(from * inner).zip(out.chunks_exact_mut(taps.len() * inner)) {
            for (taps, out) in taps.iter().zip(out.chunks_exact_mut(inner)) {
                let Some(taps) = taps else {
                    out.fill(outside);
                    continue;
                };
                for (row, weight) in taps {
                    let row = &rows[row * inner..][..inner];
                    out.iter_mut().zip(row).for_each(|(o, v)| *o += weight * v);
                }
            }
        }
    }
    Ok(Tensor::from_vec(dims, out)?)
}

/// Values of f64 within what `elem` holds, since cubic curves overshoot.
pub(super) fn saturate(x: &Tensor, elem: Elem) -> OpResult<Tensor> {
    if elem.is_float() {
        return Ok(x.clone());
    }
    let range = (elem.bits() as f64).exp2();
    let (low, high) = if elem.is_signed() { (-range / 2.0, range / 2.0 - 1.0) } else { (0.0, range - 1.0) };
    let values = x.values::<f64>()?.iter().map(|v| v.clamp(low, high)).collect();
    Ok(Tensor::from_vec(x.dims().to_vec(), values)?)
}

fn expect_floats(ty: &Type, name: &str, len: usize) -> OpResult<()> {
    match ty.dims.as_slice() {
        [n] if ty.elem.is_float() && n.as_const().is_none_or(|n| n == len) => Ok(()),
        _ => bail!("`{name}` must be {len} floats, not {ty}"),
    }
}

fn floats(x: &Tensor) -> OpResult<Vec<f64>> {
    let wide = Cast { to: Elem::F64 }.eval(Args::new(&[Some(x)]), &DimEnv::default())?.remove(0);
    Ok(wide.values::<f64>()?.into_owned())
}
