//! RMSNorm of a row (arXiv 1910.07467):
//!
//! ```text
//! out[i] = x[i] · (1 / √(Σ_j x[j]² / n + eps)) · gain[i]
//! ```
//!
//! The sum is striped: lane l of 16 adds x[l]², x[l + 16]², … in sequence, and then the lanes are added by halves.
//! Every operation is rounded: the meaning of the op to the bit.
#![allow(unsafe_code)]

use crate::lanes::{LANES, Lanes, variants};

/// The arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RmsNormF32 {
    /// f32[n].
    pub x: *const f32,
    /// f32[n].
    pub gain: *const f32,
    /// f32[n]; may be `x`.
    pub out: *mut f32,
    pub n: usize,
    pub eps: f32,
}

variants! {
    RmsNormF32, rms_norm_row =>
    trine_rms_norm_f32_scalar, trine_rms_norm_f32_neon, trine_rms_norm_f32_avx2, trine_rms_norm_f32_avx512
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn rms_norm_row<L: Lanes>(args: &RmsNormF32) {
    let RmsNormF32 { x, gain, out, n, eps } = *args;
    let mut sum = L::splat(0.0);
    for i in (0..n).step_by(LANES) {
        // SAFETY: the caller's; `i` is below `n`. Lanes past the end add 0 to sums that are not negative.
        let x = unsafe { L::load_at(x, i, n, 0.0) };
        sum = sum.add_product(x, x);
    }
    let inverse = L::splat(1.0 / libm::sqrtf(sum.sum() / n as f32 + eps));
    for i in (0..n).step_by(LANES) {
        // SAFETY: the caller's; `i` is below `n`.
        unsafe {
            let y = L::load_at(x, i, n, 0.0).mul(inverse).mul(L::load_at(gain, i, n, 0.0));
            y.store_at(out, i, n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::testing::{for_each_variant, same};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// Straight from the equation.
    fn expected(x: &[f32], gain: &[f32], eps: f32) -> Vec<f32> {
        let mut strands = [0f32; LANES];
        for (i, x) in x.iter().enumerate() {
            strands[i % LANES] += x * x;
        }
        let mut width = LANES;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                strands[i] += strands[i + width];
            }
        }
        let inverse = 1.0 / (strands[0] / x.len() as f32 + eps).sqrt();
        x.iter().zip(gain).map(|(x, gain)| x * inverse * gain).collect()
    }

    proptest! {
        #[test]
        fn every_variant_is_the_equation(
            pairs in prop::collection::vec(
                (prop_oneof![9 => -8f32..8.0, 1 => prop::num::f32::ANY], -2f32..2.0),
                1..300,
            ),
            eps in prop_oneof![Just(0.0), Just(1e-5f32)],
        ) {
            let (x, gain): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let want = expected(&x, &gain, eps);
            for_each_variant(VARIANTS, |v| {
                let mut out = vec![f32::NAN; x.len()];
                let (n, to) = (x.len(), out.as_mut_ptr());
                let args = RmsNormF32 { x: x.as_ptr(), gain: gain.as_ptr(), out: to, n, eps };
                // SAFETY: the buffers have `n` values; only variants that run here are passed.
                unsafe { (v.entry())(&args) };
                assert!(out.iter().zip(&want).all(|(&a, &b)| same(a, b)), "{}", v.name());
            });
        }
    }
}
