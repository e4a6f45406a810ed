//! f16 and bf16 to f32, each as it is worth: caches that are held in 16 bits, before attention reads them.
//!
//! The code is integers that any instruction set has; each variant is that code for its own vectors.
#![allow(unsafe_code)]

use crate::lanes::{Lanes, variants};

/// The arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WidenHalves {
    /// u16[n].
    pub from: *const u16,
    /// f32[n].
    pub to: *mut f32,
    pub n: usize,
    /// 1 where they are bf16, 0 where they are f16.
    pub bf16: usize,
}

variants! {
    WidenHalves, widen_all =>
    trine_widen_halves_scalar, trine_widen_halves_neon, trine_widen_halves_avx2, trine_widen_halves_avx512
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn widen_all<L: Lanes>(args: &WidenHalves) {
    let WidenHalves { from, to, n, bf16 } = *args;
    // SAFETY: the caller's; `i` is below `n`.
    unsafe {
        if bf16 == 1 {
            (0..n).for_each(|i| *to.add(i) = f32::from_bits(u32::from(*from.add(i)) << 16));
        } else {
            (0..n).for_each(|i| *to.add(i) = of_f16(*from.add(i)));
        }
    }
}

/// The exponents of both types differ by 112; a product also makes normal numbers of denormal ones.
#[inline(always)]
fn of_f16(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    let scaled = (f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000)).to_bits();
    let special = magnitude << 13 | 0x7f80_0000;
    let worth = if magnitude > 0x7bff { special } else { scaled };
    f32::from_bits(worth | u32::from(bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variant;
    use crate::lanes::testing::for_each_variant;
    use std::{vec, vec::Vec};

    fn run(v: &Variant<WidenHalves>, from: &[u16], bf16: usize) -> Vec<f32> {
        let mut to = vec![f32::NAN; from.len()];
        let args = WidenHalves { from: from.as_ptr(), to: to.as_mut_ptr(), n: from.len(), bf16 };
        // SAFETY: both buffers have `n` values; callers only pass variants that run here.
        unsafe { (v.entry())(&args) };
        to
    }

    /// Each of them, by its fields.
    #[test]
    fn every_half_is_what_its_fields_say() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let of_fields = |bits: u16, mantissa: u32, bias: i32| {
            let sign = if bits >> 15 == 1 { -1f64 } else { 1.0 };
            let exponent = i32::from((bits & 0x7fff) >> mantissa);
            let fraction = f64::from(bits & ((1 << mantissa) - 1)) / f64::from(1u32 << mantissa);
            match exponent {
                e if e == 2 * bias + 1 && fraction > 0.0 => f64::NAN,
                e if e == 2 * bias + 1 => sign * f64::INFINITY,
                0 => sign * fraction * 2f64.powi(1 - bias),
                e => sign * (1.0 + fraction) * 2f64.powi(e - bias),
            }
        };
        for (bf16, mantissa, bias) in [(0, 10, 15), (1, 7, 127)] {
            for_each_variant(VARIANTS, |v| {
                for (bits, got) in all.iter().zip(run(v, &all, bf16)) {
                    let want = of_fields(*bits, mantissa, bias) as f32;
                    let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                    assert!(same, "{}: {bits:#06x} is {want:?}, not {got:?}", v.name());
                }
            });
        }
    }
}
