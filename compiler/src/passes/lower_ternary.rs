//! `ternary_matmul(x, w, scale)  →  rescale(group_sum(sign_select(q, w)), scale, s)` with `q, s = quantize_rows(x)`
//!
//! or, where activations stay f32, the same on `x` without `s`. No multiplication by a weight is left, and
//! layers of the same input share one quantization. int8 weights take `weight_products` for `sign_select`.

use trine_ir::attr::Flag;
use trine_ir::ops::{GroupSum, QuantizeRows, Rescale, SignSelect, WeightProducts};
use trine_ir::{Kind, Module, Op, Stage, Value};

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
            true => quantized(g, m[&x], quantize)?,
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
        let (rows, row_scale) = quantized(g, m[&x], QuantizeRows { floor: None, reciprocal: Flag(false) })?;
        let products = g.add(WeightProducts {}, &[rows, m[&w]])?;
        let sums = g.add(GroupSum { group }, &[products])?;
        rescaled(g, sums, m[&scale], row_scale, m.get(&bias))
    })
}

/// `x` in int8, and the scales of its rows.
fn quantized(g: &mut Rewrite, x: Value, op: QuantizeRows) -> Result<(Value, Option<Value>), Refusal> {
    let node = g.share(op, &[Some(x)])?;
    Ok((Value { node, result: 0 }, Some(Value { node, result: 1 })))
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
