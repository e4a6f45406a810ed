//! `2bit_32` by the `vpdpbusd` of 256 bits: 16 inputs a step.

use crate::Layout;
use crate::contract_i8::ymm::{Sums, contract, contract_scaled, load};
use crate::contract_i8::{ContractI8, four};
use crate::scaled_i8::ScaledI8;
use core::arch::x86_64::*;

/// # Safety
/// The machine has AVX2 and AVX-VNNI; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe extern "C" fn trine_signsum_i8_avxvnni_2bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe { contract::<Quadruples>(&*args) }
}

/// # Safety
/// The machine has AVX2 and AVX-VNNI; the arguments are as [`ScaledI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe extern "C" fn trine_scaled_i8_avxvnni_2bit_32(args: *const ScaledI8) {
    // SAFETY: the caller's.
    unsafe { contract_scaled::<Quadruples>(&*args) }
}

struct Quadruples;

impl Sums for Quadruples {
    const LAYOUT: Layout = Layout::TwoBit32;
    const OFFSET: i32 = 1;

    #[inline]
    #[target_feature(enable = "avx2,avxvnni")]
    unsafe fn sums<const R: usize, const V: usize>(
        mut w: *const u8,
        mut x: *const i8,
        x_stride: usize,
        steps: usize,
    ) -> [[__m256i; V]; R] {
        let mask = _mm256_set1_epi8(3);
        let mut sums = [[_mm256_setzero_si256(); V]; R];
        for _ in 0..steps {
            // SAFETY: the caller's.
            let mut packed = unsafe { load::<V>(w) };
            for field in 0..4 {
                let weights = packed.map(|p| _mm256_and_si256(p, mask));
                packed = packed.map(|p| _mm256_srli_epi16::<2>(p));
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's.
                    let x4 = unsafe { four(x.add(row * x_stride + 4 * field)) };
                    for v in 0..V {
                        sums[v] = _mm256_dpbusd_avx_epi32(sums[v], weights[v], _mm256_set1_epi32(x4));
                    }
                }
            }
            w = w.wrapping_add(Self::LAYOUT.step_bytes());
            x = x.wrapping_add(Self::LAYOUT.k_step());
        }
        sums
    }
}
