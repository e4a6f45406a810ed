//! `x · cos + concat(-x₂, x₁) · sin  →  rotary(x, cos', sin')`
//!
//! where `x₁, x₂` are the halves of `x` and `cos', sin'` one half each of tables whose halves are provably the
//! same; and `concat(x₁·cos - x₂·sin, x₁·sin + x₂·cos)  →  rotary(x, cos, sin)`.
//!
//! Exact, since `a + (-b)·c` is `a - b·c` to the bit and sums commute, where the parts are the halves of `x`, joined in
//! their places, and the tables a row a position that all heads share. Products of f16 and bf16 are rounded as they are.

use trine_ir::ops::{Concat, Gather, Reshape, Rotary, Transpose};
use trine_ir::{Dim, Kind, Module, Op, Tensor, Type, Value};

use super::widen_halves::is_half;
use crate::pass::{Cx, PassError};
use crate::pattern::*;

/// How many ops a table may be away from where its halves are joined.
const MAX_DEPTH: usize = 24;

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    Ok(cx.apply(module, &[half_rotation(), on_halves()]))
}

fn half_rotation() -> Rule {
    let (x, cos, sin) = (any(), any(), any());
    let (low, high) = parts(&x);
    let turned = op(Kind::Concat, [&neg(&high), &low]);
    rule("rotary", &x * &cos + &turned * &sin, move |m, g| {
        are_halves(g, m[&x], m[&low], m[&high])?;
        joins_last_axis(g, m[&turned])?;
        let mut tables = vec![];
        for table in [m[&cos], m[&sin]] {
            let Some(half) = half(g, table, 0)? else {
                return refuse(format!("the halves of {} are not provably equal", g.describe(table)));
            };
            tables.push(half);
        }
        rotary(g, m[&x], tables[0], tables[1])
    })
}

fn on_halves() -> Rule {
    let (x, cos, sin) = (any(), any(), any());
    let (low, high) = parts(&x);
    let root = op(Kind::Concat, [&low * &cos - &high * &sin, &low * &sin + &high * &cos]);
    rule("rotary-halves", root.clone(), move |m, g| {
        joins_last_axis(g, m[&root])?;
        are_halves(g, m[&x], m[&low], m[&high])?;
        rotary(g, m[&x], m[&cos], m[&sin])
    })
}

/// Two parts of `x`, the lower and the upper.
fn parts(x: &Pat) -> (Pat, Pat) {
    let (slice, split) = (|| op(Kind::Slice, [x]), op(Kind::Split, [x]));
    (slice() | &split, slice() | split.result(1))
}

fn joins_last_axis(g: &Rewrite, concat: Value) -> Result<(), Refusal> {
    match g.op(concat) {
        Some(Op::Concat(Concat { axis })) if axis + 1 == g.ty(concat).rank() => Ok(()),
        _ => refuse("the parts are not joined along the last axis"),
    }
}

/// Whether `low` and `high` are the two halves of `x` along its last axis.
fn are_halves(g: &Rewrite, x: Value, low: Value, high: Value) -> Result<(), Refusal> {
    let Some(d) = g.ty(x).back(0).and_then(Dim::as_const).filter(|d| d % 2 == 0) else {
        return refuse(format!("the last axis of {} has no halves", g.ty(x)));
    };
    for (part, start) in [(low, 0), (high, d / 2)] {
        if part_of(g, part) != Some((x, start)) || g.ty(part).back(0) != Some(&Dim::constant(d / 2)) {
            return refuse(format!("{} is not that half of {}", g.describe(part), g.describe(x)));
        }
    }
    Ok(())
}

/// What a value is a part of along the last axis, and from where on.
fn part_of(g: &Rewrite, part: Value) -> Option<(Value, usize)> {
    let x = g.graph().operand(part.node, 0)?;
    let last = g.ty(x).rank().checked_sub(1)?;
    let start = match g.op(part)? {
        Op::Slice(s) if s.axes == [last] && s.steps == [1] => s.starts[0].as_const()?,
        Op::Split(s) if s.axis == last => {
            let before = s.sizes.iter().take(part.result as usize).map(Dim::as_const);
            before.sum::<Option<usize>>()?
        }
        _ => return None,
    };
    Some((x, start))
}

