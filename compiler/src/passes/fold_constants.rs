//! `f(constants)  →  constant`, by the interpreter itself
//!
//! A chain is computed as a whole, so that nothing between is kept. What would grow the model, such as an
//! expanded scalar or unpacked low-bit weights, stays as it is; and a transposition before a matmul becomes
//! the matmul's own instead of a copy of the weights.

use rustc_hash::FxHashSet;
use trine_ir::ops::{Matmul, Shape};
use trine_ir::{Def, Kind, Module, NodeId, Op, Tensor, Value};

use crate::pass::{Cx, PassError};
use crate::pattern::{Refusal, Rewrite, Rule, any, matmul, op, refuse, rule};

/// Constants up to this many bytes are made whatever they come from.
const SMALL: usize = 64 << 10;

/// Larger ones may have this many times the bytes of the constants they come from.
const GROWTH: usize = 2;

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let mut count = cx.apply(module, &[transpose_before_matmul(), static_shape()]);
    for (name, function) in &mut module.functions {
        let mut g = Rewrite::new(&mut function.graph, &mut module.consts);
        for value in frontier(&g) {
            match fold(&mut g, value) {
                Ok(()) => count += 1,
                Err(refusal) => cx.miss("fold-constants", name, g.graph(), value.node, refusal),
            }
        }
    }
    Ok(count)
}

/// Whether an op gives the same on the same operands, and does nothing else.
pub fn is_pure(op: &Op) -> bool {
    op.callees().is_empty()
}

/// Values computed from constants alone that something else needs: the last of each such chain.
fn frontier(g: &Rewrite) -> Vec<Value> {
    let graph = g.graph();
    let mut known: FxHashSet<NodeId> = FxHashSet::default();
    let order = graph.order();
    for node in &order {
        let is_known = match graph.def(*node) {
            Def::Const(_) | Def::Literal(_) => true,
            Def::Param { .. } => false,
            // Packed weights say more than what they unpack to.
            Def::Op(Op::DequantizeBlocks(_)) => false,
            Def::Op(op) => {
                let operands = graph.operands(*node);
                is_pure(op)
                    && !operands.is_empty()
                    && operands.iter().flatten().all(|v| known.contains(&v.node))
            }
        };
        if is_known {
            known.insert(*node);
        }
    }
    let computed = order.iter().filter(|n| known.contains(n) && graph.op(**n).is_some());
    let needed =
        |v: &Value| graph.is_output(*v) || graph.users(*v).iter().any(|(user, _)| !known.contains(user));
    computed.flat_map(|n| graph.results(*n)).filter(needed).collect()
}

fn fold(g: &mut Rewrite, value: Value) -> Result<(), Refusal> {
    let bytes = |v: Value| {
        let ty = g.ty(v);
        ty.count().and_then(|c| c.as_const()).and_then(|n| ty.elem.bytes(n))
    };
    let Some(size) = bytes(value) else { return refuse("its size is not known") };
    let from: usize = g.scope().leaves(value).into_iter().filter_map(bytes).sum();
    if size > SMALL.max(from.saturating_mul(GROWTH)) {
        return refuse(format!("{size} bytes would come from {from}"));
    }
    let Some(tensor) = g.scope().known(value) else { return refuse("it cannot be evaluated") };
    let name = g.graph().name(value).to_string();
    let new = g.constant(&name, tensor);
    if g.ty(new) != g.ty(value) {
        return refuse(format!("its value is {}, not {}", g.ty(new), g.ty(value)));
    }
    g.replace(value, new)
}

/// `matmul(x, transpose(w))  →  matmul(x, w) {trans_b}` where the last two axes change places.
fn transpose_before_matmul() -> Rule {
    let (x, w) = (any(), any());
    let turned = op(Kind::Transpose, [&w]);
    let product = matmul(&x, &turned);
    rule("transpose-before-matmul", product.clone(), move |m, g| {
        let (Some(Op::Matmul(matmul)), Some(Op::Transpose(turned))) = (g.op(m[&product]), g.op(m[&turned]))
        else {
            return refuse("not a matmul of a transposition");
        };
        let rank = turned.perm.len();
        let swapped = |(i, p): (usize, &usize)| match rank - i {
            1 => *p == rank - 2,
            2 => *p == rank - 1,
            _ => *p == i,
        };
        if rank < 2 || !turned.perm.iter().enumerate().all(swapped) {
            return refuse("other axes than the last two change places");
        }
        let trans_b = !matmul.trans_b;
        Ok(g.add(Matmul { trans_b }, &[m[&x], m[&w]])?)
    })
}

/// The shape of a value whose dimensions are constants.
fn static_shape() -> Rule {
    let x = any();
    let shape = op(Kind::Shape, [&x]);
    rule("static-shape", shape.clone(), move |m, g| {
        let Some(Op::Shape(Shape { start, end })) = g.op(m[&shape]) else { return refuse("not a shape") };
        let Some(dims) = g.ty(m[&x]).static_dims() else { return refuse("a dimension is not constant") };
        let part = dims.get(*start..*end).ok_or("the range is out of bounds")?;
        let tensor = Tensor::vector(part.iter().map(|d| *d as i64).collect());
        Ok(g.constant("shape", tensor))
    })
}
