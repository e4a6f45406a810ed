//! `ternary_matmul(x, w, scale)  →  rescale(group_sum(sign_select(q, w)), scale, s)` with `q, s = quantize_rows(x)`
//!
//! or, where activations stay f32, the same on `x` without `s`. No multiplication by a weight is left, and
//! layers of the same input share one quantization.

use trine_ir::ops::{GroupSum, QuantizeRows, Rescale, SignSelect};
use trine_ir::{Kind, Module, Op, Stage, Value};

use crate::pass::{Cx, PassError};
use crate::pattern::{Rule, any, constant, maybe, op, refuse, rule};

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let count = cx.apply(module, &[lower()]);
    module.stage = module.stage.max(Stage::Lowered);
    Ok(count)
}

fn lower() -> Rule {
    let (x, w, scale, bias) = (any(), constant(), any(), any());
    let root = op(Kind::TernaryMatmul, [&x, &w, &scale, &maybe(&bias)]);
    rule("lower-ternary", root.clone(), move |m, g| {
        let Some(Op::TernaryMatmul(matmul)) = g.op(m[&root]) else { return refuse("not a ternary matmul") };
        let (group, int8) = (matmul.group, matmul.int8);
        let (rows, row_scale) = match int8 {
            true => {
                let node = g.share(QuantizeRows {}, &[Some(m[&x])])?;
                (Value { node, result: 0 }, Some(Value { node, result: 1 }))
            }
            false => (m[&x], None),
        };
        let signed = g.add(SignSelect {}, &[rows, m[&w]])?;
        let sums = g.add(GroupSum { group }, &[signed])?;
        let node = g.add_node(Rescale {}, &[Some(sums), Some(m[&scale]), row_scale, m.get(&bias)])?;
        Ok(Value { node, result: 0 })
    })
}
