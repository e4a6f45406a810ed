//! Instructions of aarch64 that have no stable function in `core::arch`.
#![allow(unsafe_code)]

use core::arch::{aarch64::*, asm};

/// Adds to each sum the four products of its bytes of `w`, read as signed, with those of lane `LANE` of `x`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn dot<const LANE: u32>(mut sums: int32x4_t, w: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: works on registers alone, by an instruction of a feature that is enabled.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]",
            sums = inout(vreg) sums,
            w = in(vreg) w,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// Asks for the cache line at any address, which need not be mapped.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        asm!("prfm pldl1keep, [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
    }
}
