//! `ternary_matmul(x, w, scale)` on f32  →  the same on `x` rounded to int8, with one scale a row; and so for weights of 4
//! and 8 bits, as in [`detect-integers`](super::detect_integers)
//!
//! Lossy, and only on request: integer sums are the fastest that a ternary layer can be, and what a model that
//! was trained on f32 activations loses by them is for its owner to judge.

use std::cell::RefCell;
use std::rc::Rc;

use trine_ir::graph::Operands;
use trine_ir::ops::TernaryMatmul;
use trine_ir::{Graph, Kind, Module, Op, Stage, Value};

use super::detect_integers;
use crate::pass::{Cx, PassError};
use crate::pattern::{Rule, any, constant, maybe, op, refuse, rule};
use crate::ternarize;

const NAME: &str = "quantize-activations";

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    if module.stage > Stage::Ternary {
        let message = format!("the module is `{}` already", module.stage.name());
        return Err(PassError::Refused { pass: NAME, message });
    }
    let notes = Rc::new(RefCell::new(vec![]));
    let count = cx.apply(module, &[quantize(notes.clone()), detect_integers::detect(notes.clone(), true)]);
    notes.take().into_iter().for_each(|note| cx.note(note));
    Ok(count)
}

fn quantize(notes: Rc<RefCell<Vec<String>>>) -> Rule {
    let (x, w, scale, bias) = (any(), constant(), any(), any());
    let on_floats =
        |y: Value, graph: &Graph| matches!(graph.op(y.node), Some(Op::TernaryMatmul(matmul)) if !matmul.int8);
    let root = op(Kind::TernaryMatmul, [&x, &w, &scale, &maybe(&bias)])
        .filter(move |scope, y| on_floats(y, scope.graph));
    rule(NAME, root.clone(), move |m, g| {
        let Some(Op::TernaryMatmul(matmul)) = g.op(m[&root]) else { return refuse("not a ternary matmul") };
        let rounded = TernaryMatmul { int8: true, ..matmul.clone() };
        let operands = [Some(m[&x]), Some(m[&w]), Some(m[&scale]), m.get(&bias)];
        let args: Operands = operands.into_iter().flatten().map(Some).collect();
        notes.borrow_mut().push(format!("@{}: int8 activations", ternarize::weights_name(g, m[&w])));
        let node = g.add_node(rounded, &args)?;
        Ok(Value { node, result: 0 })
    })
}
