//! `2bit15_32` by `vpermilps`: the 32 outputs in four registers, 15 inputs a step.
//!
//! The tables hold, for each input x, the four values -x, 0·x, x and an unused one. The lookup reads the low two bits of
//! the dword of an output, which is shifted from input to input.

use super::SignSumF32;
use super::blocks::{Block, Lookup, run};
use crate::Layout;
use core::arch::x86_64::*;

const TRIPLES: usize = 5;

/// # Safety
/// The machine has AVX2; the arguments are as [`SignSumF32`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn trine_signsum_f32_avx2_2bit15_32(args: *const SignSumF32) {
    // SAFETY: the caller's.
    unsafe { run::<{ 3 * TRIPLES }, Avx2>(&*args) }
}

struct Avx2;

impl Lookup<{ 3 * TRIPLES }> for Avx2 {
    const LAYOUT: Layout = Layout::TwoBitTriples32;
    const ROWS: usize = 1;
    const STEPS: usize = 64;
    /// Far enough for memory, near enough to stay in the first cache.
    const AHEAD: usize = 2048;

    #[inline(always)]
    unsafe fn prepare(x: &[f32; 3 * TRIPLES], tables: *mut f32) {
        // SAFETY: the caller's.
        unsafe { make_tables(x, tables) }
    }

    #[inline(always)]
    unsafe fn sums(block: &Block, _: usize) {
        // SAFETY: the caller's.
        unsafe { one_row(block) }
    }
}

/// # Safety
/// There is room for the tables of a step.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn make_tables(x: &[f32; 3 * TRIPLES], tables: *mut f32) {
    // SAFETY: the caller's: 15 fours of values.
    unsafe {
        let trits = _mm_setr_ps(-1.0, 0.0, 1.0, 0.0);
        for (i, &x) in x.iter().enumerate() {
            _mm_storeu_ps(tables.add(4 * i), _mm_mul_ps(trits, _mm_set1_ps(x)));
        }
    }
}

/// # Safety
/// What the block says is there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn one_row(block: &Block) {
    let (mut w, mut products) = (block.weights, block.tables(0).cast::<__m128>());
    // SAFETY: each step reads 128 packed bytes and 15 fours of products; 32 sums are written.
    unsafe {
        let mut sums = [_mm256_setzero_ps(); 4];
        if block.adds {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_loadu_ps(block.out(0).add(8 * v));
            }
        }
        for _ in 0..block.steps {
            let mut fields = [_mm256_setzero_si256(); 4];
            for (v, fields) in fields.iter_mut().enumerate() {
                let part = w.wrapping_add(32 * v);
                if v % 2 == 0 {
                    _mm_prefetch::<_MM_HINT_T0>(part.wrapping_add(block.ahead).cast());
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
            w = w.add(Avx2::LAYOUT.step_bytes());
        }
        for (v, sum) in sums.into_iter().enumerate() {
            _mm256_storeu_ps(block.out(0).add(8 * v), sum);
        }
    }
}
