//! A row of f32 to int8, with the scale of its greatest magnitude:
//!
//! ```text
//! q[i] = round(x[i] · (127 / m))      scale = m / 127      m = max(floor, max_i |x[i]|)
//! ```
//!
//! rounded to even, in [-127, 127], or with (1 / m) · 127, rounded twice, in place of 127 / m. Where m is 0, q is 0; where the
//! factor overflows, the scale is 0. With a NaN in the row, the scale is NaN and q is 0, so that
//! what is made of the row is NaN; with an infinity in the row, the scale is ∞ and q is 0.
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
    /// Not negative.
    pub floor: f32,
    /// 1 where the factor is (1 / m) · 127, else 0.
    pub reciprocal: u32,
}

variants! {
    QuantizeF32, quantize_row =>
    trine_quantize_f32_scalar, trine_quantize_f32_neon, trine_quantize_f32_avx2, trine_quantize_f32_avx512
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn quantize_row<L: Lanes>(args: &QuantizeF32) {
    let QuantizeF32 { x, q, scale, n, floor, reciprocal } = *args;
    // Four at a time, so that comparisons need not wait for each other.
    let mut max = [L::splat(0.0); 4];
    for i in (0..n).step_by(4 * LANES) {
        for (j, max) in max.iter_mut().enumerate() {
            let i = i + j * LANES;
            if i < n {
                // SAFETY: the caller's.
                *max = unsafe { L::load_at(x, i, n, 0.0) }.abs().max_bits(*max);
            }
        }
    }
    let [a, b, c, d] = max;
    let absmax = a.max_bits(b).max_bits(c.max_bits(d)).greatest_bits();
    // NaN stays.
    let absmax = if absmax < floor { floor } else { absmax };
    let inverse = factor(absmax, reciprocal != 0);
    // SAFETY: the caller's.
    unsafe { *scale = if inverse == f32::INFINITY { 0.0 } else { absmax / 127.0 } };
    let inverse = L::splat(inverse);
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

/// What a row of that greatest magnitude is multiplied by.
#[inline(always)]
fn factor(absmax: f32, reciprocal: bool) -> f32 {
    match reciprocal {
        true if absmax > 0.0 => 1.0 / absmax * 127.0,
        false if absmax > 0.0 => 127.0 / absmax,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variant;
    use crate::lanes::testing::{for_each_variant, same};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn run(v: &Variant<QuantizeF32>, x: &[f32], floor: f32, reciprocal: u32) -> (Vec<i8>, f32) {
        let (mut q, mut scale) = (vec![99; x.len()], f32::NAN);
        let (n, q_start) = (x.len(), q.as_mut_ptr());
        let args = QuantizeF32 { x: x.as_ptr(), q: q_start, scale: &mut scale, n, floor, reciprocal };
        // SAFETY: the buffers have `n` values; callers only pass variants that run here.
        unsafe { (v.entry())(&args) };
        (q, scale)
    }

    /// Against what the equation says.
    fn check(x: &[f32]) {
        for (floor, reciprocal) in [(0.0, 0), (0.01, 0), (0.0, 1), (0.01, 1)] {
            check_from(x, floor, reciprocal);
        }
    }

    fn check_from(x: &[f32], floor: f32, reciprocal: u32) {
        let is_nan = x.iter().any(|v| v.is_nan());
        let absmax = if is_nan { f32::NAN } else { x.iter().map(|v| v.abs()).fold(floor, f32::max) };
        let quotient = if reciprocal == 1 { 1.0 / absmax * 127.0 } else { 127.0 / absmax };
        let inverse = if absmax > 0.0 { quotient } else { 0.0 };
        let q = |v: &f32| (v * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
        let want: Vec<i8> = x.iter().map(q).collect();
        for_each_variant(VARIANTS, |v| {
            let (got, scale) = run(v, x, floor, reciprocal);
            assert_eq!(got, want, "{}", v.name());
            let want = if inverse == f32::INFINITY { 0.0 } else { absmax / 127.0 };
            assert!(same(scale, want), "{}", v.name());
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
