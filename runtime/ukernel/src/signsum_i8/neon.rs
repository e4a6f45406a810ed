//! `2bit_32` by `sdot`: 32 outputs in eight registers, 16 inputs a step.
//!
//! A step of activations is one register, whose lanes the four fields multiply. A single row reads the tile as
//! one stream and has registers left: it masks field 2 where it lies, for an accumulator of its own. Several
//! rows take one half of the tile after the other, as many as registers hold.

use crate::Layout;
use crate::contract_i8::{Cell, ContractI8, for_each_block};
use crate::neon::{dot, prefetch};
use core::arch::aarch64::*;

const LAYOUT: Layout = Layout::TwoBit32;

/// Bytes ahead of the load: far enough for memory, near enough to stay in the first cache.
const PREFETCH: usize = 2048;

/// Registers of a tile.
const VECTORS: usize = 8;

/// # Safety
/// The machine has NEON and its dot products; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "neon,dotprod")]
pub unsafe extern "C" fn trine_signsum_i8_neon_2bit_32(args: *const ContractI8) {
    // SAFETY: the caller's; cells and rows stay inside the sizes that the arguments give.
    unsafe {
        let args = &*args;
        for_each_block!(args, LAYOUT, |cell| {
            1 => one_row(&cell),
            2 => rows::<2>(args, &cell),
            3 => rows::<3>(args, &cell),
            4 => rows::<4>(args, &cell),
            5 => rows::<5>(args, &cell),
        });
    }
}

/// One row of a cell.
///
/// # Safety
/// The cell's buffers are live.
#[target_feature(enable = "neon,dotprod")]
unsafe fn one_row(cell: &Cell) {
    // SAFETY: each step reads 128 packed bytes and 16 activations of the cell, and 32 sums are its.
    unsafe {
        let (mask, mask2) = (vdupq_n_u8(0x03), vdupq_n_u8(0x30));
        let mut sums = [[vdupq_n_s32(0); 2]; VECTORS];
        let (mut w, mut x) = (cell.weights, cell.x);
        for _ in 0..cell.steps {
            let x16 = vld1q_s8(x);
            for (v, [sum, sum2]) in sums.iter_mut().enumerate() {
                let packed = load(w, v);
                let f0 = vandq_u8(packed, mask);
                let f1 = vandq_u8(vshrq_n_u8::<2>(packed), mask);
                let f2 = vandq_u8(packed, mask2);
                let f3 = vshrq_n_u8::<6>(packed);
                *sum2 = dot::<2>(*sum2, f2, x16);
                *sum = dot::<3>(dot::<1>(dot::<0>(*sum, f0, x16), f1, x16), f3, x16);
            }
            w = w.add(LAYOUT.step_bytes());
            x = x.add(LAYOUT.k_step());
        }
        let x_sum = vdupq_n_s32(*cell.x_sums);
        for (v, [sum, sum2]) in sums.into_iter().enumerate() {
            let sum = vaddq_s32(sum, vshrq_n_s32::<4>(sum2));
            vst1q_s32(cell.out.add(4 * v), vsubq_s32(sum, x_sum));
        }
    }
}

/// `R` rows of the tile, one half of its registers after the other.
///
/// # Safety
/// The cell's buffers are live for `R` rows.
#[target_feature(enable = "neon,dotprod")]
unsafe fn rows<const R: usize>(args: &ContractI8, cell: &Cell) {
    const HALF: usize = VECTORS / 2;
    for first in [0, HALF] {
        // SAFETY: each step reads 16 packed bytes a register and 16 activations a row; 4 sums a register
        // and row are written.
        unsafe {
            let mask = vdupq_n_u8(3);
            let mut sums = [[vdupq_n_s32(0); HALF]; R];
            for (row, sums) in sums.iter_mut().enumerate() {
                *sums = [vdupq_n_s32(-*cell.x_sums.add(row * args.groups)); HALF];
            }
            let (mut w, mut x) = (cell.weights.add(16 * first), cell.x);
            for _ in 0..cell.steps {
                let mut x16 = [vdupq_n_s8(0); R];
                for (row, x16) in x16.iter_mut().enumerate() {
                    *x16 = vld1q_s8(x.add(row * args.x_stride()));
                }
                for v in 0..HALF {
                    let packed = load(w, v);
                    let f0 = vandq_u8(packed, mask);
                    let f1 = vandq_u8(vshrq_n_u8::<2>(packed), mask);
                    let f2 = vandq_u8(vshrq_n_u8::<4>(packed), mask);
                    let f3 = vshrq_n_u8::<6>(packed);
                    for (sums, &x16) in sums.iter_mut().zip(&x16) {
                        let low = dot::<1>(dot::<0>(sums[v], f0, x16), f1, x16);
                        sums[v] = dot::<3>(dot::<2>(low, f2, x16), f3, x16);
                    }
                }
                w = w.add(LAYOUT.step_bytes());
                x = x.add(LAYOUT.k_step());
            }
            for (row, sums) in sums.into_iter().enumerate() {
                let out = cell.out.add(row * args.out_stride() + 4 * first);
                for (v, sum) in sums.into_iter().enumerate() {
                    vst1q_s32(out.add(4 * v), sum);
                }
            }
        }
    }
}

/// Register `v` of the step at `w`; the first of each line asks for one ahead.
///
/// # Safety
/// The register is readable.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load(w: *const u8, v: usize) -> uint8x16_t {
    let from = w.wrapping_add(16 * v);
    if v.is_multiple_of(4) {
        prefetch(from.wrapping_add(PREFETCH));
    }
    // SAFETY: the caller's.
    unsafe { vld1q_u8(from) }
}
