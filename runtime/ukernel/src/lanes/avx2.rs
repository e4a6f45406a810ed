//! Lanes in two AVX registers.

use super::{LANES, Lanes};
use core::arch::x86_64::*;
use core::array;

#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

/// Sixteen lanes on, then sixteen off: a window that starts at 16 - n masks the first n lanes.
static WINDOW: [i32; 2 * LANES] = {
    let mut window = [0; 2 * LANES];
    let mut i = 0;
    while i < LANES {
        window[i] = -1;
        i += 1;
    }
    window
};

/// # Safety
/// The machine has AVX; `count` ≤ 16.
#[inline(always)]
unsafe fn first(count: usize) -> (__m256i, __m256i) {
    // SAFETY: the caller's; the window stays inside the array.
    unsafe {
        let window = WINDOW.as_ptr().add(LANES - count);
        let load = |half: *const i32| _mm256_loadu_si256(half.cast());
        (load(window), load(window.add(LANES / 2)))
    }
}

/// Eight bytes, widened.
///
/// # Safety
/// The machine has AVX2; 8 values at `from` are readable.
#[inline(always)]
unsafe fn eight_bytes(from: *const u8) -> __m256i {
    // SAFETY: the caller's.
    unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())) }
}

/// The lanes of eight, summed as [`Lanes::sum`] goes on.
///
/// # Safety
/// The machine has AVX.
#[inline(always)]
pub(super) unsafe fn sum(eight: __m256) -> f32 {
    // SAFETY: the caller's.
    unsafe {
        let upper = _mm256_extractf128_ps::<1>(eight);
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), upper);
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

/// The greatest of eight lanes, by halves.
///
/// # Safety
/// The machine has AVX.
#[inline(always)]
pub(super) unsafe fn greatest(eight: __m256) -> f32 {
    // SAFETY: the caller's.
    unsafe {
        let upper = _mm256_extractf128_ps::<1>(eight);
        let four = _mm_max_ps(_mm256_castps256_ps128(eight), upper);
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

/// Eight rows of eight, as their columns.
///
/// # Safety
/// The machine has AVX.
#[inline(always)]
unsafe fn transpose(rows: [__m256; 8]) -> [__m256; 8] {
    // Blocks of 4 · 4 are transposed in the halves of the registers; then the halves are.
    // SAFETY: the caller's.
    unsafe {
        let mut halves = rows;
        for i in [0, 4] {
            let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
            let low = [_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d)];
            let high = [_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d)];
            for (half, [ab, cd]) in [low, high].into_iter().enumerate() {
                halves[i + 2 * half] = _mm256_shuffle_ps::<0x44>(ab, cd);
                halves[i + 2 * half + 1] = _mm256_shuffle_ps::<0xee>(ab, cd);
            }
        }
        let mut columns = halves;
        for j in 0..4 {
            columns[j] = _mm256_permute2f128_ps::<0x20>(halves[j], halves[j + 4]);
            columns[j + 4] = _mm256_permute2f128_ps::<0x31>(halves[j], halves[j + 4]);
        }
        columns
    }
}

