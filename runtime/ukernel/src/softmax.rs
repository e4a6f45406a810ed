//! Softmax over the last axis:
//!
//! ```text
//! out[b, i] = e[b, i] / Σ_j e[b, j]      e[b, i] = exp(x[b, i] - max_j x[b, j])
//! ```
//!
//! Numerators below 2^-126 are 0. The sum is striped: lane l of 16 adds e[l], e[l + 16], … in sequence, and then the lanes are added
//! by halves. As the equation says, a NaN, a +∞ or nothing but -∞ in a row makes the row NaN.
#![allow(unsafe_code)]

use crate::exp::exp_or_zero;
use crate::lanes::{LANES, Lanes, variants};

/// The arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxF32 {
    /// f32[rows, n].
    pub x: *const f32,
    /// Values from a row of `x` to the next.
    pub x_stride: usize,
    /// f32[rows, n]; may be `x`, with the same stride.
    pub out: *mut f32,
    /// Values from a row of `out` to the next.
    pub out_stride: usize,
    pub rows: usize,
    pub n: usize,
}

variants! {
    SoftmaxF32, softmax_rows =>
    trine_softmax_f32_scalar, trine_softmax_f32_neon, trine_softmax_f32_avx2, trine_softmax_f32_avx512
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn softmax_rows<L: Lanes>(args: &SoftmaxF32) {
    for row in 0..args.rows {
        // SAFETY: the caller's; `i` is below `n`.
        unsafe {
            let x = args.x.add(row * args.x_stride);
            let out = args.out.add(row * args.out_stride);
            let sum = L::splat(exp_less_max::<L>(x, out, args.n));
            for i in (0..args.n).step_by(LANES) {
                L::load_at(out, i, args.n, 0.0).div(sum).store_at(out, i, args.n);
            }
        }
    }
}

/// Writes the numerators of a row and returns the denominator.
///
/// # Safety
/// `n` values at `x` are readable and at `out` writable.
#[inline(always)]
pub(crate) unsafe fn exp_less_max<L: Lanes>(x: *const f32, out: *mut f32, n: usize) -> f32 {
    // SAFETY: the caller's.
    let [sum] = unsafe { exp_less_max_of_rows::<L, 1>(x, out, 0, n) };
    sum
}

/// The same of `R` rows, `stride` values apart, which wait for one another's exponentials less than for their own.
///
/// # Safety
/// `n` values of each row are readable at `x` and writable at `out`.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "sums that are iterated over go through memory")]
pub(crate) unsafe fn exp_less_max_of_rows<L: Lanes, const R: usize>(
    x: *const f32,
    out: *mut f32,
    stride: usize,
    n: usize,
) -> [f32; R] {
    let mut max = [L::splat(f32::NEG_INFINITY); R];
    let mut sums = [L::splat(0.0); R];
    // SAFETY: the caller's; `i` is below `n`.
    unsafe {
        for i in (0..n).step_by(LANES) {
            for r in 0..R {
                max[r] = L::load_at(x.add(r * stride), i, n, f32::NEG_INFINITY).max(max[r]);
            }
        }
        for r in 0..R {
            max[r] = L::splat(max[r].greatest());
        }
        for i in (0..n).step_by(LANES) {
            for r in 0..R {
                // Lanes past the end add e^-∞ = 0.
                let e = exp_or_zero(L::load_at(x.add(r * stride), i, n, f32::NEG_INFINITY).sub(max[r]));
                e.store_at(out.add(r * stride), i, n);
                sums[r] = sums[r].add(e);
            }
        }
    }
    let mut denominators = [0.0; R];
    for r in 0..R {
        denominators[r] = sums[r].sum();
    }
    denominators
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variant;
    use crate::lanes::testing::{for_each_variant, same};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn run(v: &Variant<SoftmaxF32>, x: &[f32], n: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; x.len()];
        let args = SoftmaxF32 {
            x: x.as_ptr(),
            x_stride: n,
            out: out.as_mut_ptr(),
            out_stride: n,
            rows: x.len() / n,
            n,
        };
        // SAFETY: both buffers have `rows` rows; callers only pass variants that run here.
        unsafe { (v.entry())(&args) };
        out
    }

    fn close(got: f32, want: f64) -> bool {
        (f64::from(got) - want).abs() <= 1e-6 * want + 1e-9
    }

    #[test]
    fn degenerate_rows_are_nan() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for row in [[-inf, -inf, -inf], [1.0, inf, 2.0], [1.0, nan, 2.0], [nan, 1.0, 2.0]] {
            for_each_variant(VARIANTS, |v| {
                assert!(run(v, &row, 3)[0].is_nan(), "{} {row:?}", v.name());
            });
        }
    }

    proptest! {
        #[test]
        fn every_variant_agrees_and_is_right(
            n in 1usize..70, values in prop::collection::vec(-90f32..90.0, 140), masked in 0usize..8
        ) {
            let mut x = values[..2 * n].to_vec();
            x.iter_mut().skip(1).step_by(n + 1).take(masked).for_each(|v| *v = f32::NEG_INFINITY);
            let oracle = run(&VARIANTS[VARIANTS.len() - 1], &x, n);
            for_each_variant(VARIANTS, |v| {
                let same = run(v, &x, n).iter().zip(&oracle).all(|(&a, &b)| same(a, b));
                assert!(same, "{}", v.name());
            });
            for (row, got) in x.chunks(n).zip(oracle.chunks(n)) {
                let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let e: Vec<f64> = row.iter().map(|&v| f64::from(v - max).exp()).collect();
                let sum: f64 = e.iter().sum();
                let right = max == f32::NEG_INFINITY
                    || got.iter().zip(&e).all(|(&got, e)| close(got, e / sum));
                prop_assert!(right, "{row:?} {got:?}");
            }
        }
    }
}
