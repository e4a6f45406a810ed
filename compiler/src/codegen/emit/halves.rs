//! f16 and bf16 in code: what is computed is f32, and is rounded to the type of each value.
//!
//! A value of 16 bits is the f32 that it is worth while a kernel works on it, so that ops on halves are those on f32 and
//! one rounding, as the interpreter has it. Memory holds the 16 bits. Code for both is in integers of four lanes or one,
//! so that no instruction set needs to know halves.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, I16, I32, I32X4};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type};
use trine_ir::Elem;

use super::function::{ClifValue, Emit};

/// Whether elements are of 16 bits and worth an f32 each.
pub fn is_half(elem: Elem) -> bool {
    matches!(elem, Elem::F16 | Elem::Bf16)
}

/// Whether kernels compute with values of the type as f32.
pub fn is_real(elem: Elem) -> bool {
    elem == Elem::F32 || is_half(elem)
}

/// `v` rounded to `elem`, of one lane or four, as f32.
pub fn round(e: &mut Emit, v: ClifValue, elem: Elem) -> ClifValue {
    match is_half(elem) {
        true => {
            let bits = narrow(e, v, elem);
            widen(e, bits, elem)
        }
        false => v,
    }
}

/// The element at `pointer`, as f32.
pub fn load(e: &mut Emit, pointer: ClifValue, elem: Elem) -> ClifValue {
    let bits = e.load(I16, pointer, 0);
    let bits = e.b.ins().uextend(I32, bits);
    widen(e, bits, elem)
}

/// Four elements at `pointer`, as f32.
pub fn load_four(e: &mut Emit, pointer: ClifValue, elem: Elem) -> ClifValue {
    let bits = e.b.ins().uload16x4(MemFlagsData::new().with_notrap(), pointer, 0);
    widen(e, bits, elem)
}

/// Stores one element.
pub fn store(e: &mut Emit, v: ClifValue, pointer: ClifValue, elem: Elem) {
    let bits = narrow(e, v, elem);
    let bits = e.b.ins().ireduce(I16, bits);
    e.store(bits, pointer, 0);
}

/// Stores sixteen elements.
pub fn store_sixteen(e: &mut Emit, parts: &[ClifValue], pointer: ClifValue, elem: Elem) {
    let bits: Vec<_> = parts.iter().map(|part| narrow(e, *part, elem)).collect();
    for (i, pair) in bits.chunks_exact(2).enumerate() {
        let pair = e.b.ins().unarrow(pair[0], pair[1]);
        e.store(pair, pointer, 16 * i as i32);
    }
}

/// The integers that go with the lanes of a value of floats, or the other way round.
fn other(ty: Type) -> Type {
    match ty {
        F32 => I32,
        F32X4 => I32X4,
        I32 => F32,
        _ => F32X4,
    }
}

fn ty_of(e: &Emit, v: ClifValue) -> Type {
    e.b.func.dfg.value_type(v)
}

/// An integer in each lane of `ty`.
fn int(e: &mut Emit, value: u32, ty: Type) -> ClifValue {
    let v = e.b.ins().iconst(I32, i64::from(value));
    if ty == I32 { v } else { e.b.ins().splat(ty, v) }
}

fn select(e: &mut Emit, condition: ClifValue, yes: ClifValue, no: ClifValue) -> ClifValue {
    match ty_of(e, yes) {
        I32 => e.b.ins().select(condition, yes, no),
        _ => e.b.ins().bitselect(condition, yes, no),
    }
}

/// What 16 bits, the low ones of an integer, are worth.
fn widen(e: &mut Emit, bits: ClifValue, elem: Elem) -> ClifValue {
    let ty = ty_of(e, bits);
    let real = other(ty);
    if elem == Elem::Bf16 {
        let bits = e.b.ins().ishl_imm_u(bits, 16);
        return e.cast(bits, real);
    }
    let (low, infinite) = (int(e, 0x7fff, ty), int(e, 0x7bff, ty));
    let magnitude = e.b.ins().band(bits, low);
    let shifted = e.b.ins().ishl_imm_u(magnitude, 13);
    // The exponents of both types differ by 112; a product also makes normal numbers of denormal ones.
    let (small, factor) = (e.cast(shifted, real), e.float(f32::from_bits(0x7780_0000), real));
    let scaled = e.b.ins().fmul(small, factor);
    let scaled = e.cast(scaled, ty);
    let exponent = int(e, 0x7f80_0000, ty);
    let special = e.b.ins().bor(shifted, exponent);
    let is_special = e.b.ins().icmp(IntCC::SignedGreaterThan, magnitude, infinite);
    let worth = select(e, is_special, special, scaled);
    let sign = e.b.ins().bxor(bits, magnitude);
    let sign = e.b.ins().ishl_imm_u(sign, 16);
    let worth = e.b.ins().bor(worth, sign);
    e.cast(worth, real)
}

/// The bits of the nearest number of `elem`, ties to even, in the low half of an integer.
fn narrow(e: &mut Emit, v: ClifValue, elem: Elem) -> ClifValue {
    let real = ty_of(e, v);
    let ty = other(real);
    let bits = e.cast(v, ty);
    let is_nan = e.b.ins().fcmp(FloatCC::Unordered, v, v);
    if elem == Elem::Bf16 {
        let rounded = round_off(e, bits, 16, ty);
        let nan = int(e, 0x7fc0, ty);
        return select(e, is_nan, nan, rounded);
    }
    let magnitude = e.b.ins().fabs(v);
    let magnitude_bits = e.cast(magnitude, ty);
    let normal = round_off(e, magnitude_bits, 13, ty);
    let bias = int(e, 112 << 10, ty);
    let normal = e.b.ins().isub(normal, bias);
    // Beside 0.5 the last bit of f32 is the least denormal number.
    let half = e.float(0.5, real);
    let counted = e.b.ins().fadd(magnitude, half);
    let (counted, half) = (e.cast(counted, ty), e.cast(half, ty));
    let denormal = e.b.ins().isub(counted, half);
    let least = e.float(f32::from_bits(0x3880_0000), real);
    let is_denormal = e.b.ins().fcmp(FloatCC::LessThan, magnitude, least);
    let finite = select(e, is_denormal, denormal, normal);
    let infinite = int(e, 0x7c00, ty);
    let rounded = e.b.ins().smin(finite, infinite);
    let nan = int(e, 0x7e00, ty);
    let rounded = select(e, is_nan, nan, rounded);
    let sign = e.b.ins().bxor(bits, magnitude_bits);
    let sign = e.b.ins().ushr_imm_u(sign, 16);
    e.b.ins().bor(rounded, sign)
}

/// `bits` without the last `count`, rounded to even.
fn round_off(e: &mut Emit, bits: ClifValue, count: i64, ty: Type) -> ClifValue {
    let odd = e.b.ins().ushr_imm_u(bits, count);
    let one = int(e, 1, ty);
    let odd = e.b.ins().band(odd, one);
    let below_half = int(e, (1 << (count - 1)) - 1, ty);
    let rounded = e.b.ins().iadd(bits, below_half);
    let rounded = e.b.ins().iadd(rounded, odd);
    e.b.ins().ushr_imm_u(rounded, count)
}