// SAFETY: by the contract of the trait, each of these runs in a function that enables AVX2 and FMA, which is
// all that the intrinsics need; pointers are the caller's.
unsafe impl Lanes for Avx2 {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: as above.
        let half = unsafe { _mm256_set1_ps(value) };
        Self(half, half)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize, fill: f32) -> Self {
        // SAFETY: as above; masked lanes are not read.
        unsafe {
            let (low, high) = first(count);
            let fill = _mm256_set1_ps(fill);
            let half = |from: *const f32, mask: __m256i| {
                let values = _mm256_maskload_ps(from, mask);
                _mm256_blendv_ps(fill, values, _mm256_castsi256_ps(mask))
            };
            Self(half(from, low), half(from.wrapping_add(8), high))
        }
    }

    #[inline(always)]
    unsafe fn load_i32(from: *const i32) -> Self {
        // SAFETY: as above.
        let half = |from: *const i32| unsafe { _mm256_cvtepi32_ps(_mm256_loadu_si256(from.cast())) };
        Self(half(from), half(from.wrapping_add(8)))
    }

    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        // SAFETY: as above.
        let half = |from: *const u8| unsafe { _mm256_cvtepi32_ps(eight_bytes(from)) };
        Self(half(from), half(from.wrapping_add(8)))
    }

    #[inline(always)]
    unsafe fn load_nibbles(from: *const u8) -> [Self; 2] {
        // SAFETY: as above.
        unsafe {
            let (first, second) = (eight_bytes(from), eight_bytes(from.add(8)));
            let low = |v| _mm256_cvtepi32_ps(_mm256_and_si256(v, _mm256_set1_epi32(15)));
            let high = |v| _mm256_cvtepi32_ps(_mm256_srli_epi32::<4>(v));
            [Self(low(first), low(second)), Self(high(first), high(second))]
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: as above; masked lanes are not written.
        unsafe {
            let (low, high) = first(count);
            _mm256_maskstore_ps(to, low, self.0);
            _mm256_maskstore_ps(to.wrapping_add(8), high, self.1);
        }
    }

    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8) {
        // SAFETY: as above.
        unsafe {
            let (low, high) = (_mm256_cvtps_epi32(self.0), _mm256_cvtps_epi32(self.1));
            // Packing works in halves of registers: put its dwords, four lanes each, in order.
            let words = _mm256_packs_epi32(low, high);
            let bytes = _mm256_packs_epi16(words, words);
            let order = _mm256_setr_epi32(0, 4, 1, 5, 0, 0, 0, 0);
            let bytes = _mm256_permutevar8x32_epi32(bytes, order);
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(bytes));
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm256_div_ps(self.0, other.0), _mm256_div_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Self(_mm256_andnot_ps(sign, self.0), _mm256_andnot_ps(sign, self.1))
        }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn max_bits(self, other: Self) -> Self {
        // SAFETY: as above.
        let max = |a, b| unsafe {
            _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)))
        };
        Self(max(self.0, other.0), max(self.1, other.1))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm256_min_ps(self.0, other.0), _mm256_min_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn nan_to_zero(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let half = |v: __m256| _mm256_and_ps(v, _mm256_cmp_ps::<_CMP_ORD_Q>(v, v));
            Self(half(self.0), half(self.1))
        }
    }

    #[inline(always)]
    fn if_negative(self, yes: Self, no: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let half = |v: __m256, yes: __m256, no: __m256| {
                _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(v, _mm256_setzero_ps()))
            };
            Self(half(self.0, yes.0, no.0), half(self.1, yes.1, no.1))
        }
    }

    #[inline(always)]
    fn exp2_of_rounder(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let one = _mm256_set1_epi32(1f32.to_bits() as i32);
            let half = |v: __m256| {
                let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(v));
                _mm256_castsi256_ps(_mm256_add_epi32(exponent, one))
            };
            Self(half(self.0), half(self.1))
        }
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
        unsafe { Self(_mm256_fmadd_ps(a.0, b.0, self.0), _mm256_fmadd_ps(a.1, b.1, self.1)) }
    }

    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        // SAFETY: as above.
        unsafe {
            let upper = [transpose(array::from_fn(|i| rows[i].0)), transpose(array::from_fn(|i| rows[i].1))];
            let lower =
                [transpose(array::from_fn(|i| rows[i + 8].0)), transpose(array::from_fn(|i| rows[i + 8].1))];
            array::from_fn(|j| Self(upper[j / 8][j % 8], lower[j / 8][j % 8]))
        }
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: as above.
        unsafe { sum(_mm256_add_ps(self.0, self.1)) }
    }

    #[inline(always)]
    fn greatest(self) -> f32 {
        // SAFETY: as above.
        unsafe { greatest(_mm256_max_ps(self.0, self.1)) }
    }
}
