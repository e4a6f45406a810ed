//! `f(x: f16)  →  cast(f(cast(x: f32)): f16)` for products, attention and rotary embeddings of f16 and bf16
//!
//! Exact: such ops read halves as f32 and round what they give once, which is what is written out here. Layers whose
//! weights are ternary in halves are then found as others are, and kernels are those of f32. Ops element by element, norms
//! and softmax have kernels of halves themselves. Caches stay what they are, for attention keeps new keys and values in the
//! type of the past.

use trine_ir::ops::{Attention, Cast};
use trine_ir::{Elem, Kind, Module, Op, Tensor, Value};

use crate::pass::{Cx, PassError};
use crate::pattern::*;

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    Ok(cx.apply(
        module,
        &[
            widened(Kind::Matmul, 2),
            widened(Kind::Rotary, 3),
            attention(Kind::Attention, 6),
            attention(Kind::CachedAttention, 8),
        ],
    ))
}

/// Whether the elements are of 16 bits, and computed with in f32.
pub(super) fn is_half(elem: Elem) -> bool {
    matches!(elem, Elem::F16 | Elem::Bf16)
}

/// The op of `arity` operands, all of one type.
fn widened(kind: Kind, arity: usize) -> Rule {
    let operands: Vec<Pat> = (0..arity).map(|_| any()).collect();
    let root = op(kind, &operands).filter(|scope, y| is_half(scope.graph.ty(y).elem));
    rule("widen-halves", root.clone(), move |m, g| {
        let Some(op) = g.op(m[&root]).cloned() else { return refuse("not an op") };
        let elem = g.ty(m[&root]).elem;
        let mut args = vec![];
        for operand in &operands {
            args.push(wide(g, m[operand])?);
        }
        let y = g.add(op, &args)?;
        narrow(g, y, elem)
    })
}

/// Queries, new keys and values, a mask that is added, and sinks.
fn attention(kind: Kind, slots: usize) -> Rule {
    let operands: Vec<Pat> = (0..slots).map(|_| any()).collect();
    let operand = |(slot, v): (usize, &Pat)| if slot < Attention::mask { v.clone() } else { maybe(v) };
    let root = op(kind, operands.iter().enumerate().map(operand))
        .filter(|scope, y| y.result == 0 && is_half(scope.graph.ty(y).elem));
    rule("widen-halves", root.clone(), move |m, g| {
        let Some(op) = g.op(m[&root]).cloned() else { return refuse("not attention") };
        let mut args = vec![];
        for (slot, operand) in operands.iter().enumerate() {
            let operand = m.get(operand);
            args.push(match operand {
                Some(v) if !is_cache(&op, slot) && is_half(g.ty(v).elem) => Some(wide(g, v)?),
                other => other,
            });
        }
        args.truncate(args.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
        let node = g.add_node(op, &args)?;
        let mut results = vec![];
        for (old, new) in g.graph().results(m[&root].node).zip(g.graph().results(node)) {
            let elem = g.ty(old).elem;
            results.push((old, if g.ty(new).elem == elem { new } else { narrow(g, new, elem)? }));
        }
        let y = results.remove(0).1;
        results.into_iter().for_each(|(old, new)| g.also_replace(old, new));
        Ok(y)
    })
}

/// Whether an operand of attention is a cache, which stays what it is.
pub(super) fn is_cache(op: &Op, slot: usize) -> bool {
    let caches = [Attention::past_k, Attention::past_v];
    matches!(op, Op::Attention(_) | Op::CachedAttention(_)) && caches.contains(&slot)
}

/// The value as f32: a constant is one of f32 then.
pub(super) fn wide(g: &mut Rewrite, v: Value) -> Result<Value, Refusal> {
    let cast = Cast { to: Elem::F32 };
    let Ok(tensor) = g.tensor(v) else {
        return Ok(Value { node: g.share(cast, &[Some(v)])?, result: 0 });
    };
    let values: Vec<f32> = match tensor.elem() {
        Elem::F16 => tensor.values::<half::f16>()?.iter().map(|v| v.to_f32()).collect(),
        Elem::Bf16 => tensor.values::<half::bf16>()?.iter().map(|v| v.to_f32()).collect(),
        elem => return refuse(format!("a constant of {elem}")),
    };
    let name = g.graph().const_key(v).unwrap_or("wide").to_string();
    let wide = Tensor::from_vec(tensor.dims().to_vec(), values)?;
    Ok(g.constant(&name, wide))
}

/// The value rounded to `elem`.
pub(super) fn narrow(g: &mut Rewrite, v: Value, elem: Elem) -> Result<Value, Refusal> {
    Ok(g.add(Cast { to: elem }, &[v])?)
}
