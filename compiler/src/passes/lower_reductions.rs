//! `reduce_sum(x){axes=[last axes]}  →  reshape(reduce_sum(reshape(x)){axes=[last],keepdims=true})`
//!
//! Row kernels reduce one axis, the last, and keep it. Reductions of several trailing axes, and those that drop what they
//! reduce, become such ones between reshapes, which move nothing; sums are taken in the same order.

use trine_ir::ops::{ReduceKind, Reshape};
use trine_ir::{Dim, Kind, Module, Op, Value};

use crate::pass::{Cx, PassError};
use crate::pattern::{Rule, any, op, refuse, rule};

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let kinds = [Kind::ReduceSum, Kind::ReduceMean, Kind::ReduceSumSquare, Kind::ReduceMax, Kind::ReduceMin];
    Ok(cx.apply(module, &kinds.map(trailing)))
}

fn trailing(kind: Kind) -> Rule {
    let x = any();
    let root = op(kind, [&x]).filter(|scope, root| {
        let graph = scope.graph;
        let Some((_, axes, keepdims)) = graph.op(root.node).and_then(reduction) else { return false };
        let rank = graph.operand(root.node, 0).map_or(0, |x| graph.ty(x).rank());
        let trailing = axes.iter().all(|axis| *axis + axes.len() >= rank);
        trailing && !axes.is_empty() && !(keepdims && axes.len() == 1)
    });
    rule("trailing-axes", root.clone(), move |m, g| {
        let Some((kind, axes, _)) = g.op(m[&root]).and_then(reduction) else {
            return refuse("not a reduction");
        };
        let mut x = m[&x];
        let dims = g.ty(x).dims.clone();
        let kept = dims.len() - axes.len();
        if axes.len() > 1 {
            let (lead, reduced) = dims.split_at(kept);
            let Some(length) = Dim::product(reduced) else {
                return refuse("its axes have a product that is too large");
            };
            let shape = lead.iter().cloned().chain([length]).collect();
            x = Value { node: g.share(Reshape { shape }, &[Some(x)])?, result: 0 };
        }
        let sum = g.share(kind.op(vec![kept], true), &[Some(x)])?;
        let shape = g.ty(m[&root]).dims.clone();
        Ok(g.add(Reshape { shape }, &[Value { node: sum, result: 0 }])?)
    })
}

/// Which reduction it is, its axes, and whether it keeps them.
fn reduction(op: &Op) -> Option<(ReduceKind, &[usize], bool)> {
    Some(match op {
        Op::ReduceSum(r) => (ReduceKind::ReduceSum, &r.axes, r.keepdims),
        Op::ReduceMean(r) => (ReduceKind::ReduceMean, &r.axes, r.keepdims),
        Op::ReduceSumSquare(r) => (ReduceKind::ReduceSumSquare, &r.axes, r.keepdims),
        Op::ReduceMax(r) => (ReduceKind::ReduceMax, &r.axes, r.keepdims),
        Op::ReduceMin(r) => (ReduceKind::ReduceMin, &r.axes, r.keepdims),
        _ => return None,
    })
}
