//! `2bit_32` by `vpmaddubsw`: 16 inputs a step.
//!
//! Pairs of products gather in i16, which is widened to i32 before it can overflow: a pair is at
//! most 2 · (2 · 128), so 60 of them stay below 2^15.

use crate::Layout;
use crate::contract_i8::ymm::{Sums, contract, contract_scaled, load};
use crate::contract_i8::{ContractI8, four};
use crate::scaled_i8::ScaledI8;
use core::arch::x86_64::*;

/// Steps between widenings; a step adds four pairs.
const STEPS_IN_I16: usize = 15;

/// # Safety
/// The machine has AVX2; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn trine_signsum_i8_avx2_2bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe { contract::<Pairs>(&*args) }
}

/// # Safety
/// The machine has AVX2; the arguments are as [`ScaledI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn trine_scaled_i8_avx2_2bit_32(args: *const ScaledI8) {
    // SAFETY: the caller's.
    unsafe { contract_scaled::<Pairs>(&*args) }
}

struct Pairs;

impl Sums for Pairs {
    const LAYOUT: Layout = Layout::TwoBit32;
    const OFFSET: i32 = 1;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sums<const R: usize, const V: usize>(
        mut w: *const u8,
        mut x: *const i8,
        x_stride: usize,
        steps: usize,
    ) -> [[__m256i; V]; R] {
        let mask = _mm256_set1_epi8(3);
        let ones = _mm256_set1_epi16(1);
        let mut sums = [[_mm256_setzero_si256(); V]; R];
        let mut left = steps;
        while left > 0 {
            let chunk = left.min(STEPS_IN_I16);
            left -= chunk;
            let mut narrow = [[_mm256_setzero_si256(); V]; R];
            for _ in 0..chunk {
                // SAFETY: the caller's.
                let mut packed = unsafe { load::<V>(w) };
                for field in 0..4 {
                    let weights = packed.map(|p| _mm256_and_si256(p, mask));
                    packed = packed.map(|p| _mm256_srli_epi16::<2>(p));
                    for (row, narrow) in narrow.iter_mut().enumerate() {
                        // SAFETY: the caller's.
                        let x4 = unsafe { four(x.add(row * x_stride + 4 * field)) };
                        for v in 0..V {
                            let pairs = _mm256_maddubs_epi16(weights[v], _mm256_set1_epi32(x4));
                            narrow[v] = _mm256_add_epi16(narrow[v], pairs);
                        }
                    }
                }
                w = w.wrapping_add(Self::LAYOUT.step_bytes());
                x = x.wrapping_add(Self::LAYOUT.k_step());
            }
            for row in 0..R {
                for v in 0..V {
                    let wide = _mm256_madd_epi16(narrow[row][v], ones);
                    sums[row][v] = _mm256_add_epi32(sums[row][v], wide);
                }
            }
        }
        sums
    }
}
