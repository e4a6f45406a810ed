//! Rows of int8 as integer contractions read them, for activations that a model quantized itself:
//!
//! ```text
//! out[b, g] = x[b, g·group ..], then zeros      sums[b, g] = Σ_i out[b, g, i]
//! ```
//!
//! There is one variant: copying and adding bytes needs no more than what compilers make of it.
#![allow(unsafe_code)]

use crate::{Features, Variant};

/// The arguments, with sizes as in the [`Geometry`](crate::Geometry) of the weights to come.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PadI8 {
    /// i8[rows, k].
    pub x: *const i8,
    /// Values from a row of `x` to the next.
    pub x_stride: usize,
    /// i8[rows, groups, group_k], with groups = ⌈k / group⌉.
    pub out: *mut i8,
    /// i32[rows, groups].
    pub sums: *mut i32,
    pub rows: usize,
    pub k: usize,
    /// Inputs of a group before padding.
    pub group: usize,
    pub group_k: usize,
}

/// The only variant.
pub static VARIANTS: &[Variant<PadI8>] = &[Variant {
    symbol: "trine_pad_i8_scalar",
    needs: Features::NONE,
    layout: (),
    entry: trine_pad_i8_scalar,
}];

/// # Safety
/// The arguments describe live buffers, as [`PadI8`] says.
#[unsafe(no_mangle)]
unsafe extern "C" fn trine_pad_i8_scalar(args: *const PadI8) {
    // SAFETY: the caller's; groups are written one after another.
    unsafe {
        let args = &*args;
        let (mut out, mut sums) = (args.out, args.sums);
        for row in 0..args.rows {
            let x = args.x.add(row * args.x_stride);
            for group in core::slice::from_raw_parts(x, args.k).chunks(args.group.max(1)) {
                out.copy_from_nonoverlapping(group.as_ptr(), group.len());
                out.add(group.len()).write_bytes(0, args.group_k - group.len());
                *sums = group.iter().map(|&x| i32::from(x)).sum();
                out = out.add(args.group_k);
                sums = sums.add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_each_group() {
        let x = [1, 2, 3, 4, 5, 0, -1, -2, -3, -4, -128, 0];
        let (mut out, mut sums) = ([99; 24], [99; 6]);
        let args = PadI8 {
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
        unsafe { (VARIANTS[0].entry)(&args) };
        let first = [1, 2, 0, 0, 3, 4, 0, 0, 5, 0, 0, 0];
        let second = [-1, -2, 0, 0, -3, -4, 0, 0, -128, 0, 0, 0];
        assert_eq!((&out[..12], &out[12..]), (&first[..], &second[..]));
        assert_eq!(sums, [3, 7, 5, -3, -7, -128]);
    }
}
