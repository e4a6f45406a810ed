//! `3in5_64` by `vpermi2ps`: 64 outputs in four registers, 18 inputs a step.
//!
//! Prepared activations hold, for each triple of inputs, the 27 sums that three trits can make of
//! them, padded to 32. The dword of an output is six 5-bit indices into them: one lookup and one
//! addition do the work of three weights for 16 outputs. The lookup reads the low five bits only, so
//! the dword is just shifted from triple to triple.

use super::{PrepareF32, SignSumF32, TABLE, trits_of_codes};
use crate::Layout;
use core::arch::x86_64::*;

const LAYOUT: Layout = Layout::ThreeInFive64;

/// Bytes ahead of the load: far enough for memory, near enough to stay in the first cache. The lines of a step
/// are asked for one by one between the triples: at once they would hold up the tables.
const PREFETCH: usize = 4096;

const TRIPLES: usize = 6;

/// # Safety
/// The machine has AVX-512 F, BW, DQ and VL; the arguments are as [`SignSumF32`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe extern "C" fn trine_signsum_f32_avx512_3in5_64(args: *const SignSumF32) {
    // SAFETY: the caller's; tiles, groups and rows stay inside the sizes that the arguments give.
    unsafe {
        let args = &*args;
        for tile in args.tile_begin..args.tile_end {
            for group in 0..args.groups {
                let mut row = 0;
                while row < args.rows {
                    row += match args.rows - row {
                        1 => rows::<1>(args, tile, group, row),
                        2 | 4 => rows::<2>(args, tile, group, row),
                        _ => rows::<3>(args, tile, group, row),
                    };
                }
            }
        }
    }
}

/// `R` rows of a group of a tile: three rows are what registers hold. Returns the rows done.
///
/// # Safety
/// The buffers are live for `R` rows from `row` on.
#[target_feature(enable = "avx512f")]
unsafe fn rows<const R: usize>(args: &SignSumF32, tile: usize, group: usize, row: usize) -> usize {
    let mut w = args.weights_at(LAYOUT, tile, group);
    let mut tables = args.prepared_at(LAYOUT, row, group);
    let tables_stride = args.prepared_stride(LAYOUT);
    // SAFETY: each step reads 256 packed bytes and six tables a row; 64 sums a row are written.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 4]; R];
        for _ in 0..args.steps(LAYOUT) {
            let mut codes = [_mm512_setzero_si512(); 4];
            for (v, codes) in codes.iter_mut().enumerate() {
                *codes = _mm512_loadu_si512(w.add(64 * v).cast());
            }
            for triple in 0..TRIPLES {
                if triple < LAYOUT.step_bytes() / 64 {
                    _mm_prefetch::<_MM_HINT_T0>(w.wrapping_add(64 * triple + PREFETCH).cast());
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let table = tables.add(r * tables_stride);
                    let low = _mm512_loadu_ps(table);
                    let high = _mm512_loadu_ps(table.add(16));
                    for (sum, &codes) in sums.iter_mut().zip(&codes) {
                        let picked = _mm512_permutex2var_ps(low, codes, high);
                        *sum = _mm512_add_ps(*sum, picked);
                    }
                }
                codes = codes.map(|codes| _mm512_srli_epi32::<5>(codes));
                tables = tables.add(TABLE);
            }
            w = w.add(LAYOUT.step_bytes());
        }
        for (r, sums) in sums.into_iter().enumerate() {
            let out = args.out_at(LAYOUT, row + r, group, tile);
            for (v, sum) in sums.into_iter().enumerate() {
                _mm512_storeu_ps(out.add(16 * v), sum);
            }
        }
    }
    R
}

/// # Safety
/// The machine has AVX-512 F, BW, DQ and VL; the arguments are as [`PrepareF32`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe extern "C" fn trine_prepare_f32_avx512_3in5_64(args: *const PrepareF32) {
    const TRITS: [[f32; TABLE]; 3] = trits_of_codes();
    // SAFETY: the caller's; a step of this layout is six tables of 32 values, as many as the arrays have.
    unsafe {
        let trits = [0, 16].map(|from| TRITS.each_ref().map(|t| _mm512_loadu_ps(t.as_ptr().add(from))));
        (*args).for_each_step::<{ 3 * TRIPLES }>(LAYOUT, |x, to| {
            for (triple, &[x0, x1, x2]) in x.as_chunks::<3>().0.iter().enumerate() {
                let (x0, x1, x2) = (_mm512_set1_ps(x0), _mm512_set1_ps(x1), _mm512_set1_ps(x2));
                for (half, &[t0, t1, t2]) in trits.iter().enumerate() {
                    let first = _mm512_add_ps(_mm512_mul_ps(t0, x0), _mm512_mul_ps(t1, x1));
                    let sum = _mm512_add_ps(first, _mm512_mul_ps(t2, x2));
                    _mm512_storeu_ps(to.add(TABLE * triple + 16 * half), sum);
                }
            }
        });
    }
}
