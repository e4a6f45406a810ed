//! `8bit_32` by `sdot`: 32 outputs in eight registers, 4 inputs a step.
//!
//! The instruction multiplies signed bytes, so the 128 that the layout adds is taken off again.

use crate::Layout;
use crate::contract_i8::{Cell, ContractI8, for_each_block, four};
use crate::neon::{dot, prefetch};
use core::arch::aarch64::*;

const LAYOUT: Layout = Layout::EightBit32;

/// Bytes ahead of the load: far enough for memory, near enough to stay in the first cache.
const PREFETCH: usize = 3072;

/// Registers of a tile.
const VECTORS: usize = 8;

/// # Safety
/// The machine has NEON and its dot products; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "neon,dotprod")]
pub unsafe extern "C" fn trine_dot_i8_neon_8bit_32(args: *const ContractI8) {
    // SAFETY: the caller's; cells and rows stay inside the sizes that the arguments give.
    unsafe {
        let args = &*args;
        for_each_block!(args, LAYOUT, |cell| {
            1 => rows::<1, VECTORS>(args, &cell),
            2 => rows::<2, VECTORS>(args, &cell),
            3 => rows::<3, 4>(args, &cell),
            4 => rows::<4, 4>(args, &cell),
            5 => rows::<5, 4>(args, &cell),
        });
    }
}

/// `R` rows of the tile, `V` of its eight registers after the other: as many as fit.
///
/// # Safety
/// The cell's buffers are live for `R` rows.
#[target_feature(enable = "neon,dotprod")]
unsafe fn rows<const R: usize, const V: usize>(args: &ContractI8, cell: &Cell) {
    for first in (0..VECTORS).step_by(V) {
        // SAFETY: each step reads 16 packed bytes a register and 4 activations a row; 4 sums a register
        // and row are written.
        unsafe {
            let offset = vdupq_n_u8(0x80);
            let mut sums = [[vdupq_n_s32(0); V]; R];
            let (mut w, mut x) = (cell.weights.add(16 * first), cell.x);
            for _ in 0..cell.steps {
                let mut x4 = [vdupq_n_s8(0); R];
                for (row, x4) in x4.iter_mut().enumerate() {
                    *x4 = vreinterpretq_s8_s32(vdupq_n_s32(four(x.add(row * args.x_stride()))));
                }
                for v in 0..V {
                    if v.is_multiple_of(4) {
                        prefetch(w.wrapping_add(16 * v + PREFETCH));
                    }
                    let weights = veorq_u8(vld1q_u8(w.add(16 * v)), offset);
                    for (sums, &x4) in sums.iter_mut().zip(&x4) {
                        sums[v] = dot::<0>(sums[v], weights, x4);
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
