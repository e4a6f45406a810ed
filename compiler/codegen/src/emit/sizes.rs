//! Dimensions as data: `shape` and `size` of an operand, and `range` over what was computed of them.
//!
//! Graphs that make their own masks and positions start from these. Results are a few numbers that the program's
//! symbols hold already, and one row of consecutive ones.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use trine_ir::ops::Range;
use trine_ir::{Def, Dim, Elem, Graph, Literal, Op, Value};
use trine_runtime::kernel::STATUS_SHAPE;

use super::function::{ClifValue, Emit, Result};
use super::{CodegenError, Kernel, Shape};

pub struct SizesKernel<'g> {
    graph: &'g Graph,
    what: What,
}

enum What {
    /// The values of dimensions, as i64.
    Dims(Vec<Dim>),
    /// `count` numbers from `start` on, each `step` more than the one before, below `limit`.
    Range { start: Number, limit: Number, step: i64, count: Dim },
}

/// A rank-0 operand of i64.
enum Number {
    Argument(usize),
    Literal(i64),
}

impl<'g> SizesKernel<'g> {
    pub fn new(graph: &'g Graph) -> Option<SizesKernel<'g>> {
        let [output] = graph.outputs() else { return None };
        let alone = graph.order().iter().filter(|n| graph.op(**n).is_some()).count() == 1;
        let operand = |slot: usize| graph.operand(output.node, slot);
        let what = match graph.op(output.node).filter(|_| alone)? {
            Op::Shape(op) => What::Dims(graph.ty(operand(0)?).dims.get(op.start..op.end)?.to_vec()),
            Op::Size(_) => What::Dims(vec![graph.ty(operand(0)?).count()?]),
            Op::Range(op) => {
                let number = |slot| Number::of(graph, operand(slot)?);
                let Number::Literal(step @ 1..) = number(Range::delta)? else { return None };
                let (start, limit) = (number(Range::start)?, number(Range::limit)?);
                What::Range { start, limit, step, count: op.count.clone() }
            }
            _ => return None,
        };
        Some(SizesKernel { graph, what })
    }
}

impl Kernel for SizesKernel<'_> {
    fn work(&self) -> Option<Dim> {
        Some(match &self.what {
            What::Dims(dims) => Dim::constant(dims.len()),
            What::Range { count, .. } => count.clone(),
        })
    }

    /// The status is `STATUS_SHAPE` when a range has not the elements that its type says.
    fn emit(&self, e: &mut Emit) -> Result<ClifValue> {
        let out = e.arg(Shape::of(self.graph).result(0));
        let zero = e.int(0);
        let (start, limit, step, count) = match &self.what {
            What::Dims(dims) => {
                for (i, dim) in dims.iter().enumerate() {
                    let offset = i32::try_from(8 * i).map_err(|_| CodegenError::malformed("a shape"))?;
                    let value = e.size(dim)?;
                    e.store(value, out, offset);
                }
                return Ok(zero);
            }
            What::Range { start, limit, step, count } => (start, limit, *step, count),
        };
        let (start, limit, count) = (start.emit(e), limit.emit(e), e.size(count)?);
        // Past the last element by less than a step lies the limit, or an empty range is not below it.
        let span = e.b.ins().isub(limit, start);
        let span = e.b.ins().smax(span, zero);
        let span = e.b.ins().iadd_imm_s(span, step - 1);
        let by = e.int(step);
        let actual = e.b.ins().udiv(span, by);
        let fits = e.b.ins().icmp(IntCC::Equal, actual, count);
        let bad = e.int(STATUS_SHAPE);
        let (first, last) = e.share(count, 1);
        e.for_range(first, last, 1, &[], |e, i, _| {
            let ahead = e.b.ins().imul(i, by);
            let value = e.b.ins().iadd(start, ahead);
            let place = e.at(out, i, 8);
            e.store(value, place, 0);
            Ok(vec![])
        })?;
        Ok(e.b.ins().select(fits, zero, bad))
    }
}

impl Number {
    fn of(graph: &Graph, v: Value) -> Option<Number> {
        if graph.ty(v).elem != Elem::I64 || graph.ty(v).rank() != 0 {
            return None;
        }
        match graph.def(v.node) {
            Def::Literal(Literal::I64(value)) => Some(Number::Literal(*value)),
            _ => graph.params().iter().position(|p| *p == v).map(Number::Argument),
        }
    }

    fn emit(&self, e: &mut Emit) -> ClifValue {
        match self {
            Number::Literal(value) => e.int(*value),
            Number::Argument(arg) => {
                let place = e.arg(*arg);
                e.load(I64, place, 0)
            }
        }
    }
}
