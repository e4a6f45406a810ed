//! Lanes in four NEON registers.

use super::{LANES, Lanes};
use core::arch::{aarch64::*, asm};
use core::array;

#[derive(Clone, Copy)]
pub(crate) struct Neon([float32x4_t; 4]);

impl Neon {
    #[inline(always)]
    fn map(self, f: impl Fn(float32x4_t) -> float32x4_t) -> Self {
        Self(self.0.map(f))
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
        Self(array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

/// Sixteen bytes, as floats.
///
/// # Safety
/// The machine has NEON.
#[inline(always)]
unsafe fn floats(bytes: uint8x16_t) -> [float32x4_t; 4] {
    // SAFETY: the caller's.
    unsafe {
        let halves = [vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes)];
        let [a, b] = halves.map(|half| [vmovl_u16(vget_low_u16(half)), vmovl_high_u16(half)]);
        [a[0], a[1], b[0], b[1]].map(|four| vcvtq_f32_u32(four))
    }
}

/// Four rows of four, as their columns.
///
/// # Safety
/// The machine has NEON.
#[inline(always)]
unsafe fn transpose([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    // SAFETY: the caller's.
    unsafe {
        let wide = |v| vreinterpretq_f64_f32(v);
        let narrow = |v| vreinterpretq_f32_f64(v);
        let even = [wide(vtrn1q_f32(a, b)), wide(vtrn1q_f32(c, d))];
        let odd = [wide(vtrn2q_f32(a, b)), wide(vtrn2q_f32(c, d))];
        [
            narrow(vtrn1q_f64(even[0], even[1])),
            narrow(vtrn1q_f64(odd[0], odd[1])),
            narrow(vtrn2q_f64(even[0], even[1])),
            narrow(vtrn2q_f64(odd[0], odd[1])),
        ]
    }
}

/// Copies `count` values, in a loop that the compiler leaves alone: a call would cost the vectors that are in
/// registers, and a branch for every count would keep loops over vectors from being unrolled.
///
/// # Safety
/// They are readable at `from` and writable at `to`.
#[inline(always)]
unsafe fn copy(from: *const f32, to: *mut f32, count: usize) {
    // SAFETY: the caller's; what is written is declared.
    unsafe {
        asm!(
            "cbz {count}, 3f",
            "2:",
            "ldr {value:w}, [{from}], #4",
            "str {value:w}, [{to}], #4",
            "sub {count}, {count}, #1",
            "cbnz {count}, 2b",
            "3:",
            count = inout(reg) count => _,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            value = out(reg) _,
            options(nostack, preserves_flags)
        );
    }
}

// SAFETY: all that the intrinsics need is NEON, which every target of this architecture has that can pass
// floats; pointers are the caller's.
unsafe impl Lanes for Neon {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: as above.
        Self([unsafe { vdupq_n_f32(value) }; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        Self(array::from_fn(|i| unsafe { vld1q_f32(from.add(4 * i)) }))
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize, fill: f32) -> Self {
        let mut lanes = [fill; LANES];
        // SAFETY: as above; `count` is below the length of the array.
        unsafe {
            copy(from, lanes.as_mut_ptr(), count);
            Self::load(lanes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn load_i32(from: *const i32) -> Self {
        // SAFETY: as above.
        Self(array::from_fn(|i| unsafe { vcvtq_f32_s32(vld1q_s32(from.add(4 * i))) }))
    }

    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        // SAFETY: as above.
        Self(unsafe { floats(vld1q_u8(from)) })
    }

    #[inline(always)]
    unsafe fn load_nibbles(from: *const u8) -> [Self; 2] {
        // SAFETY: as above.
        unsafe {
            let bytes = vld1q_u8(from);
            [Self(floats(vandq_u8(bytes, vdupq_n_u8(15)))), Self(floats(vshrq_n_u8::<4>(bytes)))]
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for (i, four) in self.0.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { vst1q_f32(to.add(4 * i), four) };
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: as above; `count` is below the length of the array.
        unsafe { copy(self.to_array().as_ptr(), to, count) }
    }

    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8) {
        // SAFETY: as above.
        unsafe {
            let [a, b, c, d] = self.0.map(|v| vmovn_s32(vcvtq_s32_f32(v)));
            let (low, high) = (vmovn_s16(vcombine_s16(a, b)), vmovn_s16(vcombine_s16(c, d)));
            vst1q_s8(to, vcombine_s8(low, high));
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        self.zip(other, |a, b| unsafe { vaddq_f32(a, b) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        self.zip(other, |a, b| unsafe { vsubq_f32(a, b) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        self.zip(other, |a, b| unsafe { vmulq_f32(a, b) })
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: as above.
        self.zip(other, |a, b| unsafe { vdivq_f32(a, b) })
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: as above.
        self.map(|v| unsafe { vabsq_f32(v) })
    }

    /// By comparison, since `fmax` keeps a NaN of either side.
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        self.zip(other, |a, b| unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) })
    }

    #[inline(always)]
    fn max_bits(self, other: Self) -> Self {
        // SAFETY: as above.
        self.zip(other, |a, b| unsafe {
            vreinterpretq_f32_s32(vmaxq_s32(vreinterpretq_s32_f32(a), vreinterpretq_s32_f32(b)))
        })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: as above.
        self.zip(other, |a, b| unsafe { vbslq_f32(vcltq_f32(a, b), a, b) })
    }

    #[inline(always)]
    fn nan_to_zero(self) -> Self {
        // SAFETY: as above.
        self.map(|v| unsafe {
            let bits = vreinterpretq_u32_f32(v);
            vreinterpretq_f32_u32(vandq_u32(bits, vceqq_f32(v, v)))
        })
    }

    #[inline(always)]
    fn if_negative(self, yes: Self, no: Self) -> Self {
        let mut lanes = no;
        for (i, lane) in lanes.0.iter_mut().enumerate() {
            // SAFETY: as above.
            *lane = unsafe { vbslq_f32(vcltzq_f32(self.0[i]), yes.0[i], *lane) };
        }
        lanes
    }

    #[inline(always)]
    fn exp2_of_rounder(self) -> Self {
        // SAFETY: as above.
        self.map(|v| unsafe {
            let exponent = vshlq_n_u32::<23>(vreinterpretq_u32_f32(v));
            vreinterpretq_f32_u32(vaddq_u32(exponent, vdupq_n_u32(1f32.to_bits())))
        })
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: as above; the array has 16 lanes.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }

    #[inline(always)]
    fn fused_add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: as above.
        Self(array::from_fn(|i| unsafe { vfmaq_f32(self.0[i], a.0[i], b.0[i]) }))
    }

    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        let mut columns = rows;
        for i in 0..4 {
            for j in 0..4 {
                // SAFETY: as above.
                let block = unsafe { transpose(array::from_fn(|r| rows[4 * i + r].0[j])) };
                for (c, column) in block.into_iter().enumerate() {
                    columns[4 * j + c].0[i] = column;
                }
            }
        }
        columns
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let [a, b, c, d] = self.0;
        // SAFETY: as above.
        unsafe {
            let four = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
            vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)))
        }
    }
}
