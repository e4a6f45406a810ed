//! `8bit_32` and `4bit_32` by `vpdpbusd`: 32 outputs in two registers, four inputs an instruction.

use crate::Layout;
use crate::contract_i8::zmm::{Sums, contract_scaled};
use crate::contract_i8::{Cell, ContractI8, for_each_block, four, prefetch_ahead};
use crate::scaled_i8::ScaledI8;
use core::arch::x86_64::*;
use core::marker::PhantomData;

/// # Safety
/// The machine has AVX-512 F, BW, VL and VNNI; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe extern "C" fn trine_dot_i8_avx512vnni_8bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe { contract::<Bytes>(&*args) }
}

/// # Safety
/// As for [`trine_dot_i8_avx512vnni_8bit_32`].
#[unsafe(no_mangle)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe extern "C" fn trine_dot_i8_avx512vnni_4bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe { contract::<Nibbles>(&*args) }
}

/// # Safety
/// The machine has AVX-512 F, BW, VL and VNNI; the arguments are as [`ScaledI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe extern "C" fn trine_scaled_i8_avx512vnni_8bit_32(args: *const ScaledI8) {
    // SAFETY: the caller's.
    unsafe { contract_scaled::<Quadruples<Bytes>>(&*args) }
}

/// # Safety
/// As for [`trine_scaled_i8_avx512vnni_8bit_32`].
#[unsafe(no_mangle)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe extern "C" fn trine_scaled_i8_avx512vnni_4bit_32(args: *const ScaledI8) {
    // SAFETY: the caller's.
    unsafe { contract_scaled::<Quadruples<Nibbles>>(&*args) }
}

struct Quadruples<C>(PhantomData<C>);

impl<C: Codes> Sums for Quadruples<C> {
    const LAYOUT: Layout = C::LAYOUT;
    const OFFSET: i32 = C::OFFSET;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn sums<const R: usize>(
        w: *const u8,
        x: *const i8,
        x_stride: usize,
        steps: usize,
    ) -> [[__m512i; 2]; R] {
        // SAFETY: the caller's.
        unsafe { sums::<C, R, 2>(w, x, x_stride, steps) }
    }
}

/// How weights lie in a register: fields of four inputs an output, one after the other.
trait Codes {
    const LAYOUT: Layout;

    /// What packing added to each weight.
    const OFFSET: i32;

    const FIELDS: usize;

    /// # Safety
    /// The machine has AVX-512 F and BW.
    unsafe fn field(packed: __m512i, field: usize) -> __m512i;
}

struct Bytes;

impl Codes for Bytes {
    const LAYOUT: Layout = Layout::EightBit32;
    const OFFSET: i32 = 128;
    const FIELDS: usize = 1;

    #[inline(always)]
    unsafe fn field(packed: __m512i, _: usize) -> __m512i {
        packed
    }
}

struct Nibbles;

impl Codes for Nibbles {
    const LAYOUT: Layout = Layout::FourBit32;
    const OFFSET: i32 = 8;
    const FIELDS: usize = 2;

    #[inline(always)]
    unsafe fn field(packed: __m512i, field: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe {
            let shifted = if field == 0 { packed } else { _mm512_srli_epi16::<4>(packed) };
            _mm512_and_si512(shifted, _mm512_set1_epi8(0x0f))
        }
    }
}

/// # Safety
/// The machine has AVX-512 F, BW, VL and VNNI; the arguments are as [`ContractI8`] says.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn contract<C: Codes>(args: &ContractI8) {
    // SAFETY: the caller's; cells and rows stay inside the sizes that the arguments give.
    unsafe {
        // A few rows take several steps at once: each is a chain of additions of its own.
        for_each_block!(args, C::LAYOUT, |cell| {
            1 => rows::<C, 1, 4>(args, &cell),
            2 => rows::<C, 2, 2>(args, &cell),
            3 => rows::<C, 3, 1>(args, &cell),
            4 => rows::<C, 4, 1>(args, &cell),
            5 => rows::<C, 5, 1>(args, &cell),
            6 => rows::<C, 6, 1>(args, &cell),
            7 => rows::<C, 7, 1>(args, &cell),
            8 => rows::<C, 8, 1>(args, &cell),
        });
    }
}

/// `R` rows of a cell, `S` steps at a time.
///
/// # Safety
/// The cell's buffers are live for `R` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows<C: Codes, const R: usize, const S: usize>(args: &ContractI8, cell: &Cell) {
    // SAFETY: the caller's; 32 sums a row are written.
    unsafe {
        let sums = sums::<C, R, S>(cell.weights, cell.x, args.x_stride(), cell.steps);
        for (row, sums) in sums.into_iter().enumerate() {
            let x_sum = *cell.x_sums.add(row * args.groups);
            let start = _mm512_set1_epi32(x_sum.wrapping_mul(-C::OFFSET));
            let out = cell.out.add(row * args.out_stride());
            for (half, sum) in sums.into_iter().enumerate() {
                _mm512_storeu_si512(out.add(16 * half).cast(), _mm512_add_epi32(start, sum));
            }
        }
    }
}

/// Sums of `R` rows, of `S` steps at a time.
///
/// # Safety
/// Each step at `w`, and the activations of `R` rows at `x`, are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn sums<C: Codes, const R: usize, const S: usize>(
    mut w: *const u8,
    mut x: *const i8,
    x_stride: usize,
    steps: usize,
) -> [[__m512i; 2]; R] {
    let mut strands = [[[_mm512_setzero_si512(); 2]; R]; S];
    for _ in 0..steps / S {
        for sums in &mut strands {
            // SAFETY: the caller's.
            unsafe { step::<C, R>(w, x, x_stride, sums) };
            w = w.wrapping_add(C::LAYOUT.step_bytes());
            x = x.wrapping_add(C::LAYOUT.k_step());
        }
    }
    for sums in &mut strands[..steps % S] {
        // SAFETY: the caller's.
        unsafe { step::<C, R>(w, x, x_stride, sums) };
        w = w.wrapping_add(C::LAYOUT.step_bytes());
        x = x.wrapping_add(C::LAYOUT.k_step());
    }
    let mut all = [[_mm512_setzero_si512(); 2]; R];
    for strand in strands {
        for (all, sums) in all.iter_mut().zip(strand) {
            for (all, sum) in all.iter_mut().zip(sums) {
                *all = _mm512_add_epi32(*all, sum);
            }
        }
    }
    all
}

/// # Safety
/// A step of weights at `w`, and of activations at `x` for `R` rows, are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn step<C: Codes, const R: usize>(
    w: *const u8,
    x: *const i8,
    x_stride: usize,
    sums: &mut [[__m512i; 2]; R],
) {
    // SAFETY: the caller's; a prefetch of any address is harmless.
    unsafe {
        let packed = [0, 64].map(|half| {
            prefetch_ahead(w.wrapping_add(half));
            _mm512_loadu_si512(w.add(half).cast())
        });
        for field in 0..C::FIELDS {
            let weights = [C::field(packed[0], field), C::field(packed[1], field)];
            for (row, sums) in sums.iter_mut().enumerate() {
                let x4 = _mm512_set1_epi32(four(x.add(row * x_stride + 4 * field)));
                for half in 0..2 {
                    sums[half] = _mm512_dpbusd_epi32(sums[half], weights[half], x4);
                }
            }
        }
    }
}
