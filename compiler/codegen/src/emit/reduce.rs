//! Reductions of the last axis inside of row kernels: their phases over the row, and what follows.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::Type as ClifType;
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::{F32, F32X4, I32, I32X4};
pub use trine_ir::domain::is_row_reduction;
use trine_ir::{Graph, NodeId, Op};

use super::elementwise::select;
use super::function::{ClifValue, Emit, Result, clif_type};
use super::{CodegenError, terms};

/// One loop over the row: what it accumulates, and what follows from the total.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    Sum,
    SumSquares,
    /// Sum of `(x - state[0])²`.
    SumDeviations,
    /// Sum of `exp(x - state[0])`.
    SumExp,
    Max,
    /// The largest magnitude, or NaN if there is one.
    AbsMax,
    /// Sum of integers of this type, which wraps.
    Integers(ClifType),
    /// The largest, or NaN if there is one: of zeros of both signs the first.
    Largest,
    /// The smallest, likewise.
    Smallest,
}

/// How many loops over the row the node takes before its results can be computed.
pub fn phases(graph: &Graph, node: NodeId) -> usize {
    phase_list(graph, node).len()
}

pub fn phase(graph: &Graph, node: NodeId, index: usize) -> Phase {
    let elem = graph.operand(node, 0).map(|x| graph.ty(x).elem);
    match elem.filter(|e| e.is_int()).and_then(clif_type) {
        Some(ty) => Phase::Integers(ty),
        None => phase_list(graph, node)[index],
    }
}

fn phase_list(graph: &Graph, node: NodeId) -> &'static [Phase] {
    match graph.op(node) {
        Some(Op::RmsNorm(_)) => &[Phase::SumSquares],
        Some(Op::QuantizeRows(_)) => &[Phase::AbsMax],
        Some(Op::LayerNorm(_)) => &[Phase::Sum, Phase::SumDeviations],
        Some(Op::Softmax(_)) => &[Phase::Max, Phase::SumExp],
        Some(Op::ReduceSumSquare(_)) => &[Phase::SumSquares],
        Some(Op::ReduceMax(_)) => &[Phase::Largest],
        Some(Op::ReduceMin(_)) => &[Phase::Smallest],
        _ => &[Phase::Sum],
    }
}

impl Phase {
    /// Whether elements are taken one by one, in order, and not in strands.
    pub fn is_in_order(self) -> bool {
        matches!(self, Phase::Integers(_) | Phase::Largest | Phase::Smallest)
    }

    pub fn init(self, e: &mut Emit, ty: ClifType) -> ClifValue {
        match self {
            Phase::Max | Phase::Largest => e.float(f32::NEG_INFINITY, ty),
            Phase::Smallest => e.float(f32::INFINITY, ty),
            Phase::Integers(ty) => e.b.ins().iconst(ty, 0),
            _ => e.float(0.0, ty),
        }
    }

    /// The accumulator with one more element (a lane).
    pub fn step(
        self,
        e: &mut Emit,
        acc: ClifValue,
        x: ClifValue,
        state: &[ClifValue],
        ty: ClifType,
    ) -> ClifValue {
        let wide = |e: &mut Emit, v| if ty == F32X4 { e.b.ins().splat(ty, v) } else { v };
        match self {
            Phase::Sum => e.b.ins().fadd(acc, x),
            Phase::Integers(_) => e.b.ins().iadd(acc, x),
            Phase::Largest => extreme(e, FloatCC::LessThan, acc, x),
            Phase::Smallest => extreme(e, FloatCC::GreaterThan, acc, x),
            Phase::SumSquares => {
                let square = e.b.ins().fmul(x, x);
                e.b.ins().fadd(acc, square)
            }
            Phase::SumDeviations => {
                let mean = wide(e, state[0]);
                let d = e.b.ins().fsub(x, mean);
                let square = e.b.ins().fmul(d, d);
                e.b.ins().fadd(acc, square)
            }
            Phase::SumExp => {
                let max = wide(e, state[0]);
                let d = e.b.ins().fsub(x, max);
                let power = terms::exp(&mut e.b, d, ty);
                e.b.ins().fadd(acc, power)
            }
            Phase::Max => greater(e, x, acc, ty),
            Phase::AbsMax => {
                let a = e.b.ins().fabs(x);
                greater_bits(e, a, acc, ty)
            }
        }
    }

    /// Two accumulators as one.
    pub fn combine(self, e: &mut Emit, a: ClifValue, b: ClifValue, ty: ClifType) -> ClifValue {
        match self {
            Phase::Max => greater(e, b, a, ty),
            Phase::AbsMax => greater_bits(e, b, a, ty),
            Phase::Integers(_) => e.b.ins().iadd(a, b),
            _ => e.b.ins().fadd(a, b),
        }
    }

