//! Rows of f32 to int8, each row with the scale of its greatest magnitude:
//!
//! ```text
//! q[b, k] = round(x[b, k] · (127 / m))      scale[b] = m / 127      m = max_k |x[b, k]|
//! ```
//!
//! rounded to even, in [-127, 127], and written as integer contractions read it: groups padded with
//! zeros, and the sum of each group beside it. A row of zeros has scale 0. NaNs become 0 and do not
//! count in m; with an infinity in the row, the scale is ∞ and q is 0.
#![allow(unsafe_code)]

use crate::lanes::{LANES, Lanes, variants};

/// The arguments, with sizes as in the [`Geometry`](crate::Geometry) of the weights to come.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct QuantizeF32 {
    /// f32[rows, k].
    pub x: *const f32,
    /// Values from a row of `x` to the next.
    pub x_stride: usize,
    /// i8[rows, groups, group_k], with groups = ⌈k / group⌉.
    pub q: *mut i8,
    /// f32[rows].
    pub scales: *mut f32,
    /// Σq of each group, i32[rows, groups].
    pub sums: *mut i32,
    pub rows: usize,
    pub k: usize,
    /// Inputs of a group before padding.
    pub group: usize,
    pub group_k: usize,
}

variants! {
    QuantizeF32, quantize_rows =>
    trine_quantize_f32_scalar, trine_quantize_f32_neon, trine_quantize_f32_avx2, trine_quantize_f32_avx512
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn quantize_rows<L: Lanes>(args: &QuantizeF32) {
    let (mut q, mut sums) = (args.q, args.sums);
    for row in 0..args.rows {
        // SAFETY: the caller's; groups are written one after another.
        unsafe {
            let x = args.x.add(row * args.x_stride);
            let absmax = absmax::<L>(x, args.k);
            *args.scales.add(row) = absmax / 127.0;
            let inverse = if absmax > 0.0 { 127.0 / absmax } else { 0.0 };
            for from in (0..args.k).step_by(args.group.max(1)) {
                let n = args.group.min(args.k - from);
                quantize::<L>(x.add(from), inverse, n, q);
                q.add(n).write_bytes(0, args.group_k - n);
                let group = core::slice::from_raw_parts(q, n);
                *sums = group.iter().map(|&q| i32::from(q)).sum();
                q = q.add(args.group_k);
                sums = sums.add(1);
            }
        }
    }
}

/// # Safety
/// `n` values at `x` are readable.
#[inline(always)]
unsafe fn absmax<L: Lanes>(x: *const f32, n: usize) -> f32 {
    let mut max = L::splat(0.0);
    for i in (0..n).step_by(LANES) {
        // SAFETY: the caller's. NaN is not the second operand, so it does not stay.
        max = unsafe { L::load_at(x, i, n, 0.0) }.abs().max(max);
    }
    max.greatest()
}

/// # Safety
/// `n` values at `x` are readable and at `q` writable.
#[inline(always)]
unsafe fn quantize<L: Lanes>(x: *const f32, inverse: f32, n: usize, q: *mut i8) {
    let (inverse, limit) = (L::splat(inverse), L::splat(127.0));
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

    type Output = (Vec<i8>, Vec<f32>, Vec<i32>);

    fn run(v: &Variant<QuantizeF32>, x: &[f32], k: usize, group: usize, step: usize) -> Output {
        let (rows, groups) = (x.len() / k, k.div_ceil(group));
        let group_k = group.min(k).next_multiple_of(step);
        let mut out = (vec![99; rows * groups * group_k], vec![f32::NAN; rows], vec![99; rows * groups]);
        let args = QuantizeF32 {
            x: x.as_ptr(),
            x_stride: k,
            q: out.0.as_mut_ptr(),
            scales: out.1.as_mut_ptr(),
            sums: out.2.as_mut_ptr(),
            rows,
            k,
            group: group.min(k),
            group_k,
        };
        // SAFETY: the buffers have the sizes that the arguments give; callers only pass variants
        // that run here.
        unsafe { (v.entry)(&args) };
        out
    }

    /// Straight from the equation.
    fn expected(x: &[f32], k: usize, group: usize, step: usize) -> Output {
        let mut out = (vec![], vec![], vec![]);
        for row in x.chunks(k) {
            let absmax = row.iter().map(|v| v.abs()).fold(0.0, f32::max);
            let inverse = if absmax > 0.0 { 127.0 / absmax } else { 0.0 };
            out.1.push(absmax / 127.0);
            for values in row.chunks(group) {
                let q = |v: &f32| (v * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
                let mut q: Vec<i8> = values.iter().map(q).collect();
                out.2.push(q.iter().map(|&q| i32::from(q)).sum());
                q.resize(group.min(k).next_multiple_of(step), 0);
                out.0.extend(q);
            }
        }
        out
    }

    fn check(x: &[f32], k: usize, group: usize, step: usize) {
        let want = expected(x, k, group, step);
        for_each_variant(VARIANTS, |v| {
            let got = run(v, x, k, group, step);
            assert_eq!((&got.0, &got.2), (&want.0, &want.2), "{}", v.name());
            assert!(got.1.iter().zip(&want.1).all(|(&a, &b)| same(a, b)), "{}", v.name());
        });
    }

    #[test]
    fn unusual_rows() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        check(&[0.0, -0.0, 0.0], 3, 3, 16);
        check(&[nan, 1.0, -2.0], 3, 3, 16);
        check(&[nan, nan], 2, 2, 16);
        check(&[inf, 1.0, -inf, nan], 4, 4, 20);
        check(&[1e-45, -1e-45, 0.0], 3, 3, 16);
        check(&[f32::MAX, f32::MIN, 1.0], 3, 3, 16);
    }

    /// 63.5, 62.5 and the like: ties go to even.
    #[test]
    fn ties() {
        let x: Vec<f32> = (0..127).map(|i| i as f32 + 0.5).chain([127.0]).collect();
        check(&x, x.len(), x.len(), 16);
    }

    proptest! {
        #[test]
        fn every_variant_is_the_equation(
            (k, x) in (1usize..300, 1usize..4).prop_flat_map(|(k, rows)| {
                let value = prop_oneof![9 => -8f32..8.0, 1 => prop::num::f32::ANY];
                (Just(k), prop::collection::vec(value, k * rows))
            }),
            group in prop_oneof![Just(16usize), Just(64), Just(1000)],
            step in prop_oneof![Just(1usize), Just(16), Just(20)],
        ) {
            check(&x, k, group, step);
        }
    }
}
