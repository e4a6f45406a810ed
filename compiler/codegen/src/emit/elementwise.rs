//! Elementwise ops as instructions, on one lane or four.
//!
//! Ops of f32 write themselves by their formula ([`terms`]); comparisons, choices, casts and integers, of
//! which kernels see few, stand here, one lane at a time.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::Type as ClifType;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, I8, I32, I64};
use trine_ir::{Elem, Graph, Kind, Literal, NodeId, Op};

use super::CodegenError;
use super::function::{ClifValue, Emit, Result, clif_type};
use super::halves::{is_half, is_real};
use super::terms;

/// From this many instructions on a value is kept rather than computed again.
const COSTLY: usize = 12;

/// Whether the op can be part of a row kernel.
pub fn supported(op: &Op, graph: &Graph, node: NodeId) -> bool {
    let operands = graph.operands(node);
    let elems: Vec<Elem> = operands.iter().flatten().map(|v| graph.ty(*v).elem).collect();
    let all = |allowed: &[Elem]| elems.iter().all(|e| *e == elems[0] && allowed.contains(e));
    if elems.is_empty() {
        return false;
    }
    let real = || all(&[Elem::F32]) || all(&[Elem::F16]) || all(&[Elem::Bf16]);
    if real() && terms::cost(op, &present(&operands)).is_some() {
        return true;
    }
    match op {
        Op::Cos(_) | Op::Sin(_) => real(),
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Min(_) | Op::Max(_) => all(&[Elem::I64, Elem::I32]),
        Op::Equal(_) => real() || all(&[Elem::I64, Elem::I32, Elem::Bool]),
        Op::Less(_) | Op::LessOrEqual(_) | Op::Greater(_) | Op::GreaterOrEqual(_) => {
            real() || all(&[Elem::I64, Elem::I32])
        }
        Op::And(_) | Op::Or(_) | Op::Xor(_) | Op::Not(_) => all(&[Elem::Bool]),
        Op::BitAnd(_) | Op::BitOr(_) | Op::BitXor(_) | Op::BitNot(_) => all(&[Elem::I64, Elem::I32]),
        Op::Where(_) => clif_type(elems[elems.len() - 1]).is_some(),
        // Quantized rows have lanes of 32 bits until they are stored.
        Op::Cast(_) if operands[0].is_some_and(|x| graph.kind(x.node) == Some(Kind::QuantizeRows)) => false,
        Op::Cast(cast) => {
            let elems = [elems[0], cast.to];
            let whole = |e: Elem| e == Elem::Bool || e.is_int() && e.bits() >= 8;
            elems.iter().all(|e| is_real(*e) || *e == Elem::Bool)
                || elems.iter().all(|e| matches!(e, Elem::F32 | Elem::I64 | Elem::I32 | Elem::Bool))
                || elems.iter().all(|e| whole(*e))
                || whole(elems[0]) && elems[0].bits() < 32 && cast.to == Elem::F32
                || whole(elems[0]) && elems[0] != Elem::U64 && is_half(cast.to)
        }
        _ => false,
    }
}

/// Whether the op is a call of a function of one number, so that it has no vector form.
pub fn is_call(op: &Op) -> bool {
    matches!(op, Op::Cos(_) | Op::Sin(_))
}

/// Whether the op takes more than a few instructions.
pub fn is_costly(op: &Op, operands: &[Option<trine_ir::Value>]) -> bool {
    is_call(op) || cost(op, operands).is_some_and(|c| c > COSTLY)
}

/// Roughly how many instructions an op of floats takes; `None` when it has no formula.
pub fn cost(op: &Op, operands: &[Option<trine_ir::Value>]) -> Option<usize> {
    terms::cost(op, &present(operands))
}

pub fn literal(e: &mut Emit, literal: Literal, ty: ClifType) -> Result<ClifValue> {
    Ok(match literal {
        Literal::F32(v) => e.float(v, ty),
        Literal::I64(v) => e.int(v),
        Literal::I32(v) => e.b.ins().iconst(I32, i64::from(v)),
        Literal::Bool(v) => e.b.ins().iconst(I8, i64::from(v)),
        Literal::F64(v) => e.b.ins().f64const(v),
    })
}

/// The op on operands of the given element types; `ty` is the type of f32 lanes. Results that are halves are yet to be
/// rounded.
pub fn emit(
    e: &mut Emit,
    op: &Op,
    args: &[Option<ClifValue>],
    types: &[Elem],
    ty: ClifType,
) -> Result<ClifValue> {
    let float = types.iter().all(|t| is_real(*t));
    if float && let Some(v) = terms::emit(&mut e.b, op, args, ty) {
        return Ok(v);
    }
    let malformed = || CodegenError::malformed("an elementwise op");
    let arg = |i: usize| args.get(i).copied().flatten().ok_or_else(malformed);
    Ok(match op {
        Op::Cos(_) => e.call("trine_cos_f32", &[arg(0)?], Some(F32))?.ok_or_else(malformed)?,
        Op::Sin(_) => e.call("trine_sin_f32", &[arg(0)?], Some(F32))?.ok_or_else(malformed)?,
        Op::Add(_) => e.b.ins().iadd(arg(0)?, arg(1)?),
        Op::Sub(_) => e.b.ins().isub(arg(0)?, arg(1)?),
        Op::Mul(_) => e.b.ins().imul(arg(0)?, arg(1)?),
        Op::Min(_) => e.b.ins().smin(arg(0)?, arg(1)?),
        Op::Max(_) => e.b.ins().smax(arg(0)?, arg(1)?),
        Op::And(_) | Op::BitAnd(_) => e.b.ins().band(arg(0)?, arg(1)?),
        Op::Or(_) | Op::BitOr(_) => e.b.ins().bor(arg(0)?, arg(1)?),
        Op::Xor(_) | Op::BitXor(_) => e.b.ins().bxor(arg(0)?, arg(1)?),
        Op::BitNot(_) => e.b.ins().bnot(arg(0)?),
        Op::Not(_) => {
            let one = e.b.ins().iconst(I8, 1);
            e.b.ins().bxor(arg(0)?, one)
        }
        Op::Where(_) => e.b.ins().select(arg(0)?, arg(1)?, arg(2)?),
        Op::Cast(cast) => convert(e, arg(0)?, types[0], cast.to)?,
        _ => {
            let (int, real) = condition(op).ok_or_else(malformed)?;
            match float {
                true => e.b.ins().fcmp(real, arg(0)?, arg(1)?),
                false => e.b.ins().icmp(int, arg(0)?, arg(1)?),
            }
        }
    })
}

