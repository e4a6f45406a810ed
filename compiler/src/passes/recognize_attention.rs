//! `softmax(q·kᵀ · scale + mask) · v  →  attention(q, k, v, mask, past_k, past_v)`
//!
//! with the scale on the scores, on `q`, on `k` or on both; keys and values repeated for every query head that
//! shares them, which the op does by itself; the past concatenated in front of them, which it keeps as its own
//! results; and a soft cap on the scores. Masks that choose by a condition choose in the op, too, and so does what puts 0
//! in the place of weights that are NaN: one such number makes all weights of its row NaN. Keys may be transposed with
//! batch and heads as one axis, as `bmm` wants them. Between products of halves the softmax may be one of f32; the scores
//! and weights are then not rounded between. Attention of a model that repeats and keeps keys itself is given both to do.
//!
//! Exact, but for the order of factors and sums, where the softmax is over the keys, the mask broadcasts to the scores
//! and not they to it, and all numbers are finite and held by f32. A query whose scores are all -∞ is NaN, as in the
//! model; a score that a condition replaces by a number weighs what that number weighs, even if it was NaN, and in a row
//! of nothing else all keys weigh alike.

use rustc_hash::FxHashSet;
use trine_ir::attr::Flag;
use trine_ir::graph::NodeId;
use trine_ir::ops::{Attention, Cast, Concat, Matmul, Reshape, Transpose, Where};
use trine_ir::{Dim, Elem, Graph, Kind, Literal, Module, Op, Tensor, Value};

use super::widen_halves::{is_half, narrow, wide};
use crate::pass::{Cx, PassError};
use crate::pattern::*;

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    Ok(cx.apply(module, &[attention(), keys_apart()]))
}

fn attention() -> Rule {
    let (v, mask) = (any(), any());
    let (seen, lowest) = (any(), scalar());
    let (cap, uncap) = (scalar(), scalar());
    let product = |scope: &Scope, v| scope.graph.kind(unscaled(scope, v).0.node) == Some(Kind::Matmul);
    let scaled = any().filter(product);
    let widened = cast(&scaled);
    let scores = &scaled | &widened;
    let capped = (tanh(&scores / &uncap) * &cap) | &scores;
    let chosen = op(Kind::Where, [&seen, &capped, &lowest]);
    let masked = any_of([&capped + &mask, chosen.clone(), capped.clone()]);
    let weights = softmax(&masked);
    let zeroed = op(Kind::Where, [op(Kind::IsNan, [&weights]), Pat::from(0.0), weights.clone()]);
    let narrowed = cast(&zeroed | &weights);
    let mixed = any_of([matmul(&narrowed, &v), matmul(&zeroed, &v), matmul(&weights, &v)]);
    rule("attention", mixed.clone(), move |m, g| {
        if !matches!(g.op(m[&weights]), Some(Op::Softmax(s)) if s.axis + 1 == g.ty(m[&weights]).rank()) {
            return refuse("the softmax is not over the last axis");
        }
        // Products of halves around a softmax of f32; the second may be one of f32, too.
        let halves = m.get(&widened).map(|wide| (g.ty(m[&scaled]).elem, g.ty(wide).elem));
        let narrowed = m.get(&narrowed).map(|narrow| g.ty(narrow).elem);
        match (halves, narrowed) {
            (None, None) => {}
            (Some((elem, Elem::F32)), back) if is_half(elem) && back.is_none_or(|back| back == elem) => {}
            _ => return refuse("scores and weights are not cast alike"),
        }
        let (scores, mut scale) = unscaled(&g.scope(), m[&scaled]);
        let [Some(q), Some(k)] = g.graph().operands(scores.node)[..] else {
            return refuse("the scores are not a product");
        };
        let unmasked = g.ty(m.get(&widened).unwrap_or(m[&scaled])).clone();
        if g.ty(m[&masked]) != &unmasked {
            return refuse(format!("the mask makes {} of scores {unmasked}", g.ty(m[&masked])));
        }
        if m.get(&zeroed).is_some_and(|zeroed| g.ty(zeroed) != g.ty(m[&weights])) {
            return refuse("what takes the place of NaN broadcasts");
        }
        let zero_nan = m.get(&zeroed).is_some();
        let softcap = match (m.get(&cap), m.get(&uncap)) {
            // tanh is odd, so that the cap has no sign.
            (Some(cap), Some(uncap)) if g.scalar(cap)? == g.scalar(uncap)? => g.single(cap)?.abs(),
            (None, None) => 0.0,
            _ => return refuse("the cap is not what the scores are divided by"),
        };
        if m.get(&cap).is_some() && !(softcap > 0.0 && softcap.is_finite()) {
            return refuse(format!("a cap of {softcap:?}"));
        }
        let (q_value, q_scale) = unscaled(&g.scope(), q);
        let (k_value, k_scale) = keys(g, scores, k)?;
        scale *= q_scale * k_scale;
        let mut v_value = values(g, m[&mixed], m[&v])?;
        if let (Some(_), Some(Op::Cast(_)), Some(source)) =
            (halves, g.op(v_value), g.graph().operand(v_value.node, 0))
        {
            v_value = source;
        }
        for x in [q_value, k_value, v_value] {
            if g.ty(x).rank() != 4 {
                return refuse(format!("{} is {}, not [b,h,s,d]", g.describe(x), g.ty(x)));
            }
            if g.ty(x).dims[0] != g.ty(q_value).dims[0] {
                return refuse(format!("the batch of {} broadcasts", g.describe(x)));
            }
        }
        let is_held = g.ty(q_value).elem != Elem::F64 || f64::from(scale as f32) == scale;
        if !(scale as f32).is_finite() || (scale as f32 == 0.0) != (scale == 0.0) || !is_held {
            return refuse(format!("f32 has no scale {scale}"));
        }
        let (mask, hidden) = match (m.get(&mask), m.get(&chosen)) {
            (Some(mask), _) => (Some(mask), None),
            (_, Some(_)) => {
                let hidden = g.single(m[&lowest])?;
                (Some(additive(g, m[&seen], g.ty(m[&lowest]).elem)?), Some(hidden))
            }
            _ => (None, None),
        };
        let op = Attention {
            scale: scale as f32,
            causal: false,
            softcap,
            hidden,
            nan_unseen: Flag(!zero_nan),
            zero_nan: Flag(zero_nan),
        };
        let (k, v) = (shared(g.graph(), q_value, k_value), shared(g.graph(), q_value, v_value));
        let operands = match halves {
            None => [q_value, k, v],
            Some(_) => [wide(g, q_value)?, wide(g, k)?, wide(g, v)?],
        };
        let y = with_past(g, op, operands, mask)?;
        narrowed.map_or(Ok(y), |elem| narrow(g, y, elem))
    })
}

