//! `ternary_matmul(x, w, scale)  →  rescale(group_sum(sign_select(q, w)), scale, s)` with `q, s = quantize_rows(x)`
//!
//! or, where activations stay f32, the same on `x` without `s`. No multiplication by a weight is left, and
//! layers of the same input share one quantization. int8 weights take `weight_products` for `sign_select`.

use trine_ir::attr::Flag;
use trine_ir::ops::{GroupSum, QuantizeRows, Rescale, Reshape, SignSelect, WeightProducts};
use trine_ir::{Dim, Kind, Module, NodeId, Op, Stage, Value};

use crate::pass::{Cx, PassError};
use crate::pattern::{Refusal, Rewrite, Rule, any, constant, maybe, op, refuse, rule};

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let count = cx.apply(module, &[lower(), lower_int8()]);
    module.stage = module.stage.max(Stage::Lowered);
    Ok(count)
}

fn lower() -> Rule {
    let (x, w, scale, bias) = (any(), constant(), any(), any());
    let root = op(Kind::TernaryMatmul, [&x, &w, &scale, &maybe(&bias)]);
    rule("lower-ternary", root.clone(), move |m, g| {
        let Some(Op::TernaryMatmul(matmul)) = g.op(m[&root]) else { return refuse("not a ternary matmul") };
        let (group, int8) = (matmul.group, matmul.int8);
        let quantize = QuantizeRows { floor: matmul.floor, reciprocal: matmul.reciprocal };
        let (rows, row_scale) = match int8 {
            true => quantized(g, m[&x], quantize, matmul.blocks.0.then_some(group))?,
            false => (m[&x], None),
        };
        let signed = g.add(SignSelect {}, &[rows, m[&w]])?;
        let sums = g.add(GroupSum { group }, &[signed])?;
        rescaled(g, sums, m[&scale], row_scale, m.get(&bias))
    })
}

fn lower_int8() -> Rule {
    let (x, w, scale, bias) = (any(), constant(), any(), any());
    let root = op(Kind::Int8Matmul, [&x, &w, &scale, &maybe(&bias)]);
    rule("lower-int8", root.clone(), move |m, g| {
        let Some(Op::Int8Matmul(matmul)) = g.op(m[&root]) else { return refuse("not an int8 matmul") };
        let group = matmul.group;
        let quantize = QuantizeRows { floor: None, reciprocal: Flag(false) };
        let (rows, row_scale) = quantized(g, m[&x], quantize, matmul.blocks.0.then_some(group))?;
        let products = g.add(WeightProducts {}, &[rows, m[&w]])?;
        let sums = g.add(GroupSum { group }, &[products])?;
        rescaled(g, sums, m[&scale], row_scale, m.get(&bias))
    })
}

/// `x` in int8, and the scales of its rows, or of blocks of them.
fn quantized(
    g: &mut Rewrite,
    x: Value,
    op: QuantizeRows,
    block: Option<usize>,
) -> Result<(Value, Option<Value>), Refusal> {
    let of = |node: NodeId| (Value { node, result: 0 }, Value { node, result: 1 });
    let Some(block) = block else {
        let (q, s) = of(g.share(op, &[Some(x)])?);
        return Ok((q, Some(s)));
    };
    let dims = g.ty(x).dims.clone();
    let Some((k, lead)) = dims.split_last() else { return refuse("not rows") };
    let Some(groups) = k.as_const().map(|k| k / block) else { return refuse("rows of unknown length") };
    let reshaped = |g: &mut Rewrite, v: Value, last: &[usize]| {
        let shape = lead.iter().cloned().chain(last.iter().map(|n| Dim::constant(*n))).collect();
        let node = g.share(Reshape { shape }, &[Some(v)])?;
        Ok::<_, Refusal>(Value { node, result: 0 })
    };
    let rows = reshaped(g, x, &[groups, block])?;
    let (q, s) = of(g.share(op, &[Some(rows)])?);
    Ok((reshaped(g, q, &[groups * block])?, Some(reshaped(g, s, &[groups])?)))
}

fn rescaled(
    g: &mut Rewrite,
    sums: Value,
    scale: Value,
    row_scale: Option<Value>,
    bias: Option<Value>,
) -> Result<Value, Refusal> {
    let node = g.add_node(Rescale {}, &[Some(sums), Some(scale), row_scale, bias])?;
    Ok(Value { node, result: 0 })
}
