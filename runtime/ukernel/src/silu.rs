//! SiLU (arXiv 1702.03118):
//!
//! ```text
//! out[i] = x[i] · sigmoid(x[i])      sigmoid(x) = (x < 0 ? e : 1) / (1 + e), e = exp(-|x|)
//! ```
//!
//! with [`exp`](crate::exp), which makes it the meaning of the op to the bit.
#![allow(unsafe_code)]

use crate::exp::exp;
use crate::lanes::{LANES, Lanes, variants};

/// The arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SiluF32 {
    /// f32[n].
    pub x: *const f32,
    /// f32[n]; may be `x`.
    pub out: *mut f32,
    pub n: usize,
}

variants! {
    SiluF32, silu_all =>
    trine_silu_f32_scalar, trine_silu_f32_neon, trine_silu_f32_avx2, trine_silu_f32_avx512
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn silu_all<L: Lanes>(args: &SiluF32) {
    for i in (0..args.n).step_by(LANES) {
        // SAFETY: the caller's; `i` is below `n`.
        unsafe { silu(L::load_at(args.x, i, args.n, 0.0)).store_at(args.out, i, args.n) };
    }
}

#[inline(always)]
fn silu<L: Lanes>(x: L) -> L {
    let one = L::splat(1.0);
    let e = exp(L::splat(0.0).sub(x.abs()));
    x.mul(x.if_negative(e, one).div(one.add(e)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variant;
    use crate::lanes::testing::{for_each_variant, same};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn run(v: &Variant<SiluF32>, x: &[f32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; x.len()];
        let args = SiluF32 { x: x.as_ptr(), out: out.as_mut_ptr(), n: x.len() };
        // SAFETY: both buffers have `n` values; callers only pass variants that run here.
        unsafe { (v.entry())(&args) };
        out
    }

    proptest! {
        #[test]
        fn every_variant_agrees_and_is_right(
            x in prop::collection::vec(prop_oneof![-110f32..100.0, -4f32..4.0, prop::num::f32::ANY], 1..70)
        ) {
            let oracle = run(&VARIANTS[VARIANTS.len() - 1], &x);
            for_each_variant(VARIANTS, |v| {
                let same = run(v, &x).iter().zip(&oracle).all(|(&a, &b)| same(a, b));
                assert!(same, "{}", v.name());
            });
            for (x, got) in x.iter().zip(oracle).filter(|(x, _)| x.abs() < 80.0) {
                let want = f64::from(*x) / (1.0 + (-f64::from(*x)).exp());
                prop_assert!((f64::from(got) - want).abs() <= 4e-7 * want.abs() + 1e-37, "{x}: {got} {want}");
            }
        }
    }
}
