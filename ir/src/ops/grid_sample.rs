//! Samples of images at positions that are data: between elements, and beyond the edge.

use super::layout::args::agree;
use super::layout::copy::{buffer, from_raw, raw};
use super::real::Real;
use super::resize::saturate;
use super::*;
use crate::tensor::result_count;
use crate::ty::Elem;
use crate::{attr_enum, bail, op};

attr_enum! {
    /// How a sample follows from the elements around it.
    SampleMode {
        /// The nearest one; of two that are as near, the even one.
        Nearest = "nearest",
        Linear = "linear",
        /// Keys' cubic convolution, with a = -0.75.
        Cubic = "cubic",
    }
}
attr_enum! {
    /// What is beyond the edge.
    Outside {
        Zeros = "zeros",
        /// The element at the edge.
        Border = "border",
        /// The elements mirrored at the edge, as often as it takes.
        Reflection = "reflection",
    }
}
op! {
    /// For each position in `grid: [n, out…, axes]` the sample of every channel of `x: [n, channels, spatial…]` there. ONNX
    /// GridSample.
    ///
    /// A position has a coordinate for each spatial axis, the last axis first, which goes from -1 to 1: from the first
    /// element's centre to the last one's with `align_corners`, else from edge to edge. Coordinates are computed in the type
    /// of `grid`, samples in f64. One that is NaN is outside.
    GridSample = "grid_sample" (x, grid) { mode: SampleMode, outside: Outside, align_corners: bool }
}

/// Spatial axes that there may be: a sample is made of up to four elements along each.
const MAX_AXES: usize = 6;

impl OpDef for GridSample {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, grid) = (&args[0], &args[1]);
        let axes = x.rank().saturating_sub(2);
        if axes == 0 || axes > MAX_AXES || grid.rank() != x.rank() || !grid.elem.is_float() {
            bail!("expects [n,channels,spatial…] and floats [n,…,axes] of as many axes, got {x} and {grid}");
        }
        if x.elem.bits() < 8 {
            bail!("cannot sample {x}");
        }
        agree(&grid.dims[axes + 1], &Dim::constant(axes), module)?;
        let n = agree(&x.dims[0], &grid.dims[0], module)?;
        let dims = [&[n, x.dims[1].clone()], &grid.dims[1..=axes]].concat();
        Ok(vec![Type { elem: x.elem, dims }])
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, grid) = (&args[0], &args[1]);
        let axes = x.rank() - 2;
        if grid.dims()[0] != x.dims()[0] || grid.dims()[axes + 1] != axes {
            bail!("a grid {:?} does not fit images {:?}", grid.dims(), x.dims());
        }
        let dims = [&x.dims()[..2], &grid.dims()[1..=axes]].concat();
        if result_count(Elem::F64, &dims)? > 0 && self.outside != Outside::Zeros && x.is_empty() {
            bail!("{:?} has no elements to sample", x.dims());
        }
        if self.mode == SampleMode::Nearest {
            return Ok(vec![self.nearest(x, grid, dims)?]);
        }
        let wide = Cast { to: Elem::F64 }.eval(Args::new(&[Some(x)]), cx)?.remove(0);
        let values = wide.values::<f64>()?;
        let mut out = vec![0f64; result_count(Elem::F64, &dims)?];
        self.each_sample(x.dims(), grid, |taps, from, to| {
            out[to] = taps.iter().fold(0.0, |sum, (at, weight)| sum + weight * values[from + at]);
        })?;
        let fitting = saturate(&Tensor::from_vec(dims, out)?, x.elem())?;
        Cast { to: x.elem() }.eval(Args::new(&[Some(&fitting)]), cx)
    }
}

impl GridSample {
    fn nearest(&self, x: &Tensor, grid: &Tensor, dims: Vec<usize>) -> OpResult<Tensor> {
        let (bytes, width) = raw(x)?;
        let mut out = buffer(x.elem(), &dims, width)?;
        self.each_sample(x.dims(), grid, |taps, from, to| {
            if let [(at, _)] = taps {
                out[to * width..][..width].copy_from_slice(&bytes[(from + at) * width..][..width]);
            }
        })?;
        from_raw(x.elem(), dims, out)
    }

