//! `3in5_64` by `tbl`: 64 outputs, half of them in eight registers at a time, 18 inputs a step.
//!
//! The tables hold, for each triple of inputs, the 27 sums that three trits can make of them, padded to 32, with the
//! first bytes of all of them first, then the second ones, and so on. So codes need no more than to be gathered as
//! bytes: a lookup finds one byte of 16 sums, and what four found is zipped.

use super::blocks::{Block, Lookup, run};
use super::{SignSumF32, TABLE, trits_of_codes};
use crate::Layout;
use crate::neon::prefetch;
use core::arch::aarch64::*;

const LAYOUT: Layout = Layout::ThreeInFive64;

const TRIPLES: usize = 6;

/// # Safety
/// The arguments are as [`SignSumF32`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "neon")]
pub unsafe extern "C" fn trine_signsum_f32_neon_3in5_64(args: *const SignSumF32) {
    // SAFETY: the caller's.
    unsafe { run::<{ 3 * TRIPLES }, Neon>(&*args) }
}

struct Neon;

impl Lookup<{ 3 * TRIPLES }> for Neon {
    const LAYOUT: Layout = LAYOUT;
    const ROWS: usize = 1;
    const STEPS: usize = 16;
    /// Far enough for memory, near enough to stay in the first cache.
    const AHEAD: usize = 2048;

    #[inline(always)]
    unsafe fn prepare(x: &[f32; 3 * TRIPLES], tables: *mut f32) {
        // SAFETY: the caller's.
        unsafe { make_tables(x, tables) }
    }

    #[inline(always)]
    unsafe fn sums(block: &Block, _: usize) {
        for half in 0..2 {
            // SAFETY: the caller's.
            unsafe { half_row(block, half) };
        }
    }
}

/// # Safety
/// There is room for the tables of a step.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn make_tables(x: &[f32; 3 * TRIPLES], tables: *mut f32) {
    const TRITS: [[f32; TABLE]; 3] = trits_of_codes();
    // SAFETY: the caller's: six tables of 128 bytes, and so are the arrays.
    unsafe {
        for (triple, x) in x.as_chunks::<3>().0.iter().enumerate() {
            let mut table = [0.0; TABLE];
            for c in (0..TABLE).step_by(4) {
                let product = |i: usize| vmulq_n_f32(vld1q_f32(&TRITS[i][c]), x[i]);
                let sum = vaddq_f32(vaddq_f32(product(0), product(1)), product(2));
                vst1q_f32(&mut table[c], sum);
            }
            let to = tables.add(triple * TABLE).cast::<u8>();
            for half in [0, 16] {
                let uint8x16x4_t(b0, b1, b2, b3) = vld4q_u8(table[half..].as_ptr().cast());
                for (p, plane) in [b0, b1, b2, b3].into_iter().enumerate() {
                    vst1q_u8(to.add(32 * p + half), plane);
                }
            }
        }
    }
}

/// # Safety
/// What the block says is there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn half_row(block: &Block, half: usize) {
    let mut w = block.weights.wrapping_add(half * LAYOUT.step_bytes() / 2);
    let mut tables = block.tables(0);
    // SAFETY: each step reads 128 packed bytes and six tables; 32 sums are written.
    unsafe {
        let out = block.out(0).add(half * LAYOUT.tile() / 2);
        let mut sums = [[vdupq_n_f32(0.0); 4]; 2];
        if block.adds {
            for (v, sum) in sums.iter_mut().flatten().enumerate() {
                *sum = vld1q_f32(out.add(4 * v));
            }
        }
        for _ in 0..block.steps {
            prefetch(w.wrapping_add(block.ahead));
            prefetch(w.wrapping_add(block.ahead + 64));
            add_triples::<0>(w, tables, &mut sums);
            add_triples::<15>(w, tables.add(TRIPLES / 2 * TABLE), &mut sums);
            w = w.add(LAYOUT.step_bytes());
            tables = tables.add(TRIPLES * TABLE);
        }
        for (v, sum) in sums.into_iter().flatten().enumerate() {
            vst1q_f32(out.add(4 * v), sum);
        }
    }
}

/// Adds the three triples whose codes are from bit `FROM` on in the dwords of 32 outputs at `w`.
///
/// # Safety
/// 128 bytes at `w` and three tables are readable.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_triples<const FROM: i32>(w: *const u8, tables: *const f32, sums: &mut [[float32x4_t; 4]; 2]) {
    // SAFETY: the caller's.
    unsafe {
        let mut codes = [0, 64].map(|at| {
            let [a, b, c, d] = [0, 16, 32, 48].map(|v| vld1q_u32(w.add(at + v).cast()));
            [[a, b], [c, d]].map(|dwords| words::<FROM>(dwords))
        });
        for triple in 0..TRIPLES / 2 {
            let table = tables.add(triple * TABLE).cast::<u8>();
            let planes = [0, 32, 64, 96].map(|p| vld1q_u8_x2(table.add(p)));
            for (codes, sums) in codes.iter_mut().zip(sums.iter_mut()) {
                let [low, high] = codes.map(|words| vreinterpretq_u8_u16(words));
                let index = vandq_u8(vuzp1q_u8(low, high), vdupq_n_u8(31));
                let found = zip(planes.map(|plane| vqtbl2q_u8(plane, index)));
                for (sum, found) in sums.iter_mut().zip(found) {
                    *sum = vaddq_f32(*sum, found);
                }
                *codes = codes.map(|words| vshrq_n_u16::<5>(words));
            }
        }
    }
}

/// Bits `FROM .. FROM + 16` of eight dwords.
#[inline]
#[target_feature(enable = "neon")]
fn words<const FROM: i32>(dwords: [uint32x4_t; 2]) -> uint16x8_t {
    let [low, high] = dwords.map(|d| vreinterpretq_u16_u32(vshlq_u32(d, vdupq_n_s32(-FROM))));
    vuzp1q_u16(low, high)
}

/// Sixteen floats from their first, second, third and fourth bytes.
#[inline]
#[target_feature(enable = "neon")]
fn zip([b0, b1, b2, b3]: [uint8x16_t; 4]) -> [float32x4_t; 4] {
    let wide = |v| vreinterpretq_u16_u8(v);
    let lower = [wide(vzip1q_u8(b0, b1)), wide(vzip2q_u8(b0, b1))];
    let upper = [wide(vzip1q_u8(b2, b3)), wide(vzip2q_u8(b2, b3))];
    [
        vreinterpretq_f32_u16(vzip1q_u16(lower[0], upper[0])),
        vreinterpretq_f32_u16(vzip2q_u16(lower[0], upper[0])),
        vreinterpretq_f32_u16(vzip1q_u16(lower[1], upper[1])),
        vreinterpretq_f32_u16(vzip2q_u16(lower[1], upper[1])),
    ]
}
