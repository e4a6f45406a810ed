//! Both packed layouts in tile registers; a few rows stay with vectors.

use super::avx512vbmi::{Digits, trine_signsum_i8_avx512vbmi_5in8_16};
use super::avx512vnni::trine_signsum_i8_avx512vnni_2bit_32;
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
pub unsafe extern "C" fn trine_signsum_i8_amx_2bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe {
        match (*args).rows >= ROWS && tiles_permitted() {
            true => contract(&TwoBit, &*args),
            false => trine_signsum_i8_avx512vnni_2bit_32(args),
        }
    }
}

/// # Safety
/// The machine has what [`AMX`](crate::contract_i8::AMX) asks for; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
pub unsafe extern "C" fn trine_signsum_i8_amx_5in8_16(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe {
        match (*args).rows >= ROWS && tiles_permitted() {
            true => contract(&FiveInEight(Digits::new()), &*args),
            false => trine_signsum_i8_avx512vbmi_5in8_16(args),
        }
    }
}

/// How far ahead of their use weights of 2 bits are asked for, in bytes: more of them than the processor sees coming.
const AHEAD: usize = 2048;

struct TwoBit;

impl Weights for TwoBit {
    const LAYOUT: Layout = Layout::TwoBit32;
    const OFFSET: i32 = 1;
    const SPARSE: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn unpack(&self, from: *const u8, to: *mut u8) {
        // SAFETY: the caller's.
        unsafe {
            prefetch_page(from);
            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD).cast());
            let packed = _mm512_loadu_si512(from.cast());
            store_fields(packed, to);
        }
    }
}

struct FiveInEight(Digits);

impl Weights for FiveInEight {
    const LAYOUT: Layout = Layout::FiveInEight16;
    const OFFSET: i32 = 1;
    const SPARSE: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn unpack(&self, from: *const u8, to: *mut u8) {
        // SAFETY: the caller's.
        unsafe {
            prefetch_page(from);
            let [first, fifth] = self.0.of(_mm512_loadu_si512(from.cast()));
            store_fields(first, to);
            let fifth = _mm512_and_si512(_mm512_srli_epi16::<6>(fifth), _mm512_set1_epi8(3));
            _mm512_store_si512(to.add(256).cast(), fifth);
        }
    }
}

/// Four rows of 2-bit fields.
///
/// # Safety
/// 256 aligned bytes at `to` are writable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn store_fields(fields: __m512i, to: *mut u8) {
    let mask = _mm512_set1_epi8(3);
    // SAFETY: the caller's.
    unsafe {
        _mm512_store_si512(to.cast(), _mm512_and_si512(fields, mask));
        _mm512_store_si512(to.add(64).cast(), _mm512_and_si512(_mm512_srli_epi16::<2>(fields), mask));
        _mm512_store_si512(to.add(128).cast(), _mm512_and_si512(_mm512_srli_epi16::<4>(fields), mask));
        _mm512_store_si512(to.add(192).cast(), _mm512_and_si512(_mm512_srli_epi16::<6>(fields), mask));
    }
}
