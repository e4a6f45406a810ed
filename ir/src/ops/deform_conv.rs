//! Convolutions whose taps are moved by offsets that are data.

use super::real::Real;
use super::require::may_equal;
use super::window::{WindowAxis, result_dims, spatial_dims, step};
use super::*;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// `conv` with each tap of each window at its place plus an offset, between elements: `w` times what linear interpolation
    /// gives there, pads and what is beyond them counting as zeros, times the tap's `mask` (1 if absent). ONNX DeformConv.
    ///
    /// `x` is `[n, channels, spatial…]`, `w` `[outputs, channels/group, kernel…]`, `offset`
    /// `[n, offset_group·taps·axes, windows…]` and `mask` `[n, offset_group·taps, windows…]`; the `i`-th of `offset_group` equal
    /// parts of the channels has the `i`-th part of both. All is computed in f64 and rounded once.
    DeformConv = "deform_conv" (x, w, offset, bias: optional, mask: optional) {
        strides: Vec<usize>,
        pads: Vec<usize>,
        dilations: Vec<usize>,
        group: usize,
        offset_group: usize,
    }
}

/// Spatial axes that there may be: a sample is made of two elements along each.
const MAX_AXES: usize = 8;

impl OpDef for DeformConv {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, w) = (&args[0], &args[1]);
        if x.rank() < 3 || x.rank() > MAX_AXES + 2 || w.rank() != x.rank() {
            bail!("expects [n,channels,spatial…] and weights of as many axes, got {x} and {w}");
        }
        if let Some(other) = args.from(0).find(|ty| !ty.elem.is_float() || ty.elem != x.elem) {
            bail!("expects floats of one type, got {x} and {other}");
        }
        let Some(kernel) = w.dims[2..].iter().map(Dim::as_const).collect::<Option<Vec<_>>>() else {
            bail!("the kernel of {w} is not constant");
        };
        let axes = self.axes(&kernel)?;
        let times = |dim: &Dim, by: usize| dim.mul(&Dim::constant(by)).ok_or("the sizes overflow");
        let parts = |dim: &Dim, of: usize| of > 0 && dim.as_const().is_none_or(|n| n.is_multiple_of(of));
        if !parts(&w.dims[0], self.group) || !parts(&x.dims[1], self.offset_group) {
            bail!("{w} and {x} are not {} groups, with offsets of {}", self.group, self.offset_group);
        }
        if !may_equal(&x.dims[1], &times(&w.dims[1], self.group)?, module) {
            bail!("{} groups of weights {w} do not fit {x}", self.group);
        }
        let mut dims = vec![x.dims[0].clone(), w.dims[0].clone()];
        dims.extend(spatial_dims(&axes, &x.dims[2..], false)?);
        let Some(taps) = kernel.iter().try_fold(self.offset_group, |n, k| n.checked_mul(*k)) else {
            bail!("a kernel {kernel:?} is too large");
        };
        for (ty, per_tap) in [(args.get(2), axes.len()), (args.get(4), 1)] {
            let Some(ty) = ty else { continue };
            let mut wanted = dims.clone();
            wanted[1] = times(&Dim::constant(taps), per_tap)?;
            if ty.rank() != wanted.len() || !ty.dims.iter().zip(&wanted).all(|(a, b)| may_equal(a, b, module))
            {
                bail!("{ty} is not {}", Type { elem: x.elem, dims: wanted });
            }
        }
        match args.get(3) {
            Some(bias) if bias.rank() != 1 || !may_equal(&bias.dims[0], &w.dims[0], module) => {
                bail!("bias {bias} is not {}[{}]", x.elem, w.dims[0])
            }
            _ => Ok(vec![Type { elem: x.elem, dims }]),
        }
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, w) = (&args[0], &args[1]);
        let dims = result_dims(self, &args)?;
        let read = |i: usize| args.get(i).map(f64::read).transpose();
        let (bias, mask) = (read(3)?, read(4)?);
        let (weights, offsets) = (f64::read(w)?, f64::read(&args[2])?);
        let kernel = &w.dims()[2..];
        let plan = Plan {
            axes: self.axes(kernel)?,
            kernel,
            extents: &x.dims()[2..],
            counts: &dims[2..],
            taps: kernel.iter().product(),
            windows: dims[2..].iter().product(),
        };
        let (channels, outputs, of_group) = (x.dims()[1], dims[1], w.dims()[1] * plan.taps);
        let size: usize = plan.extents.iter().product();
        let (values, together) = (f64::read(x)?, (channels / self.offset_group).max(1));
        let mut y = vec![0f64; crate::tensor::result_count(Elem::F64, &dims)?];
        let mut patch = vec![0f64; crate::tensor::result_count(Elem::F64, &[channels, plan.taps])?];
        for image in 0..dims[0] {
            let mut at = vec![0; plan.axes.len()];
            for window in 0..plan.windows {
                for part in 0..channels.div_ceil(together) {
                    for tap in 0..plan.taps {
                        let place = (image * self.offset_group + part) * plan.taps + tap;
                        let samples = plan.samples(
                            &offsets[place * plan.axes.len() * plan.windows..],
                            tap,
                            &at,
                            window,
                        );
                        let share = mask.as_ref().map_or(1.0, |mask| mask[place * plan.windows + window]);
                        for channel in part * together..(part + 1) * together {
                            let of_channel = &values[(image * channels + channel) * size..][..size];
                            let sum =
                                samples.iter().fold(0.0, |sum, (i, weight)| sum + weight * of_channel[*i]);
                            patch[channel * plan.taps + tap] = sum * share;
                        }
                    }
                }
                for output in 0..outputs {
                    let group = output / (outputs / self.group);
                    let pairs =
                        weights[output * of_group..][..of_group].iter().zip(&patch[group * of_group..]);
                    let start = bias.as_ref().map_or(0.0, |bias| bias[output]);
                    y[(image * outputs + output) * plan.windows + window] =
                        pairs.fold(start, |sum, (w, v)| sum + w * v);
                }
                step(&mut at, plan.counts);
            }
        }
        let y = Tensor::from_vec(dims, y)?;
        Cast { to: x.elem() }.eval(Args::new(&[Some(&y)]), cx)
    }
}

