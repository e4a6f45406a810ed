//! `gather_nd(x, concat(i, j))  →  gather(x, j)` where `i` counts all of an axis and `j` counts another.
//!
//! A mask that is indexed by the numbers of the batch and of the keys, each broadcast to the shape of the scores, is the
//! mask itself, as far as there are keys.

use trine_ir::dim::Dim;
use trine_ir::ops::{Concat, Expand, Gather, GatherNd, Range, Reshape};
use trine_ir::{Graph, Kind, Literal, Op, Value};

use crate::pattern::{Rule, any, op, refuse, rule};

pub fn gathered() -> Rule {
    let (x, indices) = (any(), any().filter(|scope, v| scope.graph.kind(v.node) == Some(Kind::Concat)));
    let root = op(Kind::GatherNd, [&x, &indices]);
    rule("positions", root.clone(), move |m, g| {
        let Some(Op::GatherNd(GatherNd { batch_dims: 0 })) = g.op(m[&root]) else {
            return refuse("it has a batch");
        };
        let axes = g.ty(m[&indices]).rank() - 1;
        let Some(Op::Concat(Concat { axis })) = g.op(m[&indices]) else {
            return refuse("indices are not joined");
        };
        if *axis != axes {
            return refuse("indices are not joined along their last axis");
        }
        let planes: Option<Vec<Counted>> = g
            .graph()
            .operands(m[&indices].node)
            .into_iter()
            .map(|plane| counted(g.graph(), plane?, axes))
            .collect();
        let Some(planes) = planes else { return refuse("an index does not count along an axis") };
        if planes.windows(2).any(|pair| pair[0].axis >= pair[1].axis) {
            return refuse("indices count along axes in another order");
        }
        let mut y = m[&x];
        for (axis, plane) in planes.iter().enumerate() {
            // An index that counts further than there are elements stays one, which is an error.
            if g.ty(y).dims.get(axis) != Some(&plane.count) {
                y = g.add(Gather { axis }, &[y, plane.range])?;
            }
        }
        let whole = g.ty(m[&root]).dims.clone();
        let mut shape = vec![Dim::constant(1); axes];
        planes.iter().for_each(|plane| shape[plane.axis] = plane.count.clone());
        shape.extend_from_slice(&whole[axes..]);
        let y = g.add(Reshape { shape: shape.clone() }, &[y])?;
        Ok(if shape == whole { y } else { g.add(Expand { shape: whole }, &[y])? })
    })
}

/// Indices `[…, 1]` that are 0, 1, 2 … along an axis and the same along all others.
struct Counted {
    axis: usize,
    count: Dim,
    /// The numbers by themselves.
    range: Value,
}

/// What `plane`, whose last axis is one of a single element after `axes` others, counts along.
fn counted(graph: &Graph, plane: Value, axes: usize) -> Option<Counted> {
    let last = graph.ty(plane).back(0)?;
    // From the indices to the numbers: the reshapes and broadcasts between.
    let mut views = vec![];
    let mut at = plane;
    while !matches!(graph.op(at.node), Some(Op::Range(_))) {
        let view = matches!(graph.op(at.node), Some(Op::Reshape(_) | Op::Expand(_)));
        views.push(at);
        at = graph.operand(at.node, 0).filter(|_| view)?;
    }
    let number = |slot: usize| graph.operand(at.node, slot).and_then(|v| graph.as_literal(v));
    if (number(Range::start), number(Range::delta)) != (Some(Literal::I64(0)), Some(Literal::I64(1)))
        || last.as_const() != Some(1)
    {
        return None;
    }
    let [count] = &graph.ty(at).dims[..] else { return None };
    let mut axis = 0;
    for view in views.into_iter().rev() {
        let from = &graph.ty(graph.operand(view.node, 0)?).dims;
        let to = &graph.ty(view).dims;
        axis = match graph.op(view.node)? {
            Op::Reshape(_) => moved(from, to, axis)?,
            _ => axis + to.len().checked_sub(from.len())?,
        };
        if to.get(axis) != Some(count) {
            return None;
        }
    }
    (axis < axes).then(|| Counted { axis, count: count.clone(), range: at })
}

/// Where an axis is after a reshape that adds and drops axes of one element.
fn moved(from: &[Dim], to: &[Dim], axis: usize) -> Option<usize> {
    let longer =
        |dims: &[Dim]| -> Vec<usize> { (0..dims.len()).filter(|i| dims[*i].as_const() != Some(1)).collect() };
    let (before, after) = (longer(from), longer(to));
    let same = before.len() == after.len() && before.iter().zip(&after).all(|(i, j)| from[*i] == to[*j]);
    let at = before.iter().position(|i| *i == axis).filter(|_| same)?;
    after.get(at).copied()
}