    /// Calls `f` for each element of the result, with what it is made of (offsets in the channel, and weights), where the
    /// channel starts, and the number of the element.
    fn each_sample(
        &self,
        dims: &[usize],
        grid: &Tensor,
        mut f: impl FnMut(&[(usize, f64)], usize, usize),
    ) -> OpResult<()> {
        let (channels, spatial) = (dims[1], &dims[2..]);
        let size: usize = spatial.iter().product();
        let positions = f64::read(grid)?;
        let count: usize = grid.dims()[1..=spatial.len()].iter().product();
        let narrow = grid.elem() != Elem::F64;
        for (i, position) in positions.chunks_exact(spatial.len()).enumerate() {
            let mut taps = vec![(0, 1.0)];
            for (coordinate, len) in position.iter().rev().zip(spatial) {
                let along = self.taps(self.place(*coordinate, *len, narrow), *len);
                let both = |(at, weight): &(usize, f64)| {
                    along
                        .clone()
                        .into_iter()
                        .map(move |(i, w)| (at * len + i, weight * w))
                        .collect::<Vec<_>>()
                };
                taps = taps.iter().flat_map(both).collect();
            }
            let (image, sample) = (i / count, i % count);
            for channel in image * channels..(image + 1) * channels {
                f(&taps, channel * size, channel * count + sample);
            }
        }
        Ok(())
    }

    /// Where along an axis of `len` elements a coordinate lies, the first element being at 0. With `narrow` the steps are
    /// those of f32, whose results f64 holds.
    fn place(&self, coordinate: f64, len: usize, narrow: bool) -> f64 {
        let round = |v: f64| if narrow { f64::from(v as f32) } else { v };
        let (above, len) = (round(coordinate + 1.0), len as f64);
        let at = match self.align_corners {
            true => round(above / 2.0 * (len - 1.0)),
            false => round(round(above * len) - 1.0) / 2.0,
        };
        let at = if self.mode == SampleMode::Nearest { at.round_ties_even() } else { at };
        let (low, high) = self.edges(len);
        match self.outside {
            // A cubic curve goes on beyond the edge, through copies of its element.
            Outside::Border if self.mode != SampleMode::Cubic && (at < low || at > high) => {
                at.clamp(0.0, (len - 1.0).max(0.0))
            }
            Outside::Reflection => reflected(at, low, high),
            _ => at,
        }
    }

    /// The elements along an axis that make what is at `at`, with their weights.
    fn taps(&self, at: f64, len: usize) -> Vec<(usize, f64)> {
        let first = at.floor();
        let t = at - first;
        let near = |x: f64| (1.25 * x - 2.25) * x * x + 1.0;
        let far = |x: f64| ((-0.75 * x + 3.75) * x - 6.0) * x + 3.0;
        let all: &[(f64, f64)] = match self.mode {
            SampleMode::Nearest => &[(at, 1.0)],
            SampleMode::Linear => &[(first, 1.0 - t), (first + 1.0, t)],
            SampleMode::Cubic => &[
                (first - 1.0, far(t + 1.0)),
                (first, near(t)),
                (first + 1.0, near(1.0 - t)),
                (first + 2.0, far(2.0 - t)),
            ],
        };
        all.iter().filter_map(|(i, weight)| Some((self.element(*i, len)?, *weight))).collect()
    }

    /// Which of `len` elements stands at a whole number.
    fn element(&self, at: f64, len: usize) -> Option<usize> {
        let n = len as f64;
        let at = match self.outside {
            Outside::Zeros => Some(at).filter(|at| *at >= 0.0 && *at < n)?,
            Outside::Border => at,
            Outside::Reflection => {
                let (low, high) = self.edges(n);
                reflected(at, low, high)
            }
        };
        // What is not a number becomes 0.
        Some((at as usize).min(len.checked_sub(1)?))
    }

    /// Where the axis ends, and mirrors are.
    fn edges(&self, len: f64) -> (f64, f64) {
        if self.align_corners { (0.0, len - 1.0) } else { (-0.5, len - 0.5) }
    }
}

