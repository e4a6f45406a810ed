//! `matmul(x, W)` with `W[j,i] = scale[j,g] · t[j,i]` exactly  →  `ternary_matmul(x, t, scale)`
//!
//! Whatever the model computes from constants alone is evaluated, so it does not matter how the weights are
//! spelt: plain f32, casts of f16, integers dequantized in any grouping, or a subgraph that rounds them.
//! Activations become int8 only where the model itself rounds them so ([`own_rows`]). Products of integers that are cast to
//! floats are layers like others ([`integers`]).

mod integers;
mod own_rows;

use std::cell::RefCell;
use std::rc::Rc;

use trine_ir::ops::Conv;
use trine_ir::{Kind, Module, Op, Stage, Value};

use crate::layers;
use crate::pass::{Cx, PassError};
use crate::pattern::*;
use trine_ternarize::{Layer, Matrix};

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    if module.stage > Stage::Ternary {
        return Ok(0);
    }
    let layers = Rc::new(RefCell::new(vec![]));
    let rules = [
        detect(layers.clone()),
        integers::products(layers.clone()),
        own_rows::undone_before(),
        own_rows::undone_after(),
        layers::absorb_factor(),
        layers::absorb_bias(),
    ];
    let count = cx.apply(module, &rules);
    module.stage = Stage::Ternary;
    cx.layers.append(&mut layers.borrow_mut());
    convolutions(module, cx);
    Ok(count)
}

/// Exact, but for the order of sums and factors, where each row of the weights, or each group of it, holds one finite
/// magnitude besides zero, to the bit: 0·x is NaN here and there where `x` is NaN or ±∞. Activations become int8 where
/// weights in blocks say that they may.
fn detect(layers: Rc<RefCell<Vec<Layer>>>) -> Rule {
    let (x, w) = (any(), any());
    let root = layers::linear(&x, &w);
    rule("detect-ternary", root.clone(), move |m, g| {
        let matrix = layers::weights(g, m[&root], m[&w], false)?;
        let Some(ternary) = trine_ternarize::find(&matrix) else {
            return refuse("the weights are not ternary");
        };
        let base = layers::weights_name(g, m[&w]);
        let spelt = uncast(g, m[&w]);
        let y = match g.op(spelt) {
            Some(Op::DequantizeBlocks(blocks)) if blocks.int8 => {
                let block = blocks.block;
                layers::product_of_blocks(&ternary, g, m[&x], &base, block)?
            }
            _ => layers::product(&ternary, g, m[&x], &base, false)?,
        };
        let spelling = match (g.graph().kind(spelt.node), g.graph().kind(m[&w].node)) {
            (Some(Kind::DequantizeBlocks), _) => "ternary in blocks of bits",
            (_, None) => "ternary as stored",
            (_, Some(_)) => "ternary as computed",
        };
        layers.borrow_mut().push(ternary.lossless_report(&base, spelling));
        Ok(y)
    })
}

/// What casts were made of.
fn uncast(g: &Rewrite, mut v: Value) -> Value {
    while let (Some(Op::Cast(_)), Some(source)) = (g.op(v), g.graph().operand(v.node, 0)) {
        v = source;
    }
    v
}

/// Says which convolutions have ternary weights; they run as they are.
fn convolutions(module: &Module, cx: &mut Cx) {
    for function in module.functions.values() {
        let scope = Scope { graph: &function.graph, consts: &module.consts };
        for node in function.graph.order() {
            let weights = match function.graph.kind(node) {
                Some(Kind::Conv) => function.graph.operand(node, Conv::w).and_then(|w| scope.known(w)),
                _ => None,
            };
            let Some(matrix) = weights.as_ref().and_then(Matrix::of_filters) else { continue };
            if let Some(ternary) = trine_ternarize::find(&matrix) {
                let name = function.graph.name(Value { node, result: 0 });
                let (n, k, group) = (matrix.n, matrix.k, ternary.planes[0].group);
                cx.note(format!(
                    "convolution `%{name}` is ternary, [{n},{k}] in groups of {group}; it runs dense"
                ));
            }
        }
    }
}
