//! Elementwise ops as instructions, on one lane or four.
//!
//! Floats follow `trine_ir::math` operation by operation, so kernels give the interpreter's bits.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::Type as ClifType;
use cranelift_codegen::ir::types::{F32, I8, I32};
use trine_ir::{Elem, Graph, Literal, NodeId, Op};

use super::CodegenError;
use super::emit::{ClifValue, Emit, Result};

/// Whether the op can be part of a row kernel.
pub fn supported(op: &Op, graph: &Graph, node: NodeId) -> bool {
    let elems: Vec<Elem> = graph.operands(node).into_iter().flatten().map(|v| graph.ty(v).elem).collect();
    let all = |elem: Elem| elems.iter().all(|e| *e == elem);
    match op {
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) => all(Elem::F32) || all(Elem::I64) || all(Elem::I32),
        Op::Div(_) => all(Elem::F32),
        _ => false,
    }
}

/// Whether the op takes more than a few instructions.
pub fn is_costly(op: &Op) -> bool {
    match op {
        _ => false,
    }
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

/// The op on operands of the given element types; `ty` is the type of f32 lanes.
pub fn emit(
    e: &mut Emit,
    op: &Op,
    args: &[Option<ClifValue>],
    types: &[Elem],
    ty: ClifType,
) -> Result<ClifValue> {
    let arg = |i: usize| args.get(i).copied().flatten().ok_or_else(|| CodegenError::malformed("an operand"));
    let float = types.first() == Some(&Elem::F32);
    let _ = ty;
    Ok(match op {
        Op::Add(_) if float => e.b.ins().fadd(arg(0)?, arg(1)?),
        Op::Sub(_) if float => e.b.ins().fsub(arg(0)?, arg(1)?),
        Op::Mul(_) if float => e.b.ins().fmul(arg(0)?, arg(1)?),
        Op::Div(_) if float => e.b.ins().fdiv(arg(0)?, arg(1)?),
        Op::Add(_) => e.b.ins().iadd(arg(0)?, arg(1)?),
        Op::Sub(_) => e.b.ins().isub(arg(0)?, arg(1)?),
        Op::Mul(_) => e.b.ins().imul(arg(0)?, arg(1)?),
        _ => return Err(CodegenError::malformed("an elementwise op")),
    })
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
