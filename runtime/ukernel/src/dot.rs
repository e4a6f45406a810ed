//! The inner product of two vectors:
//!
//! ```text
//! out = Σ_i a[i] · b[i]
//! ```
//!
//! striped: lane l of 16 adds the products of i = l, l + 16, … in sequence, each fused with its addition,
//! and then the lanes are added by halves.
#![allow(unsafe_code)]

use crate::gemv::nk::dots;
use crate::lanes::{Lanes, variants};

/// The arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DotF32 {
    /// f32[n].
    pub a: *const f32,
    /// f32[n].
    pub b: *const f32,
    pub n: usize,
    /// f32[1].
    pub out: *mut f32,
}

variants! {
    DotF32, dot =>
    trine_dot_f32_scalar, trine_dot_f32_neon, trine_dot_f32_avx2, trine_dot_f32_avx512
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn dot<L: Lanes>(args: &DotF32) {
    // SAFETY: the caller's.
    unsafe {
        let [[dot]] = dots::<L, 1, 1>(args.a, 0, args.b, 0, args.n);
        *args.out = dot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::testing::for_each_variant;
    use std::vec::Vec;

    /// Sums of small integers are exact in any order.
    #[test]
    fn adds_every_product_once() {
        for n in 0..70 {
            let a: Vec<f32> = (0..n).map(|i| (i % 7) as f32).collect();
            let b: Vec<f32> = (0..n).map(|i| (i % 5) as f32 - 2.0).collect();
            let want: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            for_each_variant(VARIANTS, |v| {
                let mut out = f32::NAN;
                let args = DotF32 { a: a.as_ptr(), b: b.as_ptr(), n, out: &mut out };
                // SAFETY: both vectors have `n` values, and the machine has the features.
                unsafe { (v.entry())(&args) };
                assert_eq!(out, want, "{} n={n}", v.name());
            });
        }
    }
}
