//! `8bit_32` and `4bit_32` by `vpmaddwd`: four inputs at a time.
//!
//! `vpmaddubsw` would saturate, so even and odd bytes are widened to 16 bits, where pairs of products
//! are exact.

use crate::Layout;
use crate::contract_i8::ymm::{Bytes, Codes, Nibbles, Sums, contract, contract_scaled, load};
use crate::contract_i8::{ContractI8, four};
use crate::scaled_i8::ScaledI8;
use core::arch::x86_64::*;
use core::marker::PhantomData;

/// # Safety
/// The machine has AVX2; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn trine_dot_i8_avx2_8bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe { contract::<Pairs<Bytes>>(&*args) }
}

/// # Safety
/// As for [`trine_dot_i8_avx2_8bit_32`].
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn trine_dot_i8_avx2_4bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe { contract::<Pairs<Nibbles>>(&*args) }
}

/// # Safety
/// The machine has AVX2; the arguments are as [`ScaledI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn trine_scaled_i8_avx2_8bit_32(args: *const ScaledI8) {
    // SAFETY: the caller's.
    unsafe { contract_scaled::<Pairs<Bytes>>(&*args) }
}

/// # Safety
/// As for [`trine_scaled_i8_avx2_8bit_32`].
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn trine_scaled_i8_avx2_4bit_32(args: *const ScaledI8) {
    // SAFETY: the caller's.
    unsafe { contract_scaled::<Pairs<Nibbles>>(&*args) }
}

struct Pairs<C>(PhantomData<C>);

impl<C: Codes> Sums for Pairs<C> {
    const LAYOUT: Layout = C::LAYOUT;
    const OFFSET: i32 = C::OFFSET;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sums<const R: usize, const V: usize>(
        mut w: *const u8,
        mut x: *const i8,
        x_stride: usize,
        steps: usize,
    ) -> [[__m256i; V]; R] {
        let low_bytes = _mm256_set1_epi16(0xff);
        let mut sums = [[_mm256_setzero_si256(); V]; R];
        for _ in 0..steps {
            // SAFETY: the caller's.
            let packed = unsafe { load::<V>(w) };
            for field in 0..C::FIELDS {
                // SAFETY: the caller's.
                let bytes = packed.map(|w| unsafe { C::field(w, field) });
                let even = bytes.map(|w| _mm256_and_si256(w, low_bytes));
                let odd = bytes.map(|w| _mm256_srli_epi16::<8>(w));
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's.
                    let x4 = _mm256_set1_epi32(unsafe { four(x.add(row * x_stride + 4 * field)) });
                    let x_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x4));
                    let x_odd = _mm256_srai_epi16::<8>(x4);
                    for v in 0..V {
                        let even = _mm256_madd_epi16(even[v], x_even);
                        let odd = _mm256_madd_epi16(odd[v], x_odd);
                        sums[v] = _mm256_add_epi32(sums[v], _mm256_add_epi32(even, odd));
                    }
                }
            }
            w = w.wrapping_add(Self::LAYOUT.step_bytes());
            x = x.wrapping_add(Self::LAYOUT.k_step());
        }
        sums
    }
}