/// `attention(q, repeat(concat(past, k)), …)  →  attention(q, k, …, past)`: what the op does by itself.
fn keys_apart() -> Rule {
    let (q, k, v, mask) = (any(), any(), any(), any());
    let root = op(Kind::Attention, [&q, &k, &v, &maybe(&mask)]).filter(|scope, y| {
        let graph = scope.graph;
        let operand = |slot| graph.operand(y.node, slot);
        let inputs = [Attention::q, Attention::k, Attention::v, Attention::past_k].map(operand);
        let [Some(q), Some(k), Some(v), None] = inputs else { return false };
        let (keys, values) = (shared(graph, q, k), shared(graph, q, v));
        let grown = Grown::of(graph, keys).is_some() && Grown::of(graph, values).is_some();
        // Heads that are shared are shared by keys and values alike.
        let both = (keys != k) == (values != v);
        y.result == 0 && both && (keys != k || grown)
    });
    rule("attention-past", root.clone(), move |m, g| {
        let Some(Op::Attention(op)) = g.op(m[&root]).cloned() else { return refuse("not attention") };
        let (q, given) = (m[&q], [m[&k], m[&v]]);
        let [k, v] = given.map(|x| shared(g.graph(), q, x));
        let y = with_past(g, op, [q, k, v], m.get(&mask))?;
        if [k, v] == given && g.graph().operand(y.node, Attention::past_k).is_none() {
            return refuse("the cache is read before the attention");
        }
        Ok(y)
    })
}

/// The value that scalars were multiplied to, and their product.
fn unscaled(scope: &Scope, v: Value) -> (Value, f64) {
    let (mut v, mut scale) = (v, 1.0);
    loop {
        let operands = scope.graph.operands(v.node);
        let (Some(kind), [Some(a), Some(b)]) = (scope.graph.kind(v.node), operands.as_slice()) else {
            return (v, scale);
        };
        let scalar = |x: Value| scope.scalar(x).filter(|_| scope.graph.ty(x).rank() <= 1);
        (v, scale) = match (kind, scalar(*a), scalar(*b)) {
            (Kind::Mul, _, Some(c)) => (*a, scale * c),
            (Kind::Mul, Some(c), _) => (*b, scale * c),
            (Kind::Div, _, Some(c)) if c != 0.0 => (*a, scale / c),
            _ => return (v, scale),
        };
    }
}

