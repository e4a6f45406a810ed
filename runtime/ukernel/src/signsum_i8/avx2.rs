//! `2bit_32` by `vpmaddubsw`: the 32 outputs in four registers, 16 inputs a step.
//!
//! Pairs of products gather in i16, which is widened to i32 before it can overflow: a pair is at
//! most 2 · (2 · 128), so 60 of them stay below 2^15.

use crate::Layout;
use crate::contract_i8::{Cell, ContractI8, for_each_block, four};
use core::arch::x86_64::*;

const LAYOUT: Layout = Layout::TwoBit32;

/// Bytes ahead of the load: far enough for memory, near enough to stay in the first cache.
const PREFETCH: usize = 2048;

/// Steps between widenings; a step adds four pairs.
const STEPS_IN_I16: usize = 15;

/// # Safety
/// The machine has AVX2; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn trine_signsum_i8_avx2_2bit_32(args: *const ContractI8) {
    // SAFETY: the caller's; cells and rows stay inside the sizes that the arguments give.
    unsafe {
        let args = &*args;
        for_each_block!(args, LAYOUT, |cell| {
            1 => rows::<1, 4>(args, &cell),
            2 => rows::<2, 4>(args, &cell),
            3 => rows::<3, 2>(args, &cell),
            4 => rows::<4, 2>(args, &cell),
        });
    }
}

/// `R` rows of the tile, `V` of its four registers after the other: as many as fit.
///
/// # Safety
/// The cell's buffers are live for `R` rows.
#[target_feature(enable = "avx2")]
unsafe fn rows<const R: usize, const V: usize>(args: &ContractI8, cell: &Cell) {
    for first in (0..4).step_by(V) {
        // SAFETY: each step reads 32 packed bytes a register and 16 activations a row; 8 sums a register
        // and row are written.
        unsafe {
            let mask = _mm256_set1_epi8(3);
            let ones = _mm256_set1_epi16(1);
            let x_stride = args.x_stride();
            let mut sums = [[_mm256_setzero_si256(); V]; R];
            for (row, sums) in sums.iter_mut().enumerate() {
                *sums = [_mm256_set1_epi32(-*cell.x_sums.add(row * args.groups)); V];
            }
            let (mut w, mut x) = (cell.weights.add(32 * first), cell.x);
            let mut left = cell.steps;
            while left > 0 {
                let chunk = left.min(STEPS_IN_I16);
                left -= chunk;
                let mut narrow = [[_mm256_setzero_si256(); V]; R];
                for _ in 0..chunk {
                    let mut packed = [_mm256_setzero_si256(); V];
                    for (v, packed) in packed.iter_mut().enumerate() {
                        if v % 2 == 0 {
                            prefetch(w.wrapping_add(32 * v));
                        }
                        *packed = _mm256_loadu_si256(w.add(32 * v).cast());
                    }
                    for field in 0..4 {
                        let weights = packed.map(|p| _mm256_and_si256(p, mask));
                        packed = packed.map(|p| _mm256_srli_epi16::<2>(p));
                        for (row, narrow) in narrow.iter_mut().enumerate() {
                            let x4 = _mm256_set1_epi32(four(x.add(row * x_stride + 4 * field)));
                            for v in 0..V {
                                let pairs = _mm256_maddubs_epi16(weights[v], x4);
                                narrow[v] = _mm256_add_epi16(narrow[v], pairs);
                            }
                        }
                    }
                    w = w.add(LAYOUT.step_bytes());
                    x = x.add(LAYOUT.k_step());
                }
                for row in 0..R {
                    for v in 0..V {
                        let wide = _mm256_madd_epi16(narrow[row][v], ones);
                        sums[row][v] = _mm256_add_epi32(sums[row][v], wide);
                    }
                }
            }
            for (row, sums) in sums.into_iter().enumerate() {
                let out = cell.out.add(row * args.out_stride() + 8 * first);
                for (v, sum) in sums.into_iter().enumerate() {
                    _mm256_storeu_si256(out.add(8 * v).cast(), sum);
                }
            }
        }
    }
}

#[inline(always)]
fn prefetch(w: *const u8) {
    // SAFETY: a prefetch of any address is harmless.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(w.wrapping_add(PREFETCH).cast()) }
}
