//! `8bit_32` and `4bit_32` by the `vpdpbusd` of 256 bits: four inputs at a time.

use crate::Layout;
use crate::contract_i8::ymm::{Bytes, Codes, Nibbles, Sums, contract, contract_scaled, load};
use crate::contract_i8::{ContractI8, four};
use crate::scaled_i8::ScaledI8;
use core::arch::x86_64::*;
use core::marker::PhantomData;

/// # Safety
/// The machine has AVX2 and AVX-VNNI; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe extern "C" fn trine_dot_i8_avxvnni_8bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe { contract::<Quadruples<Bytes>>(&*args) }
}

/// # Safety
/// As for [`trine_dot_i8_avxvnni_8bit_32`].
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe extern "C" fn trine_dot_i8_avxvnni_4bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe { contract::<Quadruples<Nibbles>>(&*args) }
}

/// # Safety
/// The machine has AVX2 and AVX-VNNI; the arguments are as [`ScaledI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe extern "C" fn trine_scaled_i8_avxvnni_8bit_32(args: *const ScaledI8) {
    // SAFETY: the caller's.
    unsafe { contract_scaled::<Quadruples<Bytes>>(&*args) }
}

/// # Safety
/// As for [`trine_scaled_i8_avxvnni_8bit_32`].
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe extern "C" fn trine_scaled_i8_avxvnni_4bit_32(args: *const ScaledI8) {
    // SAFETY: the caller's.
    unsafe { contract_scaled::<Quadruples<Nibbles>>(&*args) }
}

struct Quadruples<C>(PhantomData<C>);

impl<C: Codes> Sums for Quadruples<C> {
    const LAYOUT: Layout = C::LAYOUT;
    const OFFSET: i32 = C::OFFSET;

    #[inline]
    #[target_feature(enable = "avx2,avxvnni")]
    unsafe fn sums<const R: usize, const V: usize>(
        mut w: *const u8,
        mut x: *const i8,
        x_stride: usize,
        steps: usize,
    ) -> [[__m256i; V]; R] {
        let mut sums = [[_mm256_setzero_si256(); V]; R];
        for _ in 0..steps {
            // SAFETY: the caller's.
            let packed = unsafe { load::<V>(w) };
            for field in 0..C::FIELDS {
                // SAFETY: the caller's.
                let weights = packed.map(|w| unsafe { C::field(w, field) });
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's.
                    let x4 = _mm256_set1_epi32(unsafe { four(x.add(row * x_stride + 4 * field)) });
                    for v in 0..V {
                        sums[v] = _mm256_dpbusd_avx_epi32(sums[v], weights[v], x4);
                    }
                }
            }
            w = w.wrapping_add(Self::LAYOUT.step_bytes());
            x = x.wrapping_add(Self::LAYOUT.k_step());
        }
        sums
    }
}