/// The keys as `[b,h,t,d]`, and what they were multiplied by.
fn keys(g: &mut Rewrite, scores: Value, k: Value) -> Result<(Value, f64), Refusal> {
    let (k, outer) = unscaled(&g.scope(), k);
    if matches!(g.op(scores), Some(Op::Matmul(Matmul { trans_b: true }))) {
        return Ok((k, outer));
    }
    if g.ty(k).rank() != 4 {
        return refuse(format!("the keys are {}, not [b,h,d,t]", g.ty(k)));
    }
    let (turned, inner) = match g.op(k) {
        Some(Op::Transpose(t)) if t.perm == [0, 1, 3, 2] => {
            let x = g.graph().operand(k.node, 0).ok_or("a transposition of nothing")?;
            unscaled(&g.scope(), x)
        }
        Some(Op::Transpose(t)) => {
            let perm = vec![t.perm[0], t.perm[1], t.perm[3], t.perm[2]];
            let x = g.graph().operand(k.node, 0).ok_or("a transposition of nothing")?;
            (Value { node: g.share(Transpose { perm }, &[Some(x)])?, result: 0 }, 1.0)
        }
        _ => match merged(g, k) {
            Some((source, shape, inner)) if g.ty(source).dims == shape => (source, inner),
            Some((source, shape, inner)) => (g.add(Reshape { shape }, &[source])?, inner),
            None => (g.add(Transpose { perm: vec![0, 1, 3, 2] }, &[k])?, 1.0),
        },
    };
    Ok((turned, outer * inner))
}

/// `reshape(transpose(reshape(x, [b·h,t,d])), [b,h,d,t])` is `x` in the shape `[b,h,t,d]`, transposed: gives both, and what
/// `x` was multiplied by.
fn merged(g: &Rewrite, k: Value) -> Option<(Value, Vec<Dim>, f64)> {
    let first = |v: Value| g.graph().operand(v.node, 0);
    let dims = |v: Value| g.ty(v).dims.as_slice();
    let Op::Reshape(_) = g.op(k)? else { return None };
    let (turned, outer) = unscaled(&g.scope(), first(k)?);
    let Op::Transpose(t) = g.op(turned)? else { return None };
    let (flat, inner) = unscaled(&g.scope(), first(turned)?);
    let ([b, h, d, t_out], [n, t_in, d_in]) = (dims(k), dims(flat)) else { return None };
    if t.perm != [0, 2, 1] || t_out != t_in || d != d_in || b.mul(h).as_ref() != Some(n) {
        return None;
    }
    let source = match g.op(flat)? {
        Op::Reshape(_) => first(flat)?,
        _ => flat,
    };
    Some((source, vec![b.clone(), h.clone(), t_in.clone(), d.clone()], outer * inner))
}

fn values(g: &mut Rewrite, mixed: Value, v: Value) -> Result<Value, Refusal> {
    match g.op(mixed) {
        Some(Op::Matmul(Matmul { trans_b: false })) => Ok(v),
        _ => refuse("the values are transposed"),
    }
}

/// -∞ where `seen` is false, and 0 where it is true: layers that share a condition share its mask.
fn additive(g: &mut Rewrite, seen: Value, elem: Elem) -> Result<Value, Refusal> {
    let zero = g.zero(elem)?;
    let lowest = match elem {
        Elem::F32 => g.literal(Literal::F32(f32::NEG_INFINITY)),
        Elem::F64 => g.literal(Literal::F64(f64::NEG_INFINITY)),
        Elem::F16 => g.constant("hidden", Tensor::scalar(half::f16::NEG_INFINITY)),
        Elem::Bf16 => g.constant("hidden", Tensor::scalar(half::bf16::NEG_INFINITY)),
        _ => return refuse(format!("scores of {elem}")),
    };
    Ok(Value { node: g.share(Where {}, &[Some(seen), Some(zero), Some(lowest)])?, result: 0 })
}

/// The keys or values before they were repeated for the heads of `q`.
fn shared(graph: &Graph, q: Value, v: Value) -> Value {
    repeated_from(graph, v).filter(|x| graph.ty(*x).rank() == 4 && graph.ty(q).rank() == 4).unwrap_or(v)
}

