//! Which elements of an axis, with which weights, make an element of the resized axis.
//!
//! Formulas are those of the ONNX Resize operator, version 19, whose text names the ways to map coordinates.

use super::*;
use crate::bail;
use crate::ops::resize::{Coordinates, Nearest, Resize, ResizeMode};

/// An axis to be resized: its length before and after, the factor, and the region that is shown.
pub(in crate::ops) struct Axis {
    pub from: usize,
    pub to: usize,
    pub scale: f64,
    pub start: f64,
    pub end: f64,
}

/// Indices and weights; `None` for an element that lies outside of the source.
pub(in crate::ops) type Taps = Option<Vec<(usize, f64)>>;

/// The most taps that all elements of an axis may have together.
const MAX_TAPS: usize = 1 << 28;

impl Axis {
    pub fn is_identity(&self) -> bool {
        self.from == self.to && (self.scale - 1.0).abs() < 1e-9 && self.start == 0.0 && self.end == 1.0
    }

    /// The position in the source of element `i` of the result.
    fn position(&self, coordinates: Coordinates, i: usize) -> f64 {
        let (i, from, to) = (i as f64, self.from as f64, self.scale * self.from as f64);
        let half_pixel = (i + 0.5) / self.scale - 0.5;
        match coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => from / 2.0 * (1.0 - self.to as f64 / to) + half_pixel,
            Coordinates::PytorchHalfPixel if to == 1.0 => -0.5,
            Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::AlignCorners if to == 1.0 => 0.0,
            Coordinates::AlignCorners => i * (from - 1.0) / (to - 1.0),
            Coordinates::Asymmetric => i / self.scale,
            Coordinates::TfCropAndResize => {
                let shown = (self.end - self.start) * (from - 1.0);
                let within = if to == 1.0 { shown / 2.0 } else { i * shown / (to - 1.0) };
                within + self.start * (from - 1.0)
            }
        }
    }

    /// The element at `index`, or the last one before it.
    fn clamp(&self, index: f64) -> usize {
        index.clamp(0.0, self.from.saturating_sub(1) as f64) as usize
    }
}

/// The element of the source that is nearest to element `i` of the result, and the position of the latter.
pub(in crate::ops) fn nearest(op: &Resize, axis: &Axis, i: usize) -> (usize, f64) {
    let x = axis.position(op.coordinates, i);
    let index = match op.nearest {
        Nearest::RoundPreferFloor => (x - 0.5).ceil(),
        Nearest::RoundPreferCeil => (x + 0.5).floor(),
        Nearest::Floor => x.floor(),
        Nearest::Ceil => x.ceil(),
    };
    (axis.clamp(index), x)
}

/// The taps of each element of the result.
pub(in crate::ops) fn taps(op: &Resize, axis: &Axis) -> OpResult<Vec<Taps>> {
    // The kernel is as much wider as the result is smaller, so that all of the source counts.
    let scale = if op.antialias { axis.scale.min(1.0) } else { 1.0 };
    let radius = match op.mode {
        ResizeMode::Nearest => 0.5,
        ResizeMode::Linear => 1.0,
        ResizeMode::Cubic => 2.0,
    };
    let half = (radius / scale).ceil().max(1.0);
    if half * 2.0 * axis.to as f64 > MAX_TAPS as f64 {
        bail!("{} elements of {} taps each are too many", axis.to, half * 2.0);
    }
    let last = axis.from as f64 - 1.0;
    let element = |i| {
        let (near, x) = nearest(op, axis, i);
        if op.coordinates == Coordinates::TfCropAndResize && !(0.0..=last).contains(&x) {
            return None;
        }
        if op.mode == ResizeMode::Nearest {
            return Some(vec![(near, 1.0)]);
        }
        // The neighbours are those from `first` on, as many on either side of `x`.
        let first = x.ceil() - half;
        let weigh = |k: usize| {
            let at = first + k as f64;
            let outside = op.exclude_outside && !(0.0..=last).contains(&at);
            (axis.clamp(at), if outside { 0.0 } else { kernel(op, scale * (at - x)) })
        };
        let mut taps: Vec<_> = (0..2 * half as usize).map(weigh).collect();
        let total: f64 = taps.iter().map(|(_, w)| w).sum();
        if total != 0.0 {
            taps.iter_mut().for_each(|(_, w)| *w /= total);
        }
        Some(taps)
    };
    Ok((0..axis.to).map(element).collect())
}

