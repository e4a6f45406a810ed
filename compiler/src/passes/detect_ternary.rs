//! `matmul(x, W)` with `W[j,i] = scale[j,g] · t[j,i]` exactly  →  `ternary_matmul(x, t, scale)`
//!
//! Whatever the model computes from constants alone is evaluated, so it does not matter how the weights are
//! spelt: plain f32, casts of f16, integers dequantized in any grouping, or a subgraph that rounds them.
//! Activations become int8 only where the model itself rounds them so.

use std::cell::RefCell;
use std::rc::Rc;

use trine_ir::ops::TernaryMatmul;
use trine_ir::{Kind, Module, Op, Stage, Value};

use crate::pass::{Cx, PassError};
use crate::pattern::*;
use crate::ternarize::{self, Layer, Matrix};

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    if module.stage > Stage::Ternary {
        return Ok(0);
    }
    let layers = Rc::new(RefCell::new(vec![]));
    let count = cx.apply(module, &[detect(layers.clone()), ternarize::absorb_bias(), own_quantization()]);
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
    let root = ternarize::linear(&x, &w);
    rule("detect-ternary", root.clone(), move |m, g| {
        let matrix = ternarize::weights(g, m[&root], m[&w], false)?;
        let Some(ternary) = ternarize::find(&matrix) else { return refuse("the weights are not ternary") };
        let base = ternarize::weights_name(g, m[&w]);
        let y = match g.op(m[&w]) {
            Some(Op::DequantizeBlocks(blocks)) if blocks.int8 => {
                let block = blocks.block;
                ternary.matmul_of_blocks(g, m[&x], &base, block)?
            }
            _ => ternary.matmul(g, m[&x], &base, false)?,
        };
        let spelling = match g.graph().kind(m[&w].node) {
            None => "ternary as stored",
            Some(Kind::DequantizeBlocks) => "ternary in blocks of bits",
            Some(_) => "ternary as computed",
        };
        layers.borrow_mut().push(ternary.lossless_report(&base, spelling));
        Ok(y)
    })
}

/// `ternary_matmul(dequantize(quantize(x)))  →  ternary_matmul(x) {int8}` where a model rounds its activations
/// to int8 by the largest magnitude of a row, as BitNet does.
///
/// Exact but for the order of factors, for each row that there is, where
/// - the row is multiplied by `127/m`; `x / (m/127)` would round ties to other integers;
/// - a clip, if there is one, has bounds that no rounded value exceeds, as `|x|·(127/m)` rounds to 127 at most;
/// - `m` has a floor, so that a row of zeros is zero and not `0·(127/0)`, and the quotient of the floor is finite.
///
/// A row with NaN or ±∞ is NaN then, in the model by its own factor, and here by its scale.
fn own_quantization() -> Rule {
    let (x, w, scale, bias, floor) = (any(), constant(), any(), any(), scalar());
    let (low, high) = (scalar(), scalar());
    let largest = reduce_max(abs(&x));
    let absmax =
        any_of([op(Kind::Clip, [&largest, &floor]), op(Kind::Max, [&largest, &floor]), largest.clone()]);
    let (up, down) = (127.0 / &absmax, &absmax / 127.0);
    let clipped = |q: Pat| op(Kind::Clip, [&q, &low, &high]) | q;
    let divided = round(&x / &down);
    let rounded = any_of([
        clipped(round(&x * &up)) / &up,
        clipped(round(&x * &up)) * &down,
        clipped(divided.clone()) * &down,
    ]);
    let root = op(Kind::TernaryMatmul, [&rounded, &w, &scale, &maybe(&bias)]);
    rule("own-quantization", root.clone(), move |m, g| {
        let (Some(Op::TernaryMatmul(matmul)), Some(Op::ReduceMax(reduce))) =
            (g.op(m[&root]).cloned(), g.op(m[&largest]))
        else {
            return refuse("not a ternary matmul of rounded activations");
        };
        if reduce.axes != [g.ty(m[&x]).rank() - 1] || !reduce.keepdims {
            return refuse("activations are not quantized by rows");
        }
        if m.get(&divided).is_some() {
            return refuse("activations are divided by their scale, which rounds ties otherwise");
        }
        if let (Some(low), Some(high)) = (m.get(&low), m.get(&high)) {
            let (low, high) = (g.scalar(low)?, g.scalar(high)?);
            if !(low <= -127.0 && high >= 127.0) {
                return refuse(format!("rounded activations are cut to [{low}, {high}]"));
            }
        }
        let Some(floor) = m.get(&floor).map(|v| g.single(v)).transpose()? else {
            return refuse("a row of zeros has no scale");
        };
        if !(floor > 0.0 && (127.0 / floor).is_finite()) {
            return refuse(format!("a row of zeros has no scale, for its floor is {floor:?}"));
        }
        let op = TernaryMatmul { int8: true, floor: Some(floor), ..matmul };
        let node = g.add_node(op, &[Some(m[&x]), Some(m[&w]), Some(m[&scale]), m.get(&bias)])?;
        Ok(Value { node, result: 0 })
    })
}

/// Says which convolutions have ternary weights; they run as they are.
fn convolutions(module: &Module, cx: &mut Cx) {
    for function in module.functions.values() {
        let scope = Scope { graph: &function.graph, consts: &module.consts };
        for node in function.graph.order() {
            let weights = match function.graph.kind(node) {
                Some(Kind::Conv) => function.graph.operand(node, 1).and_then(|w| scope.known(w)),
                _ => None,
            };
            let Some(matrix) = weights.as_ref().and_then(Matrix::of_filters) else { continue };
            if let Some(ternary) = ternarize::find(&matrix) {
                let name = function.graph.name(Value { node, result: 0 });
                let (n, k, group) = (matrix.n, matrix.k, ternary.planes[0].group);
                cx.note(format!(
                    "convolution `%{name}` is ternary, [{n},{k}] in groups of {group}; it runs dense"
                ));
            }
        }
    }
}
