//! Lanes as an array, which any compiler target turns into the vectors it has.

use super::{LANES, Lanes};
use core::array;

#[derive(Clone, Copy)]
pub(crate) struct Scalar([f32; LANES]);

impl Scalar {
    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(f))
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

// SAFETY: needs no feature.
unsafe impl Lanes for Scalar {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { from.cast::<[f32; LANES]>().read() })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize, fill: f32) -> Self {
        let mut lanes = [fill; LANES];
        // SAFETY: the caller's; `count` is below the length of the array.
        unsafe { from.copy_to_nonoverlapping(lanes.as_mut_ptr(), count) };
        Self(lanes)
    }

    #[inline(always)]
    unsafe fn load_i32(from: *const i32) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { from.cast::<[i32; LANES]>().read() }.map(|v| v as f32))
    }

    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { from.cast::<[u8; LANES]>().read() }.map(f32::from))
    }

    #[inline(always)]
    unsafe fn load_nibbles(from: *const u8) -> [Self; 2] {
        // SAFETY: the caller's.
        let bytes = unsafe { from.cast::<[u8; LANES]>().read() };
        [Self(bytes.map(|v| f32::from(v & 15))), Self(bytes.map(|v| f32::from(v >> 4)))]
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[f32; LANES]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's; `count` is below the length of the array.
        unsafe { to.copy_from_nonoverlapping(self.0.as_ptr(), count) }
    }

    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[i8; LANES]>().write(self.0.map(|v| v as i8)) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        self.map(f32::abs)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn max_bits(self, other: Self) -> Self {
        self.zip(other, |a, b| f32::from_bits((a.to_bits() as i32).max(b.to_bits() as i32) as u32))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn nan_to_zero(self) -> Self {
        self.map(|v| if v.is_nan() { 0.0 } else { v })
    }

    #[inline(always)]
    fn if_negative(self, yes: Self, no: Self) -> Self {
        Self(array::from_fn(|i| if self.0[i] < 0.0 { yes.0[i] } else { no.0[i] }))
    }

    #[inline(always)]
    fn exp2_of_rounder(self) -> Self {
        self.map(|v| f32::from_bits((v.to_bits() << 23).wrapping_add(1f32.to_bits())))
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        self.0
    }

    #[inline(always)]
    fn fused_add_product(self, a: Self, b: Self) -> Self {
        Self(array::from_fn(|i| libm::fmaf(a.0[i], b.0[i], self.0[i])))
    }

    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        array::from_fn(|j| Self(array::from_fn(|i| rows[i].0[j])))
    }
}
