//! `8bit_32` and `4bit_32` in tile registers; a few rows stay with vectors.

use super::avx512vnni::{trine_dot_i8_avx512vnni_4bit_32, trine_dot_i8_avx512vnni_8bit_32};
use crate::Layout;
use crate::contract_i8::ContractI8;
use crate::contract_i8::amx::{Weights, contract, prefetch_page};
use crate::contract_i8::blocks::ROWS;
use crate::cpu::tiles_permitted;
use core::arch::x86_64::*;

/// # Safety
/// The machine has what [`AMX`](crate::contract_i8::AMX) asks for; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
pub unsafe extern "C" fn trine_dot_i8_amx_8bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe {
        match (*args).rows >= ROWS && tiles_permitted() {
            true => contract(&Bytes, &*args),
            false => trine_dot_i8_avx512vnni_8bit_32(args),
        }
    }
}

/// # Safety
/// As for [`trine_dot_i8_amx_8bit_32`].
#[unsafe(no_mangle)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
pub unsafe extern "C" fn trine_dot_i8_amx_4bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe {
        match (*args).rows >= ROWS && tiles_permitted() {
            true => contract(&Nibbles, &*args),
            false => trine_dot_i8_avx512vnni_4bit_32(args),
        }
    }
}

/// Bytes lie as tiles want them, but for the outputs that come between: they are only moved together.
struct Bytes;

impl Weights for Bytes {
    const LAYOUT: Layout = Layout::EightBit32;
    const OFFSET: i32 = 128;
    const SPARSE: bool = false;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn unpack(&self, from: *const u8, to: *mut u8) {
        // SAFETY: the caller's.
        unsafe {
            prefetch_page(from);
            _mm512_store_si512(to.cast(), _mm512_loadu_si512(from.cast()));
        }
    }
}

/// The low and the high four bits are two rows of a tile.
struct Nibbles;

impl Weights for Nibbles {
    const LAYOUT: Layout = Layout::FourBit32;
    const OFFSET: i32 = 8;
    const SPARSE: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn unpack(&self, from: *const u8, to: *mut u8) {
        let mask = _mm512_set1_epi8(0x0f);
        // SAFETY: the caller's.
        unsafe {
            prefetch_page(from);
            let packed = _mm512_loadu_si512(from.cast());
            _mm512_store_si512(to.cast(), _mm512_and_si512(packed, mask));
            _mm512_store_si512(to.add(64).cast(), _mm512_and_si512(_mm512_srli_epi16::<4>(packed), mask));
        }
    }
}