    /// What the node keeps of this phase's total, after the `state` of earlier ones.
    pub fn finish(
        self,
        e: &mut Emit,
        graph: &Graph,
        node: NodeId,
        total: ClifValue,
        length: ClifValue,
        state: &[ClifValue],
    ) -> Result<Vec<ClifValue>> {
        let op = graph.op(node).ok_or_else(|| CodegenError::malformed("a reduction"))?;
        let mean = |e: &mut Emit| {
            let n = e.b.ins().fcvt_from_sint(F32, length);
            e.b.ins().fdiv(total, n)
        };
        Ok(match op {
            Op::RmsNorm(norm) => {
                let mean = mean(e);
                vec![inverse_root(e, mean, norm.eps)]
            }
            Op::LayerNorm(_) if state.is_empty() => vec![mean(e)],
            Op::LayerNorm(norm) => {
                let variance = mean(e);
                vec![inverse_root(e, variance, norm.eps)]
            }
            Op::ReduceMean(_) => vec![mean(e)],
            Op::QuantizeRows(rows) => {
                let (zero, c127) = (e.float(0.0, F32), e.float(127.0, F32));
                let total = match rows.floor {
                    Some(floor) => {
                        let floor = e.float(floor, F32);
                        let below = e.b.ins().fcmp(FloatCC::LessThan, total, floor);
                        e.b.ins().select(below, floor, total)
                    }
                    None => total,
                };
                let inverse = match rows.reciprocal.0 {
                    true => {
                        let one = e.float(1.0, F32);
                        let inverse = e.b.ins().fdiv(one, total);
                        e.b.ins().fmul(inverse, c127)
                    }
                    false => e.b.ins().fdiv(c127, total),
                };
                let positive = e.b.ins().fcmp(FloatCC::GreaterThan, total, zero);
                let inverse = e.b.ins().select(positive, inverse, zero);
                let infinite = e.float(f32::INFINITY, F32);
                let overflows = e.b.ins().fcmp(FloatCC::Equal, inverse, infinite);
                let scale = e.b.ins().fdiv(total, c127);
                vec![inverse, e.b.ins().select(overflows, zero, scale)]
            }
            _ => vec![total],
        })
    }
}

/// The result that has one element a row, if result `result` is such a one.
pub fn row_result(op: &Op, result: u32, state: &[ClifValue]) -> Option<ClifValue> {
    match (op, result) {
        (Op::QuantizeRows(_), 1) => Some(state[1]),
        (Op::ReduceSum(_) | Op::ReduceMean(_) | Op::ReduceSumSquare(_), _) => Some(state[0]),
        (Op::ReduceMax(_) | Op::ReduceMin(_), _) => Some(state[0]),
        _ => None,
    }
}

/// An element of the full-width result, from the operand's element and the others'.
pub fn element(
    e: &mut Emit,
    op: &Op,
    x: ClifValue,
    rest: &[Option<ClifValue>],
    state: &[ClifValue],
    ty: ClifType,
) -> Result<ClifValue> {
    let wide = |e: &mut Emit, v| if ty == F32X4 { e.b.ins().splat(ty, v) } else { v };
    Ok(match op {
        Op::RmsNorm(_) => {
            let inverse = wide(e, state[0]);
            let y = e.b.ins().fmul(x, inverse);
            e.b.ins().fmul(y, rest[0].ok_or_else(|| CodegenError::malformed("a norm"))?)
        }
        Op::LayerNorm(_) => {
            let (mean, inverse) = (wide(e, state[0]), wide(e, state[1]));
            let y = e.b.ins().fsub(x, mean);
            let mut y = e.b.ins().fmul(y, inverse);
            if let Some(gain) = rest.first().copied().flatten() {
                y = e.b.ins().fmul(y, gain);
            }
            if let Some(bias) = rest.get(1).copied().flatten() {
                y = e.b.ins().fadd(y, bias);
            }
            y
        }
        Op::Softmax(_) => {
            let (max, sum) = (wide(e, state[0]), wide(e, state[1]));
            let d = e.b.ins().fsub(x, max);
            let power = terms::exp(&mut e.b, d, ty);
            e.b.ins().fdiv(power, sum)
        }
        Op::QuantizeRows(_) => {
            let inverse = wide(e, state[0]);
            let y = e.b.ins().fmul(x, inverse);
            let y = e.b.ins().nearest(y);
            let int = if ty == F32X4 { I32X4 } else { I32 };
            let q = e.b.ins().fcvt_to_sint_sat(int, y);
            let bound = |e: &mut Emit, v: i64| {
                let c = e.b.ins().iconst(I32, v);
                if ty == F32X4 { e.b.ins().splat(I32X4, c) } else { c }
            };
            let (low, high) = (bound(e, -127), bound(e, 127));
            let q = e.b.ins().smax(q, low);
            e.b.ins().smin(q, high)
        }
        _ => return Err(CodegenError::malformed("a reduction")),
    })
}

fn inverse_root(e: &mut Emit, mean: ClifValue, eps: f32) -> ClifValue {
    let (eps, one) = (e.float(eps, F32), e.float(1.0, F32));
    let shifted = e.b.ins().fadd(mean, eps);
    let root = e.b.ins().sqrt(shifted);
    e.b.ins().fdiv(one, root)
}

/// `x` where it is NaN or `so_far` compares to it so, else `so_far`.
fn extreme(e: &mut Emit, compares: FloatCC, so_far: ClifValue, x: ClifValue) -> ClifValue {
    let better = e.b.ins().fcmp(compares, so_far, x);
    let y = e.b.ins().select(better, x, so_far);
    let nan = e.b.ins().fcmp(FloatCC::Unordered, x, x);
    e.b.ins().select(nan, x, y)
}

/// `a` where `a > b`, else `b`: a NaN in `a` is passed over.
fn greater(e: &mut Emit, a: ClifValue, b: ClifValue, ty: ClifType) -> ClifValue {
    let condition = e.b.ins().fcmp(FloatCC::GreaterThan, a, b);
    select(e, condition, a, b, ty)
}

/// The larger of two magnitudes, or NaN if either is: their bits are ordered as they are.
fn greater_bits(e: &mut Emit, a: ClifValue, b: ClifValue, ty: ClifType) -> ClifValue {
    let bits = if ty == F32X4 { I32X4 } else { I32 };
    let (a, b) = (e.cast(a, bits), e.cast(b, bits));
    let max = e.b.ins().smax(a, b);
    e.cast(max, ty)
}
