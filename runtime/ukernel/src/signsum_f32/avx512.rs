//! `3in5_64` by `vpermi2ps`: 64 outputs in four registers, 18 inputs a step.
//!
//! The tables hold, for each triple of inputs, the 27 sums that three trits can make of them, padded to 32. The dword
//! of an output is six 5-bit indices into them: one lookup and one addition do the work of three weights for 16
//! outputs. The lookup reads the low five bits only, so the dword is just shifted from triple to triple.

use super::blocks::{Block, Lookup, run};
use super::{SignSumF32, TABLE, trits_of_codes};
use crate::Layout;
use core::arch::x86_64::*;

const TRIPLES: usize = 6;

/// # Safety
/// The machine has AVX-512 F, BW, DQ and VL; the arguments are as [`SignSumF32`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe extern "C" fn trine_signsum_f32_avx512_3in5_64(args: *const SignSumF32) {
    // SAFETY: the caller's.
    unsafe { run::<{ 3 * TRIPLES }, Avx512>(&*args) }
}

struct Avx512;

impl Lookup<{ 3 * TRIPLES }> for Avx512 {
    const LAYOUT: Layout = Layout::ThreeInFive64;
    const ROWS: usize = 3;
    const STEPS: usize = 8;
    /// Far enough for memory, near enough to stay in the first cache.
    const AHEAD: usize = 4096;

    #[inline(always)]
    unsafe fn prepare(x: &[f32; 3 * TRIPLES], tables: *mut f32) {
        // SAFETY: the caller's.
        unsafe { make_tables(x, tables) }
    }

    #[inline(always)]
    unsafe fn sums(block: &Block, rows: usize) {
        // SAFETY: the caller's.
        unsafe {
            match rows {
                1 => some_rows::<1>(block),
                2 => some_rows::<2>(block),
                _ => some_rows::<3>(block),
            }
        }
    }
}

/// # Safety
/// There is room for the tables of a step.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn make_tables(x: &[f32; 3 * TRIPLES], tables: *mut f32) {
    const TRITS: [[f32; TABLE]; 3] = trits_of_codes();
    // SAFETY: the caller's: six tables of 32 values, as many as the arrays have.
    unsafe {
        for from in [0, 16] {
            let trit = |i: usize| _mm512_loadu_ps(TRITS[i].as_ptr().add(from));
            let (t0, t1, t2) = (trit(0), trit(1), trit(2));
            for (triple, &[x0, x1, x2]) in x.as_chunks::<3>().0.iter().enumerate() {
                // Products with a trit are exact, so that only their sums are rounded.
                let first = _mm512_mul_ps(t0, _mm512_set1_ps(x0));
                let first = _mm512_fmadd_ps(t1, _mm512_set1_ps(x1), first);
                let sum = _mm512_fmadd_ps(t2, _mm512_set1_ps(x2), first);
                _mm512_storeu_ps(tables.add(TABLE * triple + from), sum);
            }
        }
    }
}

/// # Safety
/// What the block says is there, for `R` rows.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn some_rows<const R: usize>(block: &Block) {
    const STEP: usize = Layout::ThreeInFive64.step_bytes();
    let mut w = block.weights;
    let mut tables: [_; R] = core::array::from_fn(|r| block.tables(r));
    // SAFETY: each step reads 256 packed bytes and six tables a row; 64 sums a row are written.
    unsafe {
        let out = |r: usize, v: usize| block.out(r).add(16 * v);
        let mut sums = [[_mm512_setzero_ps(); 4]; R];
        if block.adds {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(out(r, v));
                }
            }
        }
        for _ in 0..block.steps {
            let mut codes = [_mm512_setzero_si512(); 4];
            for (v, codes) in codes.iter_mut().enumerate() {
                *codes = _mm512_loadu_si512(w.add(64 * v).cast());
            }
            for triple in 0..TRIPLES {
                // Lines are asked for one by one between the triples: at once they would hold up the tables.
                if triple < STEP / 64 {
                    _mm_prefetch::<_MM_HINT_T0>(w.wrapping_add(64 * triple + block.ahead).cast());
                }
                for (table, sums) in tables.iter_mut().zip(&mut sums) {
                    let low = _mm512_loadu_ps(*table);
                    let high = _mm512_loadu_ps(table.add(16));
                    *table = table.add(TABLE);
                    for (sum, &codes) in sums.iter_mut().zip(&codes) {
                        let picked = _mm512_permutex2var_ps(low, codes, high);
                        *sum = _mm512_add_ps(*sum, picked);
                    }
                }
                codes = codes.map(|codes| _mm512_srli_epi32::<5>(codes));
            }
            w = w.add(STEP);
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                _mm512_storeu_ps(out(r, v), sum);
            }
        }
    }
}
