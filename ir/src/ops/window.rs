//! Windows that slide over the spatial axes of a tensor `[n, channels, spatial…]`: what convolutions and
//! pools share.

use super::*;
use crate::bail;

/// A window along one spatial axis: `kernel` taps `dilation` apart, from `pads.0` before the first element to
/// `pads.1` after the last one, moved by `stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowAxis {
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub pads: (usize, usize),
}

/// No stride, dilation, pad or kernel is larger, so that products of them do not overflow.
const MAX: usize = 1 << 30;

impl WindowAxis {
    /// One an axis of `kernel`; `pads` are those before each axis and then those after each.
    pub fn all(
        kernel: &[usize],
        strides: &[usize],
        pads: &[usize],
        dilations: &[usize],
    ) -> OpResult<Vec<WindowAxis>> {
        let n = kernel.len();
        if [strides.len(), dilations.len(), pads.len()] != [n, n, 2 * n] {
            let lengths = [strides.len(), dilations.len(), pads.len()];
            bail!("{n} spatial axes with {lengths:?} strides, dilations and pads");
        }
        if let Some(zero) = kernel.iter().chain(strides).chain(dilations).find(|v| **v == 0 || **v > MAX) {
            bail!("a kernel, stride or dilation of {zero}");
        }
        if let Some(pad) = pads.iter().find(|p| **p > MAX) {
            bail!("a pad of {pad}");
        }
        let axis = |i: usize| WindowAxis {
            kernel: kernel[i],
            stride: strides[i],
            dilation: dilations[i],
            pads: (pads[i], pads[n + i]),
        };
        Ok((0..n).map(axis).collect())
    }