/// `at` mirrored until it is between `low` and `high`.
fn reflected(at: f64, low: f64, high: f64) -> f64 {
    let (range, beyond) = (high - low, if at < low { low - at } else { at - high });
    if beyond <= 0.0 || at.is_nan() {
        return at;
    }
    if range <= 0.0 {
        return low;
    }
    let turns = (beyond / range).floor();
    let rest = beyond - turns * range;
    // The edge beyond which it lies, and whether it comes back to that one.
    if (at < low) == (turns % 2.0 == 0.0) { low + rest } else { high - rest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, run, tensor};

    fn sample(mode: SampleMode, outside: Outside, align_corners: bool, at: &[f32]) -> Vec<f32> {
        let x = tensor(&[1, 1, 4], &[10f32, 20.0, 30.0, 40.0]);
        let op = GridSample { mode, outside, align_corners };
        one(op, &[&x, &tensor(&[1, at.len(), 1], at)]).values::<f32>().unwrap().to_vec()
    }

    #[test]
    fn coordinates_go_from_edge_to_edge_or_centre_to_centre() {
        use {Outside::*, SampleMode::*};
        assert_eq!(sample(Linear, Zeros, true, &[-1.0, 1.0, 0.0, -0.5]), [10.0, 40.0, 25.0, 17.5]);
        assert_eq!(sample(Linear, Zeros, false, &[-1.0, 1.0, 0.0, -0.75]), [5.0, 20.0, 25.0, 10.0]);
        // Halves are rounded to the even element.
        assert_eq!(sample(Nearest, Zeros, false, &[-0.5, 0.0, -1.0, 1.5]), [10.0, 30.0, 10.0, 0.0]);
    }

    #[test]
    fn what_is_outside_is_zero_the_edge_or_mirrored() {
        use {Outside::*, SampleMode::*};
        let at = [-1.5f32, -3.0, 1.5, 100.0];
        assert_eq!(sample(Nearest, Zeros, false, &at), [0.0; 4]);
        assert_eq!(sample(Linear, Border, false, &at), [10.0, 10.0, 40.0, 40.0]);
        assert_eq!(
            sample(Nearest, Reflection, false, &[-1.25, -1.75, 1.25, -3.25]),
            [10.0, 20.0, 40.0, 40.0]
        );
        assert_eq!(sample(Linear, Reflection, true, &[-2.0, 3.0]), [25.0, 10.0]);
        assert_eq!(sample(Cubic, Border, true, &[-1.0, 1.0, 9.0]), [10.0, 40.0, 40.0]);
    }

    #[test]
    fn the_last_axis_comes_first_and_integers_are_cut() {
        let x = tensor(&[1, 2, 2, 3], &[0u8, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 255]);
        let grid = tensor(&[1, 1, 3, 2], &[-1f64, 1.0, 1.0, -1.0, 0.5, 1.0]);
        let linear = GridSample { mode: SampleMode::Linear, outside: Outside::Zeros, align_corners: true };
        assert_eq!(one(linear.clone(), &[&x, &grid]), tensor(&[1, 2, 1, 3], &[3u8, 2, 4, 13, 12, 134]));
        let cubic = GridSample { mode: SampleMode::Cubic, ..linear };
        let bright = tensor(&[1, 1, 4], &[0u8, 255, 255, 0]);
        let y = one(cubic, &[&bright, &tensor(&[1, 1, 1], &[0f32])]);
        assert_eq!(y, tensor(&[1, 1, 1], &[255u8]));
    }

    #[test]
    fn no_position_is_too_far() {
        let far = [f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        for mode in SampleMode::ALL {
            for outside in Outside::ALL {
                for align in [true, false] {
                    assert_eq!(sample(*mode, *outside, align, &far).len(), far.len());
                }
            }
            assert_eq!(sample(*mode, Outside::Zeros, false, &far), [0.0; 5]);
        }
        let single = tensor(&[1, 1, 1], &[7f32]);
        let op = GridSample { mode: SampleMode::Linear, outside: Outside::Reflection, align_corners: true };
        assert_eq!(one(op.clone(), &[&single, &tensor(&[1, 1, 1], &[3f32])]), single);
        let none = tensor::<f32>(&[1, 1, 0], &[]);
        assert!(run(op.clone(), &[Some(&none), Some(&tensor(&[1, 1, 1], &[0f32]))]).is_err());
        let zeros = GridSample { outside: Outside::Zeros, ..op.clone() };
        assert_eq!(one(zeros, &[&none, &tensor(&[1, 1, 1], &[0f32])]), tensor(&[1, 1, 1], &[0f32]));
        assert!(run(op, &[Some(&single), Some(&tensor(&[1, 1, 2], &[0f32; 2]))]).is_err());
    }
}