/// The weight of an element at distance `d`.
fn kernel(op: &Resize, d: f64) -> f64 {
    let (d, a) = (d.abs(), f64::from(op.cubic_a));
    match op.mode {
        ResizeMode::Nearest | ResizeMode::Linear => (1.0 - d).max(0.0),
        ResizeMode::Cubic if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
        ResizeMode::Cubic if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
        ResizeMode::Cubic => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    fn op(mode: ResizeMode, coordinates: Coordinates) -> Resize {
        Resize {
            axes: vec![0],
            mode,
            coordinates,
            nearest: Nearest::RoundPreferFloor,
            aspect_ratio: crate::ops::AspectRatio::Stretch,
            cubic_a: -0.75,
            exclude_outside: false,
            antialias: false,
            extrapolation: -1.0,
            dims: vec![Dim::symbol("n")],
        }
    }

    fn resized(op: &Resize, x: &[f32], scale: f32, roi: Option<[f32; 2]>) -> OpResult<Vec<f32>> {
        let (x, scale) = (Tensor::vector(x.to_vec()), Tensor::vector(vec![scale]));
        let roi = roi.map(|r| Tensor::vector(r.to_vec()));
        let y = op.eval(Args::new(&[Some(&x), roi.as_ref(), Some(&scale)]), &DimEnv::default())?;
        Ok(y[0].values::<f32>()?.to_vec())
    }

    #[test]
    fn upsampling_interpolates_and_repeats_the_edge() {
        let linear = op(ResizeMode::Linear, Coordinates::HalfPixel);
        assert_eq!(resized(&linear, &[0.0, 4.0], 2.0, None).unwrap(), [0.0, 1.0, 3.0, 4.0]);
        let nearest = op(ResizeMode::Nearest, Coordinates::Asymmetric);
        assert_eq!(resized(&nearest, &[0.0, 4.0], 2.0, None).unwrap(), [0.0, 0.0, 4.0, 4.0]);
        let corners = op(ResizeMode::Linear, Coordinates::AlignCorners);
        assert_eq!(resized(&corners, &[0.0, 3.0], 2.0, None).unwrap(), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_constant_stays_constant() {
        for mode in [ResizeMode::Linear, ResizeMode::Cubic] {
            for antialias in [false, true] {
                let op = Resize { antialias, ..op(mode, Coordinates::HalfPixel) };
                for y in resized(&op, &[5.0; 7], 0.45, None).unwrap() {
                    assert!((y - 5.0).abs() < 1e-6, "{mode:?} {y}");
                }
            }
        }
    }

    #[test]
    fn outside_of_the_region_is_extrapolated() {
        let crop = op(ResizeMode::Linear, Coordinates::TfCropAndResize);
        assert_eq!(resized(&crop, &[0.0, 1.0], 2.0, Some([0.0, 1.5])).unwrap(), [0.0, 0.5, 1.0, -1.0]);
    }

    #[test]
    fn extreme_scales_are_refused() {
        let antialias = Resize { antialias: true, ..op(ResizeMode::Cubic, Coordinates::HalfPixel) };
        assert!(resized(&antialias, &[1.0; 3], 0.4, None).is_ok());
        for bad in [f32::NAN, -1.0, f32::INFINITY, 1e30] {
            assert!(resized(&antialias, &[1.0; 3], bad, None).is_err(), "{bad}");
        }
    }
}
