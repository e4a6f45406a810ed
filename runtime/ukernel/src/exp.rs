//! The exponential:
//!
//! ```text
//! out[i] = e^x[i]
//! ```
//!
//! With n = round(x / ln 2) and r = x - n·ln 2, e^x = 2^n · e^r, and e^r for |r| ≤ ln 2 / 2 is its
//! Taylor polynomial of degree 7. Within 2 units of the last place; 0 for -∞ and below about -104, ∞
//! above about 88.7, NaN for NaN, and results below 2^-126 are rounded once.
#![allow(unsafe_code)]

use crate::lanes::{LANES, Lanes, variants};

/// The arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExpF32 {
    /// f32[n].
    pub x: *const f32,
    /// f32[n]; may be `x`.
    pub out: *mut f32,
    pub n: usize,
}

variants! {
    ExpF32, exp_all =>
    trine_exp_f32_scalar, trine_exp_f32_neon, trine_exp_f32_avx2, trine_exp_f32_avx512
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn exp_all<L: Lanes>(args: &ExpF32) {
    for i in (0..args.n).step_by(LANES) {
        // SAFETY: the caller's; `i` is below `n`.
        unsafe { exp(L::load_at(args.x, i, args.n, 0.0)).store_at(args.out, i, args.n) };
    }
}

/// e^x a lane.
#[inline(always)]
pub(crate) fn exp<L: Lanes>(x: L) -> L {
    // Beyond these bounds the result is 0 or ∞ anyway. NaN stays, as it is not the first operand.
    let x = L::splat(89.0).min(L::splat(-105.0).max(x));
    let n = x.mul(L::splat(core::f32::consts::LOG2_E)).round();
    // ln 2 in two parts, the first so short that its products with n are exact.
    let r = x.sub(n.mul(L::splat(LN_2_HIGH))).sub(n.mul(L::splat(LN_2_LOW)));
    let mut tail = L::splat(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        tail = L::splat(coefficient).add_product(tail, r);
    }
    let e_r = L::splat(1.0).add(r.add_product(r.mul(r), tail));
    // 2^n itself may exceed the range of f32 where the result does not; its halves do not.
    let half = n.mul(L::splat(0.5)).round();
    e_r.mul(half.exp2()).mul(n.sub(half).exp2())
}

/// e^x a lane, but 0 below 2^-126: processors take long over results that are not normal, and masks make many.
#[inline(always)]
pub(crate) fn exp_or_zero<L: Lanes>(x: L) -> L {
    /// e^x is the least normal number there.
    const LEAST: f32 = -87.33654;
    let least = L::splat(LEAST);
    // NaN stays, as in `exp`.
    x.sub(least).if_negative(L::splat(0.0), exp(least.max(x)))
}

const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = (core::f64::consts::LN_2 - 355.0 / 512.0) as f32;

/// tanh y a lane, to about 2^-23 absolutely: 1 - 2 / (e^2y + 1).
#[inline(always)]
pub(crate) fn tanh<L: Lanes>(y: L) -> L {
    let one = L::splat(1.0);
    one.sub(L::splat(2.0).div(exp(y.add(y)).add(one)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variant;
    use crate::lanes::testing::{for_each_variant, same};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn run(v: &Variant<ExpF32>, x: &[f32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; x.len()];
        let args = ExpF32 { x: x.as_ptr(), out: out.as_mut_ptr(), n: x.len() };
        // SAFETY: both buffers have `n` values; callers only pass variants that run here.
        unsafe { (v.entry())(&args) };
        out
    }

    #[test]
    fn special_values() {
        let x = [f32::NEG_INFINITY, f32::INFINITY, 0.0, -0.0, 88.8, -104.5, -1e30, 1e30];
        let want = [0.0, f32::INFINITY, 1.0, 1.0, f32::INFINITY, 0.0, 0.0, f32::INFINITY];
        for_each_variant(VARIANTS, |v| {
            assert_eq!(run(v, &x), want, "{}", v.name());
            assert!(run(v, &[f32::NAN])[0].is_nan());
        });
    }

    /// Against f64, over the whole range, results below the normal range included.
    #[test]
    fn is_within_two_units() {
        let x: Vec<f32> = (0..2_000_000).map(|i| -104.0 + i as f32 * 9.6e-5).collect();
        let out = run(&VARIANTS[VARIANTS.len() - 1], &x);
        for (x, got) in x.into_iter().zip(out) {
            let want = f64::from(x).exp();
            let exponent = (want.log2().floor() as i32).max(-126);
            let error = (f64::from(got) - want).abs() / 2f64.powi(exponent - 23);
            assert!(error < 2.0 || want > f64::from(f32::MAX), "exp({x}) = {got}: {error} units");
        }
    }

    proptest! {
        #[test]
        fn every_variant_gives_the_same_bits(
            x in prop::collection::vec(prop_oneof![-110f32..100.0, prop::num::f32::ANY], 1..70)
        ) {
            let oracle = run(&VARIANTS[VARIANTS.len() - 1], &x);
            for_each_variant(VARIANTS, |v| {
                let same = run(v, &x).iter().zip(&oracle).all(|(&a, &b)| same(a, b));
                assert!(same, "{}", v.name());
            });
        }
    }
}
