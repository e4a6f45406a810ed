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

/// The number of `elem` nearest to `v`, ties to even, in each of one lane or four.
pub fn round(e: &mut Emit, v: ClifValue, elem: Elem) -> ClifValue {
    match elem {
        Elem::F16 => round_f16(e, v),
        Elem::Bf16 => round_bf16(e, v),
        _ => v,
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

/// Stores one element, which is a number of `elem`.
pub fn store(e: &mut Emit, v: ClifValue, pointer: ClifValue, elem: Elem) {
    let bits = bits_of(e, v, elem);
    let bits = e.b.ins().ireduce(I16, bits);
    e.store(bits, pointer, 0);
}

/// Stores sixteen elements, which are numbers of `elem`.
pub fn store_sixteen(e: &mut Emit, parts: &[ClifValue], pointer: ClifValue, elem: Elem) {
    let bits: Vec<_> = parts.iter().map(|part| bits_of(e, *part, elem)).collect();
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
    match ty {
        I32 => e.b.ins().iconst(I32, i64::from(value)),
        _ => e.four(value, ty),
    }
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

/// Beside the right power of two the last bit of an f32 is that of the f16: adding it rounds, and taking it away leaves what
/// was rounded.
fn round_f16(e: &mut Emit, v: ClifValue) -> ClifValue {
    let real = ty_of(e, v);
    let ty = other(real);
    let magnitude = e.b.ins().fabs(v);
    let (bits, magnitude_bits) = (e.cast(v, ty), e.cast(magnitude, ty));
    let sign = e.b.ins().bxor(bits, magnitude_bits);
    // The power of two of the number: denormal ones share the least, and infinity needs none that is itself infinite.
    let (exponent, least, most) = (int(e, 0x7f80_0000, ty), int(e, 113 << 23, ty), int(e, 143 << 23, ty));
    let power = e.b.ins().band(magnitude_bits, exponent);
    let power = e.b.ins().smax(power, least);
    let power = e.b.ins().smin(power, most);
    let (higher, largest) = (int(e, 13 << 23, ty), e.float(65504.0, real));
    let power = e.b.ins().iadd(power, higher);
    let power = e.cast(power, real);
    let counted = e.b.ins().fadd(magnitude, power);
    let rounded = e.b.ins().fsub(counted, power);
    let is_infinite = e.b.ins().fcmp(FloatCC::GreaterThan, rounded, largest);
    let rounded = e.cast(rounded, ty);
    let rounded = select(e, is_infinite, exponent, rounded);
    let rounded = e.b.ins().bor(rounded, sign);
    e.cast(rounded, real)
}

fn round_bf16(e: &mut Emit, v: ClifValue) -> ClifValue {
    let real = ty_of(e, v);
    let ty = other(real);
    let bits = e.cast(v, ty);
    let is_nan = e.b.ins().fcmp(FloatCC::Unordered, v, v);
    let odd = e.b.ins().ushr_imm_u(bits, 16);
    let (one, below_half) = (int(e, 1, ty), int(e, 0x7fff, ty));
    let odd = e.b.ins().band(odd, one);
    let rounded = e.b.ins().iadd(bits, below_half);
    let rounded = e.b.ins().iadd(rounded, odd);
    let kept = int(e, 0xffff_0000, ty);
    let rounded = e.b.ins().band(rounded, kept);
    let nan = int(e, 0x7fc0_0000, ty);
    let rounded = select(e, is_nan, nan, rounded);
    e.cast(rounded, real)
}

/// The bits of a number of `elem`, in the low half of an integer.
fn bits_of(e: &mut Emit, v: ClifValue, elem: Elem) -> ClifValue {
    let ty = other(ty_of(e, v));
    let bits = e.cast(v, ty);
    if elem == Elem::Bf16 {
        return e.b.ins().ushr_imm_u(bits, 16);
    }
    let magnitude = e.b.ins().fabs(v);
    let magnitude_bits = e.cast(magnitude, ty);
    let shifted = e.b.ins().ushr_imm_u(magnitude_bits, 13);
    // The exponents of both types differ by 112, and those of what is infinite or no number by twice as much.
    let (bias, largest) = (int(e, 112 << 10, ty), int(e, 142 << 23 | 0x7f_ffff, ty));
    let finite = e.b.ins().isub(shifted, bias);
    let special = e.b.ins().isub(finite, bias);
    let is_special = e.b.ins().icmp(IntCC::SignedGreaterThan, magnitude_bits, largest);
    let normal = select(e, is_special, special, finite);
    // Beside 0.5 the last bit of f32 is the least denormal number.
    let half = e.float(0.5, ty_of(e, v));
    let counted = e.b.ins().fadd(magnitude, half);
    let (counted, half) = (e.cast(counted, ty), e.cast(half, ty));
    let denormal = e.b.ins().isub(counted, half);
    let least = int(e, 113 << 23, ty);
    let is_denormal = e.b.ins().icmp(IntCC::SignedLessThan, magnitude_bits, least);
    let unsigned = select(e, is_denormal, denormal, normal);
    let sign = e.b.ins().bxor(bits, magnitude_bits);
    let sign = e.b.ins().ushr_imm_u(sign, 16);
    e.b.ins().bor(unsigned, sign)
}
