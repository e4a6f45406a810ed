//! `8bit_32` by `vpmaddwd`: 4 inputs a step.
//!
//! `vpmaddubsw` would saturate, so even and odd bytes are widened to 16 bits, where pairs of products
//! are exact.

use crate::Layout;
use crate::contract_i8::ymm::{Sums, contract, load};
use crate::contract_i8::{ContractI8, four};
use core::arch::x86_64::*;

/// # Safety
/// The machine has AVX2; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn trine_dot_i8_avx2_8bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe { contract::<Pairs>(&*args) }
}

struct Pairs;

impl Sums for Pairs {
    const LAYOUT: Layout = Layout::EightBit32;
    const OFFSET: i32 = 128;

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
            let bytes = unsafe { load::<V>(w) };
            let even = bytes.map(|w| _mm256_and_si256(w, low_bytes));
            let odd = bytes.map(|w| _mm256_srli_epi16::<8>(w));
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's.
                let x4 = _mm256_set1_epi32(unsafe { four(x.add(row * x_stride)) });
                let x_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x4));
                let x_odd = _mm256_srai_epi16::<8>(x4);
                for v in 0..V {
                    let even = _mm256_madd_epi16(even[v], x_even);
                    let odd = _mm256_madd_epi16(odd[v], x_odd);
                    sums[v] = _mm256_add_epi32(sums[v], _mm256_add_epi32(even, odd));
                }
            }
            w = w.wrapping_add(Self::LAYOUT.step_bytes());
            x = x.wrapping_add(Self::LAYOUT.k_step());
        }
        sums
    }
}
