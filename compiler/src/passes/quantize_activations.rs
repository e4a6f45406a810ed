//! `ternary_matmul(x, w, scale)` on f32  →  the same on `x` rounded to int8, with one scale a row, or with `block` one for
//! each block of so many inputs, at most those of a group of the weights; and so for weights of 4 and 8 bits, as in
//! [`detect-integers`](super::detect_integers)
//!
//! Lossy, and only on request: integer sums are the fastest that a ternary layer can be, and what a model that
//! was trained on f32 activations loses by them is for its owner to judge.

use std::cell::RefCell;
use std::rc::Rc;

use trine_ir::attr::Flag;
use trine_ir::graph::Operands;
use trine_ir::ops::TernaryMatmul;
use trine_ir::{Dim, Graph, Kind, Module, Op, Stage, Value};

use super::detect_integers::{self, Asked};
use super::sharing::{Sharing, in_blocks};
use crate::layers;
use crate::pass::{Cx, PassError};
use crate::pattern::{Refusal, Rewrite, Rule, any, constant, maybe, op, refuse, rule};

const NAME: &str = "quantize-activations";

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    if module.stage > Stage::Ternary {
        let message = format!("the module is `{}` already", module.stage.name());
        return Err(PassError::Refused { pass: NAME, message });
    }
    let notes = Rc::new(RefCell::new(vec![]));
    let sharing = cx.options.value(NAME, "block", Sharing::Row)?;
    let asked = Asked::Yes(sharing);
    let count =
        cx.apply(module, &[quantize(notes.clone(), sharing), detect_integers::detect(notes.clone(), asked)]);
    notes.take().into_iter().for_each(|note| cx.note(note));
    Ok(count)
}

fn quantize(notes: Rc<RefCell<Vec<String>>>, sharing: Sharing) -> Rule {
    let (x, w, scale, bias) = (any(), constant(), any(), any());
    let on_floats =
        |y: Value, graph: &Graph| matches!(graph.op(y.node), Some(Op::TernaryMatmul(matmul)) if !matmul.int8);
    let root = op(Kind::TernaryMatmul, [&x, &w, &scale, &maybe(&bias)])
        .filter(move |scope, y| on_floats(y, scope.graph));
    rule(NAME, root.clone(), move |m, g| {
        let Some(Op::TernaryMatmul(matmul)) = g.op(m[&root]) else { return refuse("not a ternary matmul") };
        let mut rounded = TernaryMatmul { int8: true, ..matmul.clone() };
        let mut scale = m[&scale];
        let k = matmul_inputs(g, m[&w])?;
        if let Some(block) = sharing.block(k, rounded.group) {
            match in_blocks(g, scale, (k, rounded.group), block)? {
                Some(finer) => {
                    rounded = TernaryMatmul { group: block, blocks: Flag(true), ..rounded };
                    scale = finer;
                }
                None => notes.borrow_mut().push(format!(
                    "@{}: a scale a row, as blocks of {block} do not fill its {k} inputs and their groups",
                    layers::weights_name(g, m[&w])
                )),
            }
        }
        let operands = [Some(m[&x]), Some(m[&w]), Some(scale), m.get(&bias)];
        let args: Operands = operands.into_iter().flatten().map(Some).collect();
        notes.borrow_mut().push(format!("@{}: int8 activations", layers::weights_name(g, m[&w])));
        let node = g.add_node(rounded, &args)?;
        Ok(Value { node, result: 0 })
    })
}

fn matmul_inputs(g: &Rewrite, w: Value) -> Result<usize, Refusal> {
    match g.ty(w).back(0).and_then(Dim::as_const) {
        Some(k) => Ok(k),
        None => refuse("weights of unknown length"),
    }
}