    /// From the first tap to the last.
    pub fn reach(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// How many windows fit `extent` elements. With `ceil` the last one may stick out, unless it would start
    /// after the elements.
    pub fn count(&self, extent: usize, ceil: bool) -> OpResult<usize> {
        let padded = extent.checked_add(self.pads.0 + self.pads.1).ok_or("the pads overflow")?;
        let Some(room) = padded.checked_sub(self.reach()) else {
            bail!("a window over {} elements does not fit {extent} and pads {:?}", self.reach(), self.pads);
        };
        let steps = if ceil { room.div_ceil(self.stride) } else { room / self.stride };
        let starts_behind = ceil && steps > 0 && steps * self.stride >= extent + self.pads.0;
        Ok(steps + usize::from(!starts_behind))
    }

    /// `count` of a dimension. Symbols are taken to be large enough for a window to fit.
    pub fn count_dim(&self, extent: &Dim, ceil: bool) -> OpResult<Dim> {
        if let Some(extent) = extent.as_const() {
            return self.count(extent, ceil).map(Dim::constant);
        }
        let (stride, one) = (Dim::constant(self.stride), Dim::constant(1));
        let count = || {
            let room = extent.add(&Dim::integer((self.pads.0 + self.pads.1) as i64 - self.reach() as i64))?;
            if !ceil {
                return room.floordiv(&stride)?.add(&one);
            }
            // As many as start on the elements or the pad before them.
            let starts = extent.add(&Dim::constant(self.pads.0))?.ceildiv(&stride)?;
            room.ceildiv(&stride)?.add(&one)?.min_of(&starts.max_of(&one)?)
        };
        count().ok_or_else(|| "the pads overflow".into())
    }

    /// The elements, of `extent`, under the window `at`; taps on pads are left out.
    pub fn taps(&self, at: usize, extent: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let (taps, first) = (self.inside(at, extent), at * self.stride);
        let (dilation, pad) = (self.dilation, self.pads.0);
        taps.map(move |tap| first + tap * dilation - pad)
    }

    /// How many taps of the window `at` are on one of `extent` elements or a pad.
    pub fn padded_taps(&self, at: usize, extent: usize) -> usize {
        let end = extent + self.pads.0 + self.pads.1;
        end.saturating_sub(at * self.stride).div_ceil(self.dilation).min(self.kernel)
    }

    fn inside(&self, at: usize, extent: usize) -> std::ops::Range<usize> {
        let start = at * self.stride;
        let tap = |position: usize| position.saturating_sub(start).div_ceil(self.dilation).min(self.kernel);
        tap(self.pads.0)..tap(extent + self.pads.0)
    }
}

/// The spatial dimensions of a result.
pub(super) fn spatial_dims(axes: &[WindowAxis], x: &[Dim], ceil: bool) -> OpResult<Vec<Dim>> {
    axes.iter().zip(x).map(|(axis, extent)| axis.count_dim(extent, ceil)).collect()
}

/// The shape of the first result, when every operand's is known; checks what symbols had left open.
pub(super) fn result_dims(op: &impl OpDef, args: &Args<Tensor>) -> OpResult<Vec<usize>> {
    let types: Vec<_> = (0..args.len()).map(|i| args.get(i).map(Tensor::ty)).collect();
    let types: Vec<_> = types.iter().map(Option::as_ref).collect();
    let ty = op.infer(Args::new(&types), &())?.remove(0);
    let dims = ty.static_dims().ok_or_else(|| format!("a result cannot be {ty}"))?;
    crate::tensor::result_count(ty.elem, &dims)?;
    Ok(dims)
}

/// Calls `f` with the offset of every element under the window `at` of one channel, row-major.
pub(super) fn each_tap(
    axes: &[WindowAxis],
    extents: &[usize],
    at: &[usize],
    offset: usize,
    f: &mut impl FnMut(usize),
) {
    let ([axis, axes @ ..], [extent, extents @ ..], [first, at @ ..]) = (axes, extents, at) else {
        return f(offset);
    };
    for position in axis.taps(*first, *extent) {
        let offset = offset * extent + position;
        match axes {
            [] => f(offset),
            _ => each_tap(axes, extents, at, offset, f),
        }
    }
}

/// Moves `index` to the next one of shape `dims`, row-major; after the last comes the first.
pub(super) fn step(index: &mut [usize], dims: &[usize]) {
    for (i, d) in index.iter_mut().zip(dims).rev() {
        *i += 1;
        if *i < *d {
            return;
        }
        *i = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(kernel: usize, stride: usize, dilation: usize, pads: (usize, usize)) -> WindowAxis {
        WindowAxis { kernel, stride, dilation, pads }
    }

    #[test]
    fn windows_are_counted_as_they_are_placed() {
        for kernel in 1..4 {
            for (stride, dilation, before, behind) in
                [(1, 1, 0, 0), (2, 1, 1, 0), (3, 2, 2, 1), (2, 3, 0, 4), (5, 1, 1, 1)]
            {
                let axis = axis(kernel, stride, dilation, (before, behind));
                for extent in 1..14usize {
                    let padded = extent + before + behind;
                    if padded < axis.reach() {
                        assert!(axis.count(extent, false).is_err());
                        continue;
                    }
                    let starts: Vec<_> = (0..=padded - axis.reach()).step_by(stride).collect();
                    assert_eq!(axis.count(extent, false).unwrap(), starts.len());
                    for (at, start) in starts.iter().enumerate() {
                        let all = (0..kernel).map(|t| start + t * dilation);
                        let inside =
                            all.filter(|p| (before..before + extent).contains(p)).map(|p| p - before);
                        assert!(axis.taps(at, extent).eq(inside));
                        assert_eq!(axis.padded_taps(at, extent), kernel);
                    }
                }
            }
        }
    }

    #[test]
    fn a_last_window_may_stick_out_but_not_start_behind() {
        assert_eq!(axis(3, 2, 1, (0, 0)).count(4, true).unwrap(), 2);
        assert_eq!(axis(1, 2, 1, (0, 0)).count(2, true).unwrap(), 1);
        assert_eq!(axis(3, 2, 1, (0, 0)).padded_taps(1, 4), 2);
    }

    #[test]
    fn symbolic_counts_are_those_of_numbers() {
        let count = |axis: WindowAxis, extent: &str, ceil| {
            axis.count_dim(&Dim::parse(extent).unwrap(), ceil).unwrap().to_string()
        };
        assert_eq!(count(axis(3, 1, 1, (1, 1)), "h", false), "h");
        assert_eq!(count(axis(3, 2, 1, (1, 1)), "2*h", false), "h");
        assert_eq!(count(axis(3, 2, 1, (1, 1)), "h", false), "floordiv(h+1,2)");
        assert_eq!(count(axis(1, 2, 1, (0, 0)), "h", false), "floordiv(h+1,2)");
        assert_eq!(count(axis(2, 1, 1, (0, 0)), "h", true), "h-1");
        assert_eq!(count(axis(2, 2, 1, (0, 0)), "2*h", true), "h");
    }

    #[test]
    fn zero_and_missing_numbers_are_refused() {
        assert!(WindowAxis::all(&[3], &[0], &[0, 0], &[1]).is_err());
        assert!(WindowAxis::all(&[3], &[1], &[0], &[1]).is_err());
        assert!(WindowAxis::all(&[0], &[1], &[0, 0], &[1]).is_err());
        assert!(WindowAxis::all(&[3], &[1], &[usize::MAX, 0], &[1]).is_err());
    }
}
