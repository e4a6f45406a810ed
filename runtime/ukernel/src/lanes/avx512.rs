//! Lanes in one AVX-512 register.

use super::{LANES, Lanes};
use core::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

/// The lanes below `count`.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    (1u16 << count).wrapping_sub(1)
}

// SAFETY: by the contract of the trait, each of these runs in a function that enables AVX-512 F, BW,
// DQ and VL, which is all that the intrinsics need; pointers are the caller's.
unsafe impl Lanes for Avx512 {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize, fill: f32) -> Self {
        // SAFETY: as above; masked lanes are not read.
        Self(unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), first(count), from) })
    }

    #[inline(always)]
    unsafe fn load_i32(from: *const i32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_cvtepi32_ps(_mm512_loadu_si512(from.cast())) })
    }

    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) })
    }

    #[inline(always)]
    unsafe fn load_nibbles(from: *const u8) -> [Self; 2] {
        // SAFETY: as above.
        unsafe {
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            let low = _mm512_and_si512(bytes, _mm512_set1_epi32(15));
            [Self(_mm512_cvtepi32_ps(low)), Self(_mm512_cvtepi32_ps(_mm512_srli_epi32::<4>(bytes)))]
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: as above; masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(to, first(count), self.0) }
    }

    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8) {
        // SAFETY: as above.
        unsafe {
            let bytes = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(self.0));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_div_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_abs_ps(self.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn max_bits(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe {
            _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(self.0), _mm512_castps_si512(other.0)))
        })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn nan_to_zero(self) -> Self {
        // SAFETY: as above.
        Self(unsafe {
            let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(self.0, self.0);
            _mm512_maskz_mov_ps(number, self.0)
        })
    }

    #[inline(always)]
    fn if_negative(self, yes: Self, no: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe {
            let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, _mm512_setzero_ps());
            _mm512_mask_mov_ps(no.0, negative, yes.0)
        })
    }

    #[inline(always)]
    fn exp2_of_rounder(self) -> Self {
        // SAFETY: as above.
        Self(unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(self.0));
            let one = _mm512_set1_epi32(1f32.to_bits() as i32);
            _mm512_castsi512_ps(_mm512_add_epi32(exponent, one))
        })
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: as above; the array has 16 lanes.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), self.0) };
        lanes
    }

    #[inline(always)]
    fn fused_add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }

    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        // Blocks of 4 · 4 are transposed in the quarters of the registers; then the quarters are.
        // SAFETY: as above.
        unsafe {
            let mut quarters = [_mm512_setzero_ps(); LANES];
            for i in (0..LANES).step_by(4) {
                let [a, b, c, d] = [rows[i].0, rows[i + 1].0, rows[i + 2].0, rows[i + 3].0];
                let low = [_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d)];
                let high = [_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d)];
                for (half, [ab, cd]) in [low, high].into_iter().enumerate() {
                    let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
                    quarters[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
                    quarters[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
                }
            }
            let mut columns = rows;
            for j in 0..4 {
                let [a, b, c, d] = [quarters[j], quarters[j + 4], quarters[j + 8], quarters[j + 12]];
                // Quarters 0 and 2 of both, then 1 and 3.
                let even = [_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d)];
                let odd = [_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d)];
                columns[j] = Self(_mm512_shuffle_f32x4::<0x88>(even[0], even[1]));
                columns[j + 4] = Self(_mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]));
                columns[j + 8] = Self(_mm512_shuffle_f32x4::<0xdd>(even[0], even[1]));
                columns[j + 12] = Self(_mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]));
            }
            columns
        }
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: as above.
        unsafe {
            let upper = _mm512_extractf32x8_ps::<1>(self.0);
            super::avx2::sum(_mm256_add_ps(_mm512_castps512_ps256(self.0), upper))
        }
    }

    #[inline(always)]
    fn sums([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: as above.
        unsafe {
            let halves = |a, b| {
                let lower = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
                _mm512_add_ps(lower, _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b))
            };
            let (ab, cd) = (halves(a.0, b.0), halves(c.0, d.0));
            // Four sums of each, side by side.
            let lower = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd);
            let four = _mm512_add_ps(lower, _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd));
            let two = _mm512_add_ps(four, _mm512_permute_ps::<0b01_00_11_10>(four));
            let one = _mm512_add_ps(two, _mm512_permute_ps::<0b10_11_00_01>(two));
            let mut sums = [0.0; 4];
            let firsts = _mm512_maskz_compress_ps(0x1111, one);
            _mm_storeu_ps(sums.as_mut_ptr(), _mm512_castps512_ps128(firsts));
            sums
        }
    }

    #[inline(always)]
    fn greatest(self) -> f32 {
        // SAFETY: as above.
        unsafe {
            let upper = _mm512_extractf32x8_ps::<1>(self.0);
            super::avx2::greatest(_mm256_max_ps(_mm512_castps512_ps256(self.0), upper))
        }
    }
}