fn present(operands: &[Option<trine_ir::Value>]) -> Vec<bool> {
    operands.iter().map(Option::is_some).collect()
}

fn condition(op: &Op) -> Option<(IntCC, FloatCC)> {
    Some(match op {
        Op::Equal(_) => (IntCC::Equal, FloatCC::Equal),
        Op::Less(_) => (IntCC::SignedLessThan, FloatCC::LessThan),
        Op::LessOrEqual(_) => (IntCC::SignedLessThanOrEqual, FloatCC::LessThanOrEqual),
        Op::Greater(_) => (IntCC::SignedGreaterThan, FloatCC::GreaterThan),
        Op::GreaterOrEqual(_) => (IntCC::SignedGreaterThanOrEqual, FloatCC::GreaterThanOrEqual),
        _ => return None,
    })
}

/// A cast as ONNX has it: to integers towards zero, saturating; to truth everything but zero.
fn convert(e: &mut Emit, v: ClifValue, from: Elem, to: Elem) -> Result<ClifValue> {
    if is_half(to) && from.is_int() && from.bits() >= 32 {
        let wide = widened(e, v, from, I64);
        // What f32 does not hold to the last bit is infinite as f16.
        let wide = if to == Elem::Bf16 { rounded_to_odd(e, wide) } else { wide };
        return Ok(e.b.ins().fcvt_from_sint(F32, wide));
    }
    let [from, to] = [from, to].map(|elem| if is_half(elem) { Elem::F32 } else { elem });
    let ty = clif_type(to).ok_or_else(|| CodegenError::malformed("a cast"))?;
    Ok(match (from, to) {
        _ if from == to => v,
        (Elem::F32, Elem::Bool) => {
            let zero = e.float(0.0, F32);
            e.b.ins().fcmp(FloatCC::NotEqual, v, zero)
        }
        (_, Elem::Bool) => e.b.ins().icmp_imm_s(IntCC::NotEqual, v, 0),
        (Elem::F32, _) => e.b.ins().fcvt_to_sint_sat(ty, v),
        (_, Elem::F32) if from.bits() < 32 => {
            let wide = widened(e, v, from, I32);
            e.b.ins().fcvt_from_sint(ty, wide)
        }
        (_, Elem::F32) => e.b.ins().fcvt_from_sint(ty, v),
        _ if from.bits() > to.bits() => e.b.ins().ireduce(ty, v),
        _ => widened(e, v, from, ty),
    })
}

/// An integer of which f32 holds every bit, and that rounds to fewer bits as `v` does: what is cut off leaves the last bit
/// set that is kept.
fn rounded_to_odd(e: &mut Emit, v: ClifValue) -> ClifValue {
    let magnitude = e.b.ins().iabs(v);
    let (zero, one) = (e.int(0), e.int(1));
    let leading = e.b.ins().clz(magnitude);
    let kept = e.int(64 - i64::from(f32::MANTISSA_DIGITS));
    let cut = e.b.ins().isub(kept, leading);
    let cut = e.b.ins().smax(cut, zero);
    let unit = e.b.ins().ishl(one, cut);
    let below = e.b.ins().isub(unit, one);
    let lost = e.b.ins().band(magnitude, below);
    let whole = e.b.ins().band_not(magnitude, below);
    let odd = e.b.ins().bor(whole, unit);
    let magnitude = e.b.ins().select(lost, odd, magnitude);
    let opposite = e.b.ins().ineg(magnitude);
    let negative = e.b.ins().icmp_imm_s(IntCC::SignedLessThan, v, 0);
    e.b.ins().select(negative, opposite, magnitude)
}

/// An integer, or a truth value, in a type that is not narrower.
fn widened(e: &mut Emit, v: ClifValue, from: Elem, ty: ClifType) -> ClifValue {
    match e.b.func.dfg.value_type(v) == ty {
        true => v,
        false if from.is_signed() => e.b.ins().sextend(ty, v),
        false => e.b.ins().uextend(ty, v),
    }
}

/// `then` where `condition` holds, a lane at a time.
pub fn select(
    e: &mut Emit,
    condition: ClifValue,
    then: ClifValue,
    otherwise: ClifValue,
    ty: ClifType,
) -> ClifValue {
    if ty == F32 {
        return e.b.ins().select(condition, then, otherwise);
    }
    let mask = e.cast(condition, ty);
    e.b.ins().bitselect(mask, then, otherwise)
}
