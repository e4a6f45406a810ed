//! What microkernels compute a whole row at a time, in vectors wider than those of generated code.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::{F32, I32};
use rustc_hash::FxHashMap;
use trine_ir::ops::RmsNorm;
use trine_ir::{Elem, NodeId, Op, Value};
use trine_ukernel::{best, quantize, rms_norm, silu};

use super::super::arguments::arguments;
use super::super::function::{ClifValue, Emit, Result};
use super::super::{CodegenError, Shape};
use super::RowsKernel;
use super::row::{Lanes, Position, Row, Stride};
use crate::Target;

impl RowsKernel<'_> {
    /// Chooses the nodes, and keeps what they read and what they give.
    pub(super) fn map(&mut self, target: &Target) {
        let nodes = self.nodes.iter().filter_map(|node| Some((*node, self.symbol(*node, target)?)));
        self.mapped = nodes.collect();
        for node in self.nodes.clone().into_iter().filter(|n| self.mapped.contains_key(n)) {
            let result = Value { node, result: 0 };
            // A row is made where the result will be, or where it is read from if the result is not a row of f32.
            let row = match self.graph.op(node) {
                Some(Op::QuantizeRows(_)) => self.graph.operand(node, 0).filter(|x| !self.lies_in_a_row(*x)),
                _ => Some(result),
            };
            if let Some(row) = row {
                let index = self.kept.len();
                self.kept.entry(row).or_insert(index);
            }
        }
    }

    /// The microkernel for the node, if there is one.
    fn symbol(&self, node: NodeId, target: &Target) -> Option<&'static str> {
        let graph = self.graph;
        let x = graph.ty(graph.operand(node, 0)?);
        if x.dims != self.domain.dims() || x.elem != Elem::F32 {
            return None;
        }
        match graph.op(node)? {
            Op::Silu(_) => Some(best(silu::VARIANTS, target.features)?.symbol),
            Op::RmsNorm(_) if self.lies_in_a_row(graph.operand(node, RmsNorm::gain)?) => {
                Some(best(rms_norm::VARIANTS, target.features)?.symbol)
            }
            Op::QuantizeRows(_) => {
                let results: Vec<_> = graph.results(node).collect();
                let given = |v: &Value| {
                    graph.users(*v).is_empty() && graph.outputs().iter().filter(|o| *o == v).count() == 1
                };
                let symbol = best(quantize::VARIANTS, target.features)?.symbol;
                results.iter().all(given).then_some(symbol)
            }
            _ => None,
        }
    }

    /// Whether each row of an argument's value is elements that follow one another.
    fn lies_in_a_row(&self, value: Value) -> bool {
        let stride = self.leaves.get(&value).and_then(|view| view.strides.last()?.as_const());
        stride == Some(1)
    }

    /// Whether a microkernel has written the result of the kernel.
    pub(super) fn is_written(&self, output: Value) -> bool {
        self.mapped.contains_key(&output.node) && !self.kept.contains_key(&output)
    }
}

impl Row<'_, '_> {
    /// Has a microkernel compute the node's results of this row.
    pub(super) fn map(&mut self, e: &mut Emit, node: NodeId, symbol: &str, shape: &Shape) -> Result<()> {
        let malformed = || CodegenError::malformed("a function of a row");
        let graph = self.plan.graph;
        let operand = graph.operand(node, 0).ok_or_else(malformed)?;
        let (zero, length) = (e.int(0), self.length);
        let result = Value { node, result: 0 };
        let to = self.kept_at(e, result, zero);
        let from = self.row_of(e, operand, to)?;
        self.keep(result);
        match graph.op(node) {
            Some(Op::RmsNorm(norm)) => {
                let gain = graph.operand(node, RmsNorm::gain).ok_or_else(malformed)?;
                let gain = self.row_of(e, gain, None)?;
                let eps = e.float(norm.eps, F32);
                let out = to.ok_or_else(malformed)?;
                let args = arguments!(rms_norm::RmsNormF32 { x: from, gain, out, n: length, eps });
                e.call_with_struct(symbol, args)
            }
            Some(Op::QuantizeRows(rows)) => {
                let given = |result: u32| {
                    let output = graph.outputs().iter().position(|o| *o == Value { node, result });
                    output.map(|i| shape.result(i)).ok_or_else(malformed)
                };
                let (q, scale) = (e.arg(given(0)?), e.arg(given(1)?));
                let row = e.b.ins().imul(self.row, length);
                let args = arguments!(quantize::QuantizeF32 {
                    x: from,
                    q: e.at(q, row, 1),
                    scale: e.at(scale, self.row, 4),
                    n: length,
                    floor: e.float(rows.floor.unwrap_or(0.0), F32),
                    reciprocal: e.b.ins().iconst(I32, i64::from(rows.reciprocal.0)),
                });
                e.call_with_struct(symbol, args)
            }
            _ => {
                let out = to.ok_or_else(malformed)?;
                e.call_with_struct(symbol, arguments!(silu::SiluF32 { x: from, out, n: length }))
            }
        }
    }

    /// Where the row of a value lies in memory; one that does not is computed, to where it is kept or else to `spare`.
    fn row_of(&mut self, e: &mut Emit, value: Value, spare: Option<ClifValue>) -> Result<ClifValue> {
        let (zero, length) = (e.int(0), self.length);
        if let Some((start, Stride::One)) = self.starts.get(&value) {
            return Ok(*start);
        }
        let kept = self.kept_at(e, value, zero);
        if let Some(kept) = kept.filter(|_| self.written.contains(&value)) {
            return Ok(kept);
        }
        let to = kept.or(spare).ok_or_else(|| CodegenError::malformed("a row"))?;
        let rounds = e.b.ins().band_imm_u(length, !3);
        for (begin, end, lanes) in [(zero, rounds, Lanes::Four), (rounds, length, Lanes::One)] {
            let step = if lanes == Lanes::Four { 4 } else { 1 };
            e.for_range(begin, end, step, &[], |e, index, _| {
                let at = Position { ty: lanes, index };
                let x = self.full(e, value, at, &mut FxHashMap::default(), false)?;
                let place = e.at(to, index, 4);
                e.store(x, place, 0);
                Ok(vec![])
            })?;
        }
        self.keep(value);
        Ok(to)
    }
}
