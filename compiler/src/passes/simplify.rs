//! `x · 1 → x`, `x² → x · x`, `cast(x) → x` to its own type, `reshape(reshape(x)) → reshape(x)`, `shape(concat(a, b)) → shape(a) + shape(b)`,
//! `f(x), f(x) → one f(x)`, …
//!
//! Only what keeps every bit: `x + 0.0` stays, for it turns -0.0 into +0.0; `x + (-0.0)` goes. Ops are equal when their
//! attributes are to the bit.

mod positions;

use rustc_hash::FxHashMap;
use trine_ir::graph::Operands;
use trine_ir::ops::{Add, Concat, Expand, Mul, Pow, Reciprocal, Reshape, Rsqrt, Shape, Sqrt, Transpose};
use trine_ir::{Dim, Kind, Module, NodeId, Op, Value};

use super::fold_constants::is_pure;
use crate::pass::{Cx, PassError};
use crate::pattern::{Pat, Rewrite, Rule, Scope, any, any_of, op, refuse, rule, scalar};

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let rules = [
        nothing_done(),
        neutral(),
        simple_power(),
        reshape_twice(),
        transpose_twice(),
        shape_of_part(),
        shape_of_join(),
        positions::gathered(),
        tile_of_views(),
    ];
    let mut count = cx.apply(module, &rules);
    for function in module.functions.values_mut() {
        count += share_equals(&mut Rewrite::new(&mut function.graph, &mut module.consts));
    }
    Ok(count)
}

/// Ops that move or convert, where they leave everything as it is.
fn nothing_done() -> Rule {
    let x = any();
    let kinds =
        [Kind::Identity, Kind::Cast, Kind::Reshape, Kind::Expand, Kind::Transpose, Kind::Slice, Kind::Concat];
    let whole = any_of(kinds.map(|kind| op(kind, [&x]))).filter(|scope, y| {
        let x = scope.graph.operand(y.node, 0);
        let same_type = x.is_some_and(|x| scope.graph.ty(x) == scope.graph.ty(y));
        let same_place = match scope.graph.op(y.node) {
            Some(Op::Transpose(t)) => t.perm.iter().enumerate().all(|(i, p)| i == *p),
            Some(Op::Slice(s)) => {
                s.steps.iter().all(|s| *s > 0) && s.starts.iter().all(|s| s.as_const() == Some(0))
            }
            _ => true,
        };
        same_type && same_place
    });
    rule("nothing-done", whole, move |m, _| Ok(m[&x]))
}

/// `x · 1`, `x / 1`, `x - 0`, `x + (-0)`, `x + 0` of integers, `x and true`, `x or false`.
fn neutral() -> Rule {
    let x = any();
    let of_integers = |scope: &Scope, y| scope.graph.ty(y).elem.is_int();
    let root = any_of([
        &x * exactly(1.0),
        &x / exactly(1.0),
        &x - exactly(0.0),
        &x + exactly(-0.0),
        (&x + exactly(0.0)).filter(of_integers),
        op(Kind::And, [&x, &exactly(1.0)]),
        op(Kind::And, [&exactly(1.0), &x]),
        op(Kind::Or, [&x, &exactly(0.0)]),
        op(Kind::Or, [&exactly(0.0), &x]),
    ]);
    rule("neutral", root, move |m, _| Ok(m[&x]))
}

/// The powers that the op computes by a product, a root or a quotient.
fn simple_power() -> Rule {
    let (x, exponent) = (any(), scalar());
    let simple = |value: f64| [2.0, 0.5, -0.5, -1.0].contains(&value);
    let root = op(Kind::Pow, [&x, &exponent]).filter(move |scope, y| {
        let exponent = scope.graph.operand(y.node, Pow::exponent).and_then(|e| scope.scalar(e));
        scope.graph.ty(y).elem.is_float() && exponent.is_some_and(simple)
    });
    rule("simple-power", root, move |m, g| {
        let x = m[&x];
        Ok(match g.scalar(m[&exponent])? {
            2.0 => g.add(Mul {}, &[x, x])?,
            0.5 => g.add(Sqrt {}, &[x])?,
            -0.5 => g.add(Rsqrt {}, &[x])?,
            _ => g.add(Reciprocal {}, &[x])?,
        })
    })
}

/// A scalar of this value, which tells the zeros apart.
fn exactly(value: f64) -> Pat {
    scalar().filter(move |scope, v| scope.scalar(v).map(f64::to_bits) == Some(value.to_bits()))
}

/// `reshape(reshape(x)) → reshape(x)`.
fn reshape_twice() -> Rule {
    let x = any();
    let inner = op(Kind::Reshape, [&x]);
    let outer = op(Kind::Reshape, [&inner]);
    rule("reshape-twice", outer.clone(), move |m, g| {
        let shape = g.ty(m[&outer]).dims.clone();
        Ok(g.add(Reshape { shape }, &[m[&x]])?)
    })
}

