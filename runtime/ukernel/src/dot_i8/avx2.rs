//! `8bit_32` by `vpmaddwd`: 32 outputs in four registers, 4 inputs a step.
//!
//! `vpmaddubsw` would saturate, so even and odd bytes are widened to 16 bits, where pairs of products
//! are exact.

use crate::Layout;
use crate::contract_i8::{Cell, ContractI8, for_each_block, four};
use core::arch::x86_64::*;

const LAYOUT: Layout = Layout::EightBit32;

/// Bytes ahead of the load: far enough for memory, near enough to stay in the first cache.
const PREFETCH: usize = 3072;

/// # Safety
/// The machine has AVX2; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn trine_dot_i8_avx2_8bit_32(args: *const ContractI8) {
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
    let low_bytes = _mm256_set1_epi16(0xff);
    for first in (0..4).step_by(V) {
        // SAFETY: each step reads 32 packed bytes a register and 4 activations a row; 8 sums a register
        // and row are written.
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); V]; R];
            for (row, sums) in sums.iter_mut().enumerate() {
                let x_sum = *cell.x_sums.add(row * args.groups);
                *sums = [_mm256_set1_epi32(x_sum.wrapping_mul(-128)); V];
            }
            let (mut w, mut x) = (cell.weights.add(32 * first), cell.x);
            for _ in 0..cell.steps {
                let mut bytes = [_mm256_setzero_si256(); V];
                for (v, bytes) in bytes.iter_mut().enumerate() {
                    if v % 2 == 0 {
                        _mm_prefetch::<_MM_HINT_T0>(w.wrapping_add(32 * v + PREFETCH).cast());
                    }
                    *bytes = _mm256_loadu_si256(w.add(32 * v).cast());
                }
                let even = bytes.map(|w| _mm256_and_si256(w, low_bytes));
                let odd = bytes.map(|w| _mm256_srli_epi16::<8>(w));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x4 = _mm256_set1_epi32(four(x.add(row * args.x_stride())));
                    let x_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x4));
                    let x_odd = _mm256_srai_epi16::<8>(x4);
                    for v in 0..V {
                        let even = _mm256_madd_epi16(even[v], x_even);
                        let odd = _mm256_madd_epi16(odd[v], x_odd);
                        sums[v] = _mm256_add_epi32(sums[v], _mm256_add_epi32(even, odd));
                    }
                }
                w = w.add(LAYOUT.step_bytes());
                x = x.add(LAYOUT.k_step());
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
