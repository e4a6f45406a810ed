//! Contractions in registers of 512 bits whose groups are scaled, whatever multiplies: the 32 outputs of a tile are two of
//! them.

use super::in_blocks;
use crate::Layout;
use crate::scaled_i8::ScaledI8;
use core::arch::x86_64::*;

/// How products are summed.
pub trait Sums {
    const LAYOUT: Layout;

    /// What packing added to each weight.
    const OFFSET: i32;

    /// Sums of `R` rows over so many steps, of the weights as they are packed.
    ///
    /// # Safety
    /// Each step at `w`, and the activations of `R` rows at `x`, are readable; the machine has AVX-512 F, BW, VL and VNNI.
    unsafe fn sums<const R: usize>(
        w: *const u8,
        x: *const i8,
        x_stride: usize,
        steps: usize,
    ) -> [[__m512i; 2]; R];
}

/// The whole call.
///
/// # Safety
/// The arguments are as [`ScaledI8`] says; the machine has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn contract_scaled<S: Sums>(args: &ScaledI8) {
    for tile in args.sums.tile_begin..args.sums.tile_end {
        // SAFETY: the caller's; tiles and rows are those of the arguments.
        unsafe {
            in_blocks!(args.sums.rows, |row| {
                1 => rows::<S, 1>(args, tile, row),
                2 => rows::<S, 2>(args, tile, row),
                3 => rows::<S, 3>(args, tile, row),
                4 => rows::<S, 4>(args, tile, row),
            });
        }
    }
}

/// `R` rows of a tile.
///
/// # Safety
/// The buffers are live for `R` rows from `row` on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows<S: Sums, const R: usize>(args: &ScaledI8, tile: usize, row: usize) {
    let all = &args.sums;
    // Nothing is changed by adding -0.
    let mut outputs = [[_mm512_set1_ps(-0.0); 2]; R];
    for group in 0..all.groups {
        let cell = all.at_row(&all.cell(S::LAYOUT, tile, group), row);
        // SAFETY: the caller's.
        unsafe {
            let sums = S::sums::<R>(cell.weights, cell.x, all.x_stride(), cell.steps);
            let scales = args.scales_of(group, S::LAYOUT, tile);
            for (r, (outputs, sums)) in outputs.iter_mut().zip(sums).enumerate() {
                let x_sum = *cell.x_sums.add(r * all.groups);
                let start = _mm512_set1_epi32(x_sum.wrapping_mul(-S::OFFSET));
                let factor = args.factor(row + r, group);
                for (half, (output, sum)) in outputs.iter_mut().zip(sums).enumerate() {
                    let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(start, sum));
                    let mut term = _mm512_mul_ps(sum, _mm512_loadu_ps(scales.add(16 * half)));
                    if let Some(factor) = factor {
                        term = _mm512_mul_ps(term, _mm512_set1_ps(factor));
                    }
                    *output = _mm512_add_ps(*output, term);
                }
            }
        }
    }
    for (r, outputs) in outputs.into_iter().enumerate() {
        for (half, output) in outputs.into_iter().enumerate() {
            // SAFETY: the caller's; 32 outputs a row are written.
            unsafe { _mm512_storeu_ps(args.out(row + r, S::LAYOUT, tile).add(16 * half), output) };
        }
    }
}
