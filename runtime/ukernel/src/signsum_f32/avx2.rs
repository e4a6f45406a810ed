//! `2bit15_32` by `vpermilps`: the 32 outputs in four registers, 15 inputs a step.
//!
//! Prepared activations hold, for each input x, the four values -x, 0·x, x and an unused one. The
//! lookup reads the low two bits of the dword of an output, which is shifted from input to input.

use super::{PrepareF32, SignSumF32};
use crate::Layout;
use core::arch::x86_64::*;

const LAYOUT: Layout = Layout::TwoBitTriples32;

/// Bytes ahead of the load: far enough for memory, near enough to stay in the first cache.
const PREFETCH: usize = 2048;

const TRIPLES: usize = 5;

/// # Safety
/// The machine has AVX2; the arguments are as [`SignSumF32`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn trine_signsum_f32_avx2_2bit15_32(args: *const SignSumF32) {
    // SAFETY: the caller's; tiles, groups and rows stay inside the sizes that the arguments give.
    unsafe {
        let args = &*args;
        for tile in args.tile_begin..args.tile_end {
            for group in 0..args.groups {
                for row in 0..args.rows {
                    one_row(args, tile, group, row);
                }
            }
        }
    }
}

/// # Safety
/// The buffers are live.
#[target_feature(enable = "avx2")]
unsafe fn one_row(args: &SignSumF32, tile: usize, group: usize, row: usize) {
    let mut w = args.weights_at(LAYOUT, tile, group);
    let mut products = args.prepared_at(LAYOUT, row, group).cast::<__m128>();
    // SAFETY: each step reads 128 packed bytes and 15 fours of products; 32 sums are written.
    unsafe {
        let mut sums = [_mm256_setzero_ps(); 4];
        for _ in 0..args.steps(LAYOUT) {
            let mut fields = [_mm256_setzero_si256(); 4];
            for (v, fields) in fields.iter_mut().enumerate() {
                let part = w.wrapping_add(32 * v);
                if v % 2 == 0 {
                    _mm_prefetch::<_MM_HINT_T0>(part.wrapping_add(PREFETCH).cast());
                }
                *fields = _mm256_loadu_si256(part.cast());
            }
            for _ in 0..TRIPLES {
                let x = [0, 1, 2].map(|i| {
                    let four = products.add(i).read_unaligned();
                    _mm256_set_m128(four, four)
                });
                for (sum, fields) in sums.iter_mut().zip(&mut fields) {
                    let p0 = _mm256_permutevar_ps(x[0], *fields);
                    let p1 = _mm256_permutevar_ps(x[1], _mm256_srli_epi32::<2>(*fields));
                    let p2 = _mm256_permutevar_ps(x[2], _mm256_srli_epi32::<4>(*fields));
                    *fields = _mm256_srli_epi32::<6>(*fields);
                    *sum = _mm256_add_ps(*sum, _mm256_add_ps(_mm256_add_ps(p0, p1), p2));
                }
                products = products.add(3);
            }
            w = w.add(LAYOUT.step_bytes());
        }
        let out = args.out_at(LAYOUT, row, group, tile);
        for (v, sum) in sums.into_iter().enumerate() {
            _mm256_storeu_ps(out.add(8 * v), sum);
        }
    }
}

/// # Safety
/// The machine has AVX2; the arguments are as [`PrepareF32`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn trine_prepare_f32_avx2_2bit15_32(args: *const PrepareF32) {
    // SAFETY: the caller's; a step of this layout is 15 fours of values.
    unsafe {
        let trits = _mm_setr_ps(-1.0, 0.0, 1.0, 0.0);
        (*args).for_each_step::<{ 3 * TRIPLES }>(LAYOUT, |x, to| {
            for (i, &x) in x.iter().enumerate() {
                _mm_storeu_ps(to.add(4 * i), _mm_mul_ps(trits, _mm_set1_ps(x)));
            }
        });
    }
}