/// `tile(x) → reshape(expand(reshape(x)))`: what is repeated is an axis of its own, before the one that it repeats, unless
/// that has one element.
fn tile_of_views() -> Rule {
    let x = any();
    let tile = op(Kind::Tile, [&x]);
    rule("tile-of-views", tile.clone(), move |m, g| {
        let Some(Op::Tile(op)) = g.op(m[&tile]) else { return refuse("not a tile") };
        let (one, repeats) = (Dim::constant(1), op.repeats.clone());
        let (mut apart, mut repeated) = (vec![], vec![]);
        for (size, times) in g.ty(m[&x]).dims.clone().into_iter().zip(repeats) {
            match (size == one, times == one) {
                (_, true) => {
                    apart.push(size.clone());
                    repeated.push(size);
                }
                (true, _) => {
                    apart.push(size);
                    repeated.push(times);
                }
                _ => {
                    apart.extend([one.clone(), size.clone()]);
                    repeated.extend([times, size]);
                }
            }
        }
        let shape = g.ty(m[&tile]).dims.clone();
        let apart = g.add(Reshape { shape: apart }, &[m[&x]])?;
        let repeated = g.add(Expand { shape: repeated }, &[apart])?;
        Ok(g.add(Reshape { shape }, &[repeated])?)
    })
}

/// `transpose(transpose(x))  →  transpose(x)`.
fn transpose_twice() -> Rule {
    let x = any();
    let inner = op(Kind::Transpose, [&x]);
    let outer = op(Kind::Transpose, [&inner]);
    rule("transpose-twice", outer.clone(), move |m, g| {
        let (Some(Op::Transpose(a)), Some(Op::Transpose(b))) = (g.op(m[&inner]), g.op(m[&outer])) else {
            return refuse("not transpositions");
        };
        let perm: Option<Vec<usize>> = b.perm.iter().map(|i| a.perm.get(*i).copied()).collect();
        let perm = perm.ok_or("the permutations do not fit")?;
        if perm.iter().enumerate().all(|(i, p)| i == *p) {
            return Ok(m[&x]);
        }
        Ok(g.add(Transpose { perm }, &[m[&x]])?)
    })
}

/// `gather(shape(x), i)  →  shape(x)` of one axis.
fn shape_of_part() -> Rule {
    let (x, index) = (any(), scalar());
    let shape = op(Kind::Shape, [&x]);
    let root = op(Kind::Gather, [&shape, &index]);
    rule("shape-of-part", root.clone(), move |m, g| {
        let Some(Op::Shape(Shape { start, end })) = g.op(m[&shape]).cloned() else {
            return refuse("not a shape");
        };
        let (count, index) = ((end - start) as f64, g.scalar(m[&index])?);
        let index = if index < 0.0 { index + count } else { index };
        if !(0.0..count).contains(&index) {
            return refuse("the index is out of bounds");
        }
        let start = start + index as usize;
        let size = g.share(Shape { start, end: start + 1 }, &[Some(m[&x])])?;
        let size = Value { node: size, result: 0 };
        let dims = g.ty(m[&root]).dims.clone();
        if g.ty(size).dims == dims { Ok(size) } else { Ok(g.add(Reshape { shape: dims }, &[size])?) }
    })
}

/// `shape(concat(a, b))  →  shape(a) + shape(b)` along the axis that they are joined along, and `shape(a)` along others: what
/// depends on a length need not wait for what has it.
fn shape_of_join() -> Rule {
    let joined = any().filter(|scope, v| scope.graph.kind(v.node) == Some(Kind::Concat));
    let shape = op(Kind::Shape, [&joined]);
    rule("shape-of-join", shape.clone(), move |m, g| {
        let (Some(Op::Shape(shape)), Some(Op::Concat(Concat { axis }))) =
            (g.op(m[&shape]).cloned(), g.op(m[&joined]))
        else {
            return refuse("not a shape of what is joined");
        };
        let (parts, axis) = (g.graph().operands(m[&joined].node), *axis);
        let wanted = shape.start..shape.end;
        if wanted.contains(&axis) && wanted.len() > 1 {
            return refuse("sizes of several axes");
        }
        let mut sum: Option<Value> = None;
        for part in if wanted.contains(&axis) { &parts[..] } else { &parts[..1] } {
            let size = Value { node: g.share(shape.clone(), &[*part])?, result: 0 };
            sum = Some(match sum {
                Some(sum) => Value { node: g.share(Add {}, &[Some(sum), Some(size)])?, result: 0 },
                None => size,
            });
        }
        sum.ok_or("nothing is joined".into())
    })
}

/// Whether two ops do the same, to the bit: 0.0 and -0.0 are equal and not the same.
fn is_same(a: &Op, b: &Op) -> bool {
    a == b && a.print_attrs() == b.print_attrs()
}

/// Equal ops on equal operands become one.
fn share_equals(g: &mut Rewrite) -> usize {
    let mut seen: FxHashMap<(Kind, Operands), Vec<NodeId>> = FxHashMap::default();
    let mut count = 0;
    for node in g.graph().order() {
        let Some(op) = g.graph().op(node).filter(|op| is_pure(op)) else { continue };
        let earlier = seen.entry((op.kind(), g.graph().operands(node))).or_default();
        let Some(twin) =
            earlier.iter().copied().find(|e| g.graph().op(*e).is_some_and(|twin| is_same(twin, op)))
        else {
            earlier.push(node);
            continue;
        };
        let results: Vec<_> = g.graph().results(node).map(|old| (old, Value { node: twin, ..old })).collect();
        let shared = results.into_iter().filter(|(old, new)| g.replace(*old, *new).is_ok()).count();
        count += usize::from(shared > 0);
    }
    count
}