impl DeformConv {
    fn axes(&self, kernel: &[usize]) -> OpResult<Vec<WindowAxis>> {
        WindowAxis::all(kernel, &self.strides, &self.pads, &self.dilations)
    }
}

struct Plan<'a> {
    axes: Vec<WindowAxis>,
    kernel: &'a [usize],
    extents: &'a [usize],
    counts: &'a [usize],
    taps: usize,
    windows: usize,
}

impl Plan<'_> {
    /// The elements that a tap of the window `at` is made of, by their offsets in a channel, and their weights. `offsets` are
    /// those of the tap, one axis after the other.
    fn samples(&self, offsets: &[f64], tap: usize, at: &[usize], window: usize) -> Vec<(usize, f64)> {
        let mut samples = vec![(0, 1.0)];
        let mut below = self.taps;
        for (i, axis) in self.axes.iter().enumerate() {
            below /= self.kernel[i];
            let tap = tap / below % self.kernel[i];
            let place = (at[i] * axis.stride + tap * axis.dilation) as f64 - axis.pads.0 as f64;
            let place = place + offsets[i * self.windows + window];
            let (first, len) = (place.floor(), self.extents[i]);
            let part = place - first;
            let inside = |at: f64| (at >= 0.0 && at < len as f64).then_some(at as usize);
            let pair = [(inside(first), 1.0 - part), (inside(first + 1.0), part)];
            let both = |(o, w): &(usize, f64)| {
                pair.into_iter().filter_map(move |(at, v)| Some((o * len + at?, w * v))).collect::<Vec<_>>()
            };
            samples = samples.iter().flat_map(both).collect();
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{run, tensor};

    const OP: DeformConv =
        DeformConv { strides: vec![], pads: vec![], dilations: vec![], group: 1, offset_group: 1 };

    fn plain(n: usize) -> DeformConv {
        DeformConv { strides: vec![1; n], pads: vec![0; 2 * n], dilations: vec![1; n], ..OP }
    }

    fn deform(op: DeformConv, args: &[Option<&Tensor>]) -> OpResult<Vec<f32>> {
        Ok(run(op, args)?.remove(0).values::<f32>()?.to_vec())
    }

    #[test]
    fn taps_are_moved_between_elements() {
        let x = tensor(&[1, 1, 4], &[1f32, 2.0, 4.0, 8.0]);
        let w = tensor(&[1, 1, 2], &[1f32, 10.0]);
        let none = tensor(&[1, 2, 3], &[0f32; 6]);
        let args = [Some(&x), Some(&w), Some(&none)];
        assert_eq!(deform(plain(1), &args).unwrap(), [21.0, 42.0, 84.0]);
        // Offsets of the first tap, then of the second.
        let moved = tensor(&[1, 2, 3], &[0.5f32, -1.0, 1.0, 0.0, 5.0, -9.0]);
        let (bias, mask) =
            (Tensor::vector(vec![100f32]), tensor(&[1, 2, 3], &[1f32, 1.0, 2.0, 0.0, 1.0, 1.0]));
        let args = [Some(&x), Some(&w), Some(&moved), Some(&bias), Some(&mask)];
        assert_eq!(deform(plain(1), &args).unwrap(), [101.5, 101.0, 116.0]);
        // Half of what is on a pad is half of nothing.
        let padded = DeformConv { pads: vec![1, 0], ..plain(1) };
        let half = tensor(&[1, 2, 4], &[0.5f32, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5]);
        assert_eq!(deform(padded, &[Some(&x), Some(&w), Some(&half)]).unwrap(), [10.5, 21.0, 42.0, 44.0]);
    }

    #[test]
    fn groups_have_offsets_of_their_own() {
        let x = tensor(&[1, 2, 1, 2], &[1f32, 2.0, 3.0, 4.0]);
        let w = tensor(&[2, 1, 1, 1], &[1f32, 10.0]);
        // Of each group y and x, at two windows.
        let offset = tensor(&[1, 4, 1, 2], &[0f32, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0]);
        let op = DeformConv { group: 2, offset_group: 2, ..plain(2) };
        assert_eq!(deform(op, &[Some(&x), Some(&w), Some(&offset)]).unwrap(), [2.0, 2.0, 30.0, 30.0]);
    }

    #[test]
    fn no_offset_is_too_far() {
        let x = tensor(&[1, 1, 1], &[1f32]);
        let w = tensor(&[1, 1, 1], &[1f32]);
        for far in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -1.0, 1.0] {
            let offset = tensor(&[1, 1, 1], &[far]);
            assert_eq!(deform(plain(1), &[Some(&x), Some(&w), Some(&offset)]).unwrap(), [0.0], "{far}");
        }
        let wrong = tensor(&[1, 2, 1], &[0f32; 2]);
        assert!(deform(plain(1), &[Some(&x), Some(&w), Some(&wrong)]).is_err());
        let op = DeformConv { offset_group: 0, ..plain(1) };
        assert!(deform(op, &[Some(&x), Some(&w), Some(&tensor(&[1, 1, 1], &[0f32]))]).is_err());
        let none = tensor::<f32>(&[0, 1, 1], &[]);
        assert_eq!(deform(plain(1), &[Some(&none), Some(&w), Some(&none)]).unwrap(), [0f32; 0]);
    }
}
