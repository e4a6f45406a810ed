//! `2bit_32` by `vpdpbusd`: 32 outputs in two registers, 16 inputs a step.
//!
//! A single row masks the fields where they lie and keeps an accumulator for each scale, so that
//! unpacking costs one `vpand` a dot product. Several rows shift the fields down instead and share
//! them, so that a row needs only two accumulators.

use crate::Layout;
use crate::contract_i8::zmm::{Sums, contract_scaled};
use crate::contract_i8::{Cell, ContractI8, for_each_block, four, prefetch_ahead};
use crate::scaled_i8::ScaledI8;
use core::arch::x86_64::*;

const LAYOUT: Layout = Layout::TwoBit32;

/// # Safety
/// The machine has AVX-512 F, BW, VL and VNNI; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe extern "C" fn trine_signsum_i8_avx512vnni_2bit_32(args: *const ContractI8) {
    // SAFETY: the caller's; cells and rows stay inside the sizes that the arguments give.
    unsafe {
        let args = &*args;
        for_each_block!(args, LAYOUT, |cell| {
            1 => one_row(&cell),
            2 => rows::<2>(args, &cell),
            3 => rows::<3>(args, &cell),
            4 => rows::<4>(args, &cell),
            5 => rows::<5>(args, &cell),
            6 => rows::<6>(args, &cell),
            7 => rows::<7>(args, &cell),
            8 => rows::<8>(args, &cell),
        });
    }
}

/// # Safety
/// The machine has AVX-512 F, BW, VL and VNNI; the arguments are as [`ScaledI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe extern "C" fn trine_scaled_i8_avx512vnni_2bit_32(args: *const ScaledI8) {
    // SAFETY: the caller's.
    unsafe { contract_scaled::<Quadruples>(&*args) }
}

/// One row of a cell.
///
/// # Safety
/// The cell's buffers are live.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn one_row(cell: &Cell) {
    // SAFETY: each step reads 128 packed bytes and 16 activations of the cell, and 32 sums are its.
    unsafe {
        let masks = [0x03, 0x0c, 0x30, 0xc0u8].map(|m| _mm512_set1_epi8(m as i8));
        let mut sums = [[_mm512_setzero_si512(); 4]; 2];
        let (mut w, mut x) = (cell.weights, cell.x);
        for _ in 0..cell.steps {
            let packed = [load(w), load(w.add(64))];
            for field in 0..4 {
                if field % 2 == 0 {
                    prefetch_ahead(w.wrapping_add(32 * field));
                }
                let x4 = _mm512_set1_epi32(four(x.add(4 * field)));
                for half in 0..2 {
                    let weights = _mm512_and_si512(packed[half], masks[field]);
                    sums[half][field] = _mm512_dpbusd_epi32(sums[half][field], weights, x4);
                }
            }
            w = w.add(LAYOUT.step_bytes());
            x = x.add(LAYOUT.k_step());
        }
        let x_sum = _mm512_set1_epi32(*cell.x_sums);
        for (half, [s0, s1, s2, s3]) in sums.into_iter().enumerate() {
            let low = _mm512_add_epi32(s0, _mm512_srai_epi32::<2>(s1));
            let high = _mm512_add_epi32(_mm512_srai_epi32::<4>(s2), _mm512_srai_epi32::<6>(s3));
            let sum = _mm512_sub_epi32(_mm512_add_epi32(low, high), x_sum);
            _mm512_storeu_si512(cell.out.add(16 * half).cast(), sum);
        }
    }
}

/// `R` rows of a cell.
///
/// # Safety
/// The cell's buffers are live for `R` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows<const R: usize>(args: &ContractI8, cell: &Cell) {
    // SAFETY: the caller's; 32 sums a row are written.
    unsafe {
        let sums = Quadruples::sums::<R>(cell.weights, cell.x, args.x_stride(), cell.steps);
        for (row, sums) in sums.into_iter().enumerate() {
            let x_sum = _mm512_set1_epi32(*cell.x_sums.add(row * args.groups));
            let out = cell.out.add(row * args.out_stride());
            for (half, sum) in sums.into_iter().enumerate() {
                _mm512_storeu_si512(out.add(16 * half).cast(), _mm512_sub_epi32(sum, x_sum));
            }
        }
    }
}

struct Quadruples;

impl Sums for Quadruples {
    const LAYOUT: Layout = LAYOUT;
    const OFFSET: i32 = 1;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn sums<const R: usize>(
        mut w: *const u8,
        mut x: *const i8,
        x_stride: usize,
        steps: usize,
    ) -> [[__m512i; 2]; R] {
        let mask = _mm512_set1_epi8(3);
        let mut sums = [[_mm512_setzero_si512(); 2]; R];
        for _ in 0..steps {
            // SAFETY: the caller's: each step reads 128 packed bytes and 16 activations a row.
            let mut packed = unsafe { [load(w), load(w.add(64))] };
            for field in 0..4 {
                if field % 2 == 0 {
                    prefetch_ahead(w.wrapping_add(32 * field));
                }
                let weights = packed.map(|p| _mm512_and_si512(p, mask));
                packed = packed.map(|p| _mm512_srli_epi16::<2>(p));
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: as above.
                    let x4 = _mm512_set1_epi32(unsafe { four(x.add(row * x_stride + 4 * field)) });
                    for half in 0..2 {
                        sums[half] = _mm512_dpbusd_epi32(sums[half], weights[half], x4);
                    }
                }
            }
            w = w.wrapping_add(LAYOUT.step_bytes());
            x = x.wrapping_add(LAYOUT.k_step());
        }
        sums
    }
}

/// # Safety
/// 64 bytes at `w` are readable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(w: *const u8) -> __m512i {
    // SAFETY: the caller's.
    unsafe { _mm512_loadu_si512(w.cast()) }
}
