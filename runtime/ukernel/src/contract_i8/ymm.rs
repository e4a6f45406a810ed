//! Contractions in registers of 256 bits, whatever multiplies: the 32 outputs of a tile are four of them.

use super::{Cell, ContractI8, for_each_block, in_blocks};
use crate::Layout;
use crate::scaled_i8::ScaledI8;
use core::arch::x86_64::*;

/// How products are summed.
pub trait Sums {
    const LAYOUT: Layout;

    /// What packing added to each weight.
    const OFFSET: i32;

    /// Sums of `R` rows and `V` registers of outputs over so many steps, of the weights as they are packed.
    ///
    /// # Safety
    /// `V` registers of each step at `w`, and the activations of `R` rows at `x`, are readable; the machine has
    /// what the implementation says.
    unsafe fn sums<const R: usize, const V: usize>(
        w: *const u8,
        x: *const i8,
        x_stride: usize,
        steps: usize,
    ) -> [[__m256i; V]; R];
}

/// How bytes of int8 weights lie in a register: fields of four inputs an output, one after the other.
pub trait Codes {
    const LAYOUT: Layout;

    /// What packing added to each weight.
    const OFFSET: i32;

    const FIELDS: usize;

    /// # Safety
    /// The machine has AVX2.
    unsafe fn field(packed: __m256i, field: usize) -> __m256i;
}

/// A field of bytes.
pub struct Bytes;

impl Codes for Bytes {
    const LAYOUT: Layout = Layout::EightBit32;
    const OFFSET: i32 = 128;
    const FIELDS: usize = 1;

    #[inline(always)]
    unsafe fn field(packed: __m256i, _: usize) -> __m256i {
        packed
    }
}

/// Two fields of four bits.
pub struct Nibbles;

impl Codes for Nibbles {
    const LAYOUT: Layout = Layout::FourBit32;
    const OFFSET: i32 = 8;
    const FIELDS: usize = 2;

    #[inline(always)]
    unsafe fn field(packed: __m256i, field: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            let shifted = if field == 0 { packed } else { _mm256_srli_epi16::<4>(packed) };
            _mm256_and_si256(shifted, _mm256_set1_epi8(0x0f))
        }
    }
}

/// The whole call.
///
/// # Safety
/// The arguments are as [`ContractI8`] says; the machine has AVX2 and what `S` needs.
#[target_feature(enable = "avx2")]
pub unsafe fn contract<S: Sums>(args: &ContractI8) {
    // SAFETY: the caller's; cells and rows stay inside the sizes that the arguments give.
    unsafe {
        for_each_block!(args, S::LAYOUT, |cell| {
            1 => rows::<S, 1, 4>(args, &cell),
            2 => rows::<S, 2, 4>(args, &cell),
            3 => rows::<S, 3, 2>(args, &cell),
            4 => rows::<S, 4, 2>(args, &cell),
        });
    }
}

/// `R` rows of the tile, `V` of its four registers after the other: as many as fit.
///
/// # Safety
/// The cell's buffers are live for `R` rows.
#[target_feature(enable = "avx2")]
unsafe fn rows<S: Sums, const R: usize, const V: usize>(args: &ContractI8, cell: &Cell) {
    for first in (0..4).step_by(V) {
        // SAFETY: the caller's; 8 sums a register and row are written.
        unsafe {
            let sums = S::sums::<R, V>(cell.weights.add(32 * first), cell.x, args.x_stride(), cell.steps);
            for (row, sums) in sums.into_iter().enumerate() {
                let x_sum = *cell.x_sums.add(row * args.groups);
                let start = _mm256_set1_epi32(x_sum.wrapping_mul(-S::OFFSET));
                let out = cell.out.add(row * args.out_stride() + 8 * first);
                for (v, sum) in sums.into_iter().enumerate() {
                    _mm256_storeu_si256(out.add(8 * v).cast(), _mm256_add_epi32(start, sum));
                }
            }
        }
    }
}

/// The whole call, whose groups are scaled and added in registers.
///
/// # Safety
/// The arguments are as [`ScaledI8`] says; the machine has AVX2 and what `S` needs.
#[target_feature(enable = "avx2")]
pub unsafe fn contract_scaled<S: Sums>(args: &ScaledI8) {
    for tile in args.sums.tile_begin..args.sums.tile_end {
        // SAFETY: the caller's; tiles and rows are those of the arguments.
        unsafe {
            in_blocks!(args.sums.rows, |row| {
                1 => scaled_rows::<S, 1, 4>(args, tile, row),
                2 => scaled_rows::<S, 2, 4>(args, tile, row),
                3 => scaled_rows::<S, 3, 2>(args, tile, row),
                4 => scaled_rows::<S, 4, 2>(args, tile, row),
            });
        }
    }
}

/// `R` rows of a tile, `V` of its four registers after the other.
///
/// # Safety
/// The buffers are live for `R` rows from `row` on.
#[target_feature(enable = "avx2")]
unsafe fn scaled_rows<S: Sums, const R: usize, const V: usize>(args: &ScaledI8, tile: usize, row: usize) {
    let all = &args.sums;
    for first in (0..4).step_by(V) {
        // Nothing is changed by adding -0.
        let mut outputs = [[_mm256_set1_ps(-0.0); V]; R];
        for group in 0..all.groups {
            let cell = all.at_row(&all.cell(S::LAYOUT, tile, group), row);
            // SAFETY: the caller's.
            unsafe {
                let sums = S::sums::<R, V>(cell.weights.add(32 * first), cell.x, all.x_stride(), cell.steps);
                let scales = args.scales_of(group, S::LAYOUT, tile).add(8 * first);
                for (r, (outputs, sums)) in outputs.iter_mut().zip(sums).enumerate() {
                    let x_sum = *cell.x_sums.add(r * all.groups);
                    let start = _mm256_set1_epi32(x_sum.wrapping_mul(-S::OFFSET));
                    let factor = args.factor(row + r, group);
                    for (v, (output, sum)) in outputs.iter_mut().zip(sums).enumerate() {
                        let sum = _mm256_cvtepi32_ps(_mm256_add_epi32(start, sum));
                        let mut term = _mm256_mul_ps(sum, _mm256_loadu_ps(scales.add(8 * v)));
                        if let Some(factor) = factor {
                            term = _mm256_mul_ps(term, _mm256_set1_ps(factor));
                        }
                        *output = _mm256_add_ps(*output, term);
                    }
                }
            }
        }
        for (r, outputs) in outputs.into_iter().enumerate() {
            for (v, output) in outputs.into_iter().enumerate() {
                // SAFETY: the caller's; 8 outputs a register and row are written.
                unsafe { _mm256_storeu_ps(args.out(row + r, S::LAYOUT, tile).add(8 * (first + v)), output) };
            }
        }
    }
}

/// The next `V` registers of packed weights.
///
/// # Safety
/// They are readable.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn load<const V: usize>(w: *const u8) -> [__m256i; V] {
    /// Bytes ahead of the load: far enough for memory, near enough to stay in the first cache.
    const PREFETCH: usize = 2048;
    let mut loaded = [_mm256_setzero_si256(); V];
    for (v, loaded) in loaded.iter_mut().enumerate() {
        // SAFETY: the caller's; a prefetch of any address is harmless.
        unsafe {
            if v % 2 == 0 {
                _mm_prefetch::<_MM_HINT_T0>(w.wrapping_add(32 * v + PREFETCH).cast());
            }
            *loaded = _mm256_loadu_si256(w.add(32 * v).cast());
        }
    }
    loaded
}