/// The first half along the last axis of a value whose second half is the same; `None` if that is not known.
fn half(g: &mut Rewrite, v: Value, depth: usize) -> Result<Option<Value>, Refusal> {
    if depth > MAX_DEPTH {
        return Ok(None);
    }
    let ty = g.ty(v).clone();
    let (Some(d), Some(last)) = (ty.back(0).and_then(Dim::as_const), ty.rank().checked_sub(1)) else {
        return Ok(None);
    };
    if let Ok(tensor) = g.tensor(v) {
        return half_constant(g, v, &tensor, d);
    }
    let (Some(op), operands) = (g.op(v).cloned(), g.graph().operands(v.node)) else { return Ok(None) };
    let Some(&Some(x)) = operands.first() else { return Ok(None) };
    let half_type = |ty: &Type| {
        let mut dims = ty.dims.clone();
        dims[last] = Dim::constant(d / 2);
        dims
    };
    let op: Op = match op {
        Op::Concat(c) if c.axis == last && operands.len() == 2 && operands[0] == operands[1] => {
            return Ok(Some(x));
        }
        // The last axis stays what it is, and so does each half of it.
        Op::Reshape(_) if g.ty(x).back(0) == ty.back(0) => Reshape { shape: half_type(&ty) }.into(),
        Op::Expand(mut e) if g.ty(x).back(0) == ty.back(0) => {
            e.shape = half_type(&ty);
            e.into()
        }
        Op::Transpose(t) if t.perm.last() == Some(&last) => t.into(),
        Op::Gather(Gather { axis }) if axis + 1 != g.ty(x).rank() && g.ty(x).back(0) == ty.back(0) => {
            Gather { axis }.into()
        }
        Op::Slice(s) if !s.axes.contains(&last) => s.into(),
        Op::Cos(_) | Op::Sin(_) | Op::Cast(_) | Op::Neg(_) | Op::Identity(_) => op,
        Op::Mul(_) | Op::Add(_) | Op::Sub(_) | Op::Div(_) => return half_binary(g, op, &operands, depth),
        _ => return Ok(None),
    };
    let Some(first) = half(g, x, depth + 1)? else { return Ok(None) };
    let mut operands = operands;
    operands[0] = Some(first);
    Ok(Some(Value { node: g.share(op, &operands)?, result: 0 }))
}

/// Both operands have equal halves, or one is the same for all elements of the last axis.
fn half_binary(
    g: &mut Rewrite,
    op: Op,
    operands: &[Option<Value>],
    depth: usize,
) -> Result<Option<Value>, Refusal> {
    let mut halves = vec![];
    for v in operands.iter().flatten() {
        let uniform = g.ty(*v).back(0).is_none_or(|d| d.as_const() == Some(1));
        match if uniform { Some(*v) } else { half(g, *v, depth + 1)? } {
            Some(half) => halves.push(Some(half)),
            None => return Ok(None),
        }
    }
    Ok(Some(Value { node: g.share(op, &halves)?, result: 0 }))
}

fn half_constant(g: &mut Rewrite, v: Value, tensor: &Tensor, d: usize) -> Result<Option<Value>, Refusal> {
    let row = tensor.elem().bits() / 8 * d;
    if d == 0 || d % 2 == 1 || tensor.elem().bits() < 8 {
        return Ok(None);
    }
    let rows = || tensor.bytes().chunks(row).map(|r| r.split_at(row / 2));
    if rows().any(|(a, b)| a != b) {
        return Ok(None);
    }
    let mut dims = tensor.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = d / 2;
    }
    let bytes: Vec<u8> = rows().flat_map(|(a, _)| a.iter().copied()).collect();
    let name = g.graph().const_key(v).unwrap_or("table").to_string();
    let half = Tensor::new(tensor.elem(), dims, bytes.into())?;
    Ok(Some(g.constant(&format!("{name}.half"), half)))
}

/// `x` rotated by tables that broadcast to its halves. Heads may come before or after positions.
fn rotary(g: &mut Rewrite, x: Value, cos: Value, sin: Value) -> Result<Value, Refusal> {
    let is_one = |v: Value, back: usize| g.ty(v).back(back).is_none_or(|d| d.as_const() == Some(1));
    let rounded = Some(g.ty(x).elem).filter(|elem| is_half(*elem));
    let op = Rotary { interleaved: false, rounded };
    if !is_one(cos, 2) && is_one(cos, 1) && g.ty(x).rank() == 4 {
        let perm = vec![0, 2, 1, 3];
        let swapped = g.add(Transpose { perm: perm.clone() }, &[x])?;
        let (cos, sin) = (as_table(g, cos, swapped, 1)?, as_table(g, sin, swapped, 1)?);
        let y = g.add(op, &[swapped, cos, sin])?;
        return Ok(g.add(Transpose { perm }, &[y])?);
    }
    let (cos, sin) = (as_table(g, cos, x, 2)?, as_table(g, sin, x, 2)?);
    Ok(g.add(op, &[x, cos, sin])?)
}

/// A table for `x` `[b,h,s,d]` without its axis of heads, which is `heads` axes from the end: `[b|1,s,r]`.
fn as_table(g: &mut Rewrite, v: Value, x: Value, heads: usize) -> Result<Value, Refusal> {
    let ty = g.ty(v).clone();
    let one = Dim::constant(1);
    let at = |back: usize| ty.back(back).unwrap_or(&one).clone();
    if g.ty(x).rank() != 4 || ty.rank() > 4 || at(heads) != one {
        return refuse(format!("{} is {ty}, which differs from head to head", g.describe(v)));
    }
    let positions = at(3 - heads);
    if Some(&positions) != g.ty(x).back(1) {
        return refuse(format!("{} is {ty}, which is not a row a position of {}", g.describe(v), g.ty(x)));
    }
    let shape = vec![at(3), positions, at(0)];
    if ty.dims == shape {
        return Ok(v);
    }
    Ok(Value { node: g.share(Reshape { shape }, &[Some(v)])?, result: 0 })
}
