//! `matmul(x, W)  →  int8_matmul(x, q, scale)` with `W ≈ scale · q`, for the last linear layer of `@main`
//!
//! Lossy, and only by name. Every row has one scale, `max|w| / 127`. The head of a language model holds as many
//! weights as several blocks, too telling to be ternary: a byte each is a quarter of what there is to read.

use std::cell::RefCell;
use std::rc::Rc;

use trine_ir::attr::Flag;
use trine_ir::ops::Int8Matmul;
use trine_ir::{Module, Stage, Tensor};

use super::ternarize::last_linear;
use crate::layers;
use crate::pass::{Cx, PassError};
use crate::pattern::{Rule, any, refuse, rule};
use trine_ternarize::{Int8, Layer, Matrix};

const NAME: &str = "quantize-head";

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    if module.stage > Stage::Ternary {
        let message = format!("the module is `{}` already", module.stage.name());
        return Err(PassError::Refused { pass: NAME, message });
    }
    let layers = Rc::new(RefCell::new(vec![]));
    let count = cx.apply(module, &[quantize(last_linear(module), layers.clone())]);
    module.stage = Stage::Ternary;
    cx.layers.append(&mut layers.borrow_mut());
    Ok(count)
}

fn quantize(head: Option<trine_ir::NodeId>, layers: Rc<RefCell<Vec<Layer>>>) -> Rule {
    let (x, w) = (any(), any());
    let root = layers::linear(&x, &w);
    rule(NAME, root.clone(), move |m, g| {
        if head != Some(m[&root].node) {
            return refuse("not the last linear layer");
        }
        let base = layers::weights_name(g, m[&w]);
        let matrix = layers::weights(g, m[&root], m[&w], true)?;
        if matrix.k == 0 || matrix.values.iter().any(|v| !v.is_finite()) {
            return refuse("the weights are not finite");
        }
        let rows = Int8::round(&matrix);
        layers.borrow_mut().push(report(&rows, &base, &matrix));
        let Int8 { n, k, codes, scales } = rows;
        let q = g.constant(&format!("{base}.int8"), Tensor::from_vec(vec![n, k], codes)?);
        let scale = g.constant(&format!("{base}.scale"), Tensor::from_vec(vec![n, 1], scales)?);
        Ok(g.add(Int8Matmul { group: k, blocks: Flag(false) }, &[m[&x], q, scale])?)
    })
}

fn report(rows: &Int8, weights: &str, w: &Matrix) -> Layer {
    Layer {
        weights: weights.into(),
        n: rows.n,
        k: rows.k,
        group: rows.k,
        planes: 1,
        method: "int8".into(),
        error: rows.relative_weight_error(w),
        zeros: rows.zeros(),
        bits: rows.bits(),
    }
}
