//! A row of f32 to int8, with the scale of its greatest magnitude:
//!
//! ```text
//! q[i] = round(x[i] · (127 / m))      scale = m / 127      m = max_i |x[i]|
//! ```
//!
//! rounded to even, in [-127, 127]. A row of zeros has scale 0. NaNs become 0 and do not count in m; with an
//! infinity in the row, the scale is ∞ and q is 0.
#![allow(unsafe_code)]

use crate::lanes::{LANES, Lanes, variants};

/// The arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct QuantizeF32 {
    /// f32[n].
    pub x: *const f32,
    /// i8[n].
    pub q: *mut i8,
    /// f32[1].
    pub scale: *mut f32,
    pub n: usize,
}

variants! {
    QuantizeF32, quantize_row =>
    trine_quantize_f32_scalar, trine_quantize_f32_neon, trine_quantize_f32_avx2, trine_quantize_f32_avx512
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn quantize_row<L: Lanes>(args: &QuantizeF32) {
    let QuantizeF32 { x, q, scale, n } = *args;
    // Four at a time, so that comparisons need not wait for each other.
    let mut max = [L::splat(0.0); 4];
    for i in (0..n).step_by(4 * LANES) {
        for (j, max) in max.iter_mut().enumerate() {
            let i = i + j * LANES;
            if i < n {
                // SAFETY: the caller's. NaN is not the second operand, so it does not stay.
                *max = unsafe { L::load_at(x, i, n, 0.0) }.abs().max(*max);
            }
        }
    }
    let [a, b, c, d] = max;
    let absmax = a.max(b).max(c.max(d)).greatest();
    // SAFETY: the caller's.
    unsafe { *scale = absmax / 127.0 };
    let inverse = L::splat(if absmax > 0.0 { 127.0 / absmax } else { 0.0 });
    let limit = L::splat(127.0);
    for i in (0..n).step_by(LANES) {
        // SAFETY: the caller's; the last few go through an array of 16.
        unsafe {
            let scaled = L::load_at(x, i, n, 0.0).mul(inverse).nan_to_zero();
            let rounded = scaled.min(limit).max(L::splat(-127.0)).round();
            if n - i < LANES {
                let mut last = [0; LANES];
                rounded.store_i8(last.as_mut_ptr());
                q.add(i).copy_from_nonoverlapping(last.as_ptr(), n - i);
            } else {
                rounded.store_i8(q.add(i));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variant;
    use crate::lanes::testing::{for_each_variant, same};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn run(v: &Variant<QuantizeF32>, x: &[f32]) -> (Vec<i8>, f32) {
        let (mut q, mut scale) = (vec![99; x.len()], f32::NAN);
        let args = QuantizeF32 { x: x.as_ptr(), q: q.as_mut_ptr(), scale: &mut scale, n: x.len() };
        // SAFETY: the buffers have `n` values; callers only pass variants that run here.
        unsafe { (v.entry)(&args) };
        (q, scale)
    }

    /// Against what the equation says.
    fn check(x: &[f32]) {
        let absmax = x.iter().map(|v| v.abs()).fold(0.0, f32::max);
        let inverse = if absmax > 0.0 { 127.0 / absmax } else { 0.0 };
        let q = |v: &f32| (v * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
        let want: Vec<i8> = x.iter().map(q).collect();
        for_each_variant(VARIANTS, |v| {
            let (got, scale) = run(v, x);
            assert_eq!(got, want, "{}", v.name());
            assert!(same(scale, absmax / 127.0), "{}", v.name());
        });
    }

    #[test]
    fn unusual_rows() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        check(&[0.0, -0.0, 0.0]);
        check(&[nan, 1.0, -2.0]);
        check(&[nan, nan]);
        check(&[inf, 1.0, -inf, nan]);
        check(&[1e-45, -1e-45, 0.0]);
        check(&[f32::MAX, f32::MIN, 1.0]);
    }

    /// 63.5, 62.5 and the like: ties go to even.
    #[test]
    fn ties() {
        let x: Vec<f32> = (0..127).map(|i| i as f32 + 0.5).chain([127.0]).collect();
        check(&x);
    }

    proptest! {
        #[test]
        fn every_variant_is_the_equation(
            x in prop::collection::vec(prop_oneof![9 => -8f32..8.0, 1 => prop::num::f32::ANY], 1..300)
        ) {
            check(&x);
        }
    }
}
