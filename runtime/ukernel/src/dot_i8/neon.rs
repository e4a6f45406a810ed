//! `8bit_32` and `4bit_32` by `sdot`: 32 outputs in eight registers, four inputs at a time.
//!
//! The instruction multiplies signed bytes, so what the layout adds is taken off again.

use crate::Layout;
use crate::contract_i8::{Cell, ContractI8, for_each_block, four};
use crate::neon::{dot, prefetch};
use core::arch::aarch64::*;

/// Bytes ahead of the load: far enough for memory, near enough to stay in the first cache.
const PREFETCH: usize = 3072;

/// Registers of a tile.
const VECTORS: usize = 8;

/// # Safety
/// The machine has NEON and its dot products; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "neon,dotprod")]
pub unsafe extern "C" fn trine_dot_i8_neon_8bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe { contract::<Bytes>(&*args) }
}

/// # Safety
/// As for [`trine_dot_i8_neon_8bit_32`].
#[unsafe(no_mangle)]
#[target_feature(enable = "neon,dotprod")]
pub unsafe extern "C" fn trine_dot_i8_neon_4bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe { contract::<Nibbles>(&*args) }
}

/// How weights lie in a register: fields of four inputs an output, one after the other.
trait Codes {
    const LAYOUT: Layout;
    const FIELDS: usize;

    /// The weights of a field, as signed bytes.
    ///
    /// # Safety
    /// The machine has NEON.
    unsafe fn field(packed: uint8x16_t, field: usize) -> uint8x16_t;
}

struct Bytes;

impl Codes for Bytes {
    const LAYOUT: Layout = Layout::EightBit32;
    const FIELDS: usize = 1;

    #[inline(always)]
    unsafe fn field(packed: uint8x16_t, _: usize) -> uint8x16_t {
        // SAFETY: the caller's.
        unsafe { veorq_u8(packed, vdupq_n_u8(0x80)) }
    }
}

struct Nibbles;

impl Codes for Nibbles {
    const LAYOUT: Layout = Layout::FourBit32;
    const FIELDS: usize = 2;

    #[inline(always)]
    unsafe fn field(packed: uint8x16_t, field: usize) -> uint8x16_t {
        // SAFETY: the caller's.
        unsafe {
            let code = match field {
                0 => vandq_u8(packed, vdupq_n_u8(0x0f)),
                _ => vshrq_n_u8::<4>(packed),
            };
            vsubq_u8(code, vdupq_n_u8(8))
        }
    }
}

/// # Safety
/// The machine has NEON and its dot products; the arguments are as [`ContractI8`] says.
#[target_feature(enable = "neon,dotprod")]
unsafe fn contract<C: Codes>(args: &ContractI8) {
    // SAFETY: the caller's; cells and rows stay inside the sizes that the arguments give.
    unsafe {
        for_each_block!(args, C::LAYOUT, |cell| {
            1 => rows::<C, 1, VECTORS>(args, &cell),
            2 => rows::<C, 2, VECTORS>(args, &cell),
            3 => rows::<C, 3, 4>(args, &cell),
            4 => rows::<C, 4, 4>(args, &cell),
            5 => rows::<C, 5, 4>(args, &cell),
        });
    }
}

/// `R` rows of the tile, `V` of its eight registers after the other: as many as fit.
///
/// # Safety
/// The cell's buffers are live for `R` rows.
#[target_feature(enable = "neon,dotprod")]
unsafe fn rows<C: Codes, const R: usize, const V: usize>(args: &ContractI8, cell: &Cell) {
    for first in (0..VECTORS).step_by(V) {
        // SAFETY: each step reads 16 packed bytes a register and its activations of a row; 4 sums a register
        // and row are written.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); V]; R];
            let (mut w, mut x) = (cell.weights.add(16 * first), cell.x);
            for _ in 0..cell.steps {
                for field in 0..C::FIELDS {
                    let mut x4 = [vdupq_n_s8(0); R];
                    for (row, x4) in x4.iter_mut().enumerate() {
                        let from = x.add(row * args.x_stride() + 4 * field);
                        *x4 = vreinterpretq_s8_s32(vdupq_n_s32(four(from)));
                    }
                    for v in 0..V {
                        if field == 0 && v.is_multiple_of(4) {
                            prefetch(w.wrapping_add(16 * v + PREFETCH));
                        }
                        let weights = C::field(vld1q_u8(w.add(16 * v)), field);
                        for (sums, &x4) in sums.iter_mut().zip(&x4) {
                            sums[v] = dot::<0>(sums[v], weights, x4);
                        }
                    }
                }
                w = w.add(C::LAYOUT.step_bytes());
                x = x.add(C::LAYOUT.k_step());
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