/// `reshape(repeat(reshape(x, [b,h,1,t,d]), [b,h,n,t,d]), [b,h·n,t,d])` gives `x`.
fn repeated_from(graph: &Graph, v: Value) -> Option<Value> {
    let first = |v: Value| graph.operand(v.node, 0);
    let dims = |v: Value| graph.ty(v).dims.as_slice();
    let Op::Reshape(_) = graph.op(v.node)? else { return None };
    let wide = first(v)?;
    let narrow = match graph.op(wide.node)? {
        Op::Expand(_) | Op::Tile(_) => first(wide)?,
        Op::Concat(Concat { axis: 2 }) => {
            let operands = graph.operands(wide.node);
            operands.iter().all(|o| *o == operands[0]).then(|| first(wide))??
        }
        _ => return None,
    };
    let Op::Reshape(_) = graph.op(narrow.node)? else { return None };
    let x = first(narrow)?;
    let ([b, h, t, d], [nb, nh, one, nt, nd], [wb, wh, n, wt, wd], [vb, vh, vt, vd]) =
        (dims(x), dims(narrow), dims(wide), dims(v))
    else {
        return None;
    };
    let same = |a: &Dim, others: [&Dim; 3]| others.iter().all(|o| *o == a);
    let repeated = same(b, [nb, wb, vb])
        && same(t, [nt, wt, vt])
        && same(d, [nd, wd, vd])
        && nh == h
        && wh == h
        && one.as_const() == Some(1)
        && h.mul(n).as_ref() == Some(vh);
    repeated.then_some(x)
}

/// The attention, which takes over a cache in front of its keys and values where they have one.
fn with_past(g: &mut Rewrite, op: Attention, qkv: [Value; 3], mask: Option<Value>) -> Result<Value, Refusal> {
    let [q, k, v] = qkv;
    if let (Some(keys), Some(values)) = (Grown::of(g.graph(), k), Grown::of(g.graph(), v)) {
        let new = [keys.rows(g)?, values.rows(g)?];
        let args = [Some(q), Some(new[0]), Some(new[1]), mask, Some(keys.past), Some(values.past)];
        // Whoever reads the cache would read it from the attention, which must not wait for them.
        if !depend_on(g, &args, &[keys.all.node, values.all.node]) {
            let node = g.add_node(op, &args)?;
            let result = |result| Value { node, result };
            g.also_replace(keys.all, result(1));
            g.also_replace(values.all, result(2));
            return Ok(result(0));
        }
    }
    let node = g.add_node(op, &[Some(q), Some(k), Some(v), mask])?;
    Ok(Value { node, result: 0 })
}

/// Keys or values that a cache holds, past and new.
struct Grown {
    past: Value,
    new: Value,
    all: Value,
    /// What they are read as.
    elem: Elem,
}

impl Grown {
    /// What `x` is: the cache itself, or a cache of f16 or bf16 as f32, which is what attention reads of it.
    fn of(graph: &Graph, x: Value) -> Option<Grown> {
        let elem = graph.ty(x).elem;
        let all = match graph.op(x.node)? {
            Op::Cast(_) if elem == Elem::F32 => {
                let halves = graph.operand(x.node, 0)?;
                is_half(graph.ty(halves).elem).then_some(halves)?
            }
            _ => x,
        };
        match (graph.op(all.node)?, graph.operands(all.node).as_slice()) {
            (Op::Concat(Concat { axis: 2 }), [Some(past), Some(new)]) => {
                Some(Grown { past: *past, new: *new, all, elem })
            }
            _ => None,
        }
    }

    /// The new rows as attention is given them: it rounds them to what the cache is of by itself.
    fn rows(&self, g: &mut Rewrite) -> Result<Value, Refusal> {
        if g.ty(self.new).elem == self.elem {
            return Ok(self.new);
        }
        let source =
            g.graph().operand(self.new.node, 0).filter(|_| matches!(g.op(self.new), Some(Op::Cast(_))));
        match source.filter(|source| g.ty(*source).elem == self.elem) {
            Some(source) => Ok(source),
            None => Ok(Value { node: g.share(Cast { to: self.elem }, &[Some(self.new)])?, result: 0 }),
        }
    }
}

/// Whether any of `values` is computed from one of `nodes`.
fn depend_on(g: &Rewrite, values: &[Option<Value>], nodes: &[NodeId]) -> bool {
    let mut seen: FxHashSet<NodeId> = FxHashSet::default();
    let mut stack: Vec<NodeId> = values.iter().flatten().map(|v| v.node).collect();
    while let Some(node) = stack.pop() {
        if nodes.contains(&node) {
            return true;
        }
        if seen.insert(node) {
            stack.extend(g.graph().operands(node).into_iter().flatten().map(|v| v.node));
        }
    }
    false
}
