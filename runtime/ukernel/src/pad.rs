//! Rows of int8 as integer contractions read them, for activations that a model quantized itself:
//!
//! ```text
//! out[b, g] = x[b, g·group ..], then zeros      sums[b, g] = Σ_i out[b, g, i]
//! ```
//!
//! Variants differ in the instructions that the compiler may use.
#![allow(unsafe_code)]

use crate::lanes::{Lanes, variants};

/// The arguments, with sizes as in the [`Geometry`](crate::Geometry) of the weights to come.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PadI8 {
    /// i8[rows, k].
    pub x: *const i8,
    /// Values from a row of `x` to the next.
    pub x_stride: usize,
    /// i8[rows, groups, group_k], with groups = ⌈k / group⌉; null where rows need no padding and stay in place.
    pub out: *mut i8,
    /// i32[rows, groups].
    pub sums: *mut i32,
    pub rows: usize,
    pub k: usize,
    /// Inputs of a group before padding.
    pub group: usize,
    pub group_k: usize,
}

variants! {
    PadI8, pad_rows => trine_pad_i8_scalar, trine_pad_i8_neon, trine_pad_i8_avx2, trine_pad_i8_avx512
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn pad_rows<L: Lanes>(args: &PadI8) {
    let (mut out, mut sums) = (args.out, args.sums);
    for row in 0..args.rows {
        // SAFETY: the caller's; groups are written one after another.
        unsafe {
            let x = args.x.add(row * args.x_stride);
            for group in core::slice::from_raw_parts(x, args.k).chunks(args.group.max(1)) {
                *sums = group.iter().map(|&x| i32::from(x)).sum();
                sums = sums.add(1);
                if !out.is_null() {
                    out.copy_from_nonoverlapping(group.as_ptr(), group.len());
                    out.add(group.len()).write_bytes(0, args.group_k - group.len());
                    out = out.add(args.group_k);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::testing::for_each_variant;
    use core::ptr::null_mut;

    #[test]
    fn pads_each_group() {
        let x = [1, 2, 3, 4, 5, 0, -1, -2, -3, -4, -128, 0];
        for_each_variant(VARIANTS, |v| {
            let (mut out, mut sums) = ([99; 24], [99; 6]);
            let mut args = PadI8 {
                x: x.as_ptr(),
                x_stride: 6,
                out: out.as_mut_ptr(),
                sums: sums.as_mut_ptr(),
                rows: 2,
                k: 5,
                group: 2,
                group_k: 4,
            };
            // SAFETY: two rows of three groups of four.
            unsafe { (v.entry())(&args) };
            let first = [1, 2, 0, 0, 3, 4, 0, 0, 5, 0, 0, 0];
            let second = [-1, -2, 0, 0, -3, -4, 0, 0, -128, 0, 0, 0];
            assert_eq!((&out[..12], &out[12..]), (&first[..], &second[..]), "{}", v.name());
            assert_eq!(sums, [3, 7, 5, -3, -7, -128], "{}", v.name());

            let mut sums = [99; 2];
            (args.out, args.sums, args.k, args.group, args.group_k) =
                (null_mut(), sums.as_mut_ptr(), 6, 6, 6);
            // SAFETY: two rows of a group of six.
            unsafe { (v.entry())(&args) };
            assert_eq!(sums, [15, -138], "{}", v.name());
        });
    }
}
