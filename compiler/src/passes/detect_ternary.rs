//! `matmul(x, W)` with `W[j,i] = scale[j,g] · t[j,i]` exactly  →  `ternary_matmul(x, t, scale)`
//!
//! Whatever the model computes from constants alone is evaluated, so it does not matter how the weights are
//! spelt: plain f32, casts of f16, integers dequantized in any grouping, or a subgraph that rounds them.

use trine_ir::{Kind, Module, Op, Stage};

use crate::pass::{Cx, PassError};
use crate::pattern::{Rule, any, refuse, rule};
use crate::ternarize::{self, Layer};
use std::cell::RefCell;
use std::rc::Rc;

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    if module.stage > Stage::Ternary {
        return Ok(0);
    }
    let layers = Rc::new(RefCell::new(vec![]));
    let count = cx.apply(module, &[detect(layers.clone()), ternarize::absorb_bias()]);
    module.stage = Stage::Ternary;
    cx.layers.append(&mut layers.borrow_mut());
    Ok(count)
}

fn detect(layers: Rc<RefCell<Vec<Layer>>>) -> Rule {
    let (x, w) = (any(), any());
    let root = ternarize::linear(&x, &w);
    rule("detect-ternary", root.clone(), move |m, g| {
        let matrix = ternarize::weights(g, m[&root], m[&w], false)?;
        let Some(ternary) = ternarize::find(&matrix) else { return refuse("the weights are not ternary") };
        let base = ternarize::weights_name(g, m[&w]);
        let int8 = matches!(g.op(m[&w]), Some(Op::DequantizeBlocks(blocks)) if blocks.int8);
        let y = ternary.matmul(g, m[&x], &base, int8)?;
        let spelling = match g.graph().kind(m[&w].node) {
            None => "ternary as stored",
            Some(Kind::DequantizeBlocks) => "ternary in blocks of bits",
            Some(_) => "ternary as computed",
        };
        layers.borrow_mut().push(ternary.report(&base, spelling, &matrix));
        Ok(y)
    })
}
