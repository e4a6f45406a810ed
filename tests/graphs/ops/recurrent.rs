//! Recurrent layers in every direction, with weights that are ternary now and then.

use trine_ir::Elem::*;

use crate::graphs::build::{Builder, Size, Val};
use crate::graphs::data::{self, Draw};
use crate::graphs::proto::{int, text};

pub fn layer(b: &mut Builder) -> Option<()> {
    let (op, gates) = b.choices.pick(&[("RNN", 1), ("GRU", 3), ("LSTM", 4)]);
    let fit = |v: &Val| {
        v.elem == F32
            && v.rank() == 3
            && v.last().constant().is_some_and(|n| n > 0)
            && v.dims[..2].iter().all(|d| d.known() && d.least() > 0)
    };
    let x = match b.find(fit) {
        Some(x) => x,
        None => {
            let (seq, batch) = (b.size(), b.size());
            let more = |s: Size| if s.least() == 0 { Size::fixed(2) } else { s };
            b.leaf(F32, &[more(seq), more(batch), Size::fixed(8)])
        }
    };
    let (seq, batch, width) = (x.dims[0], x.dims[1], x.last().constant()?);
    let hidden = b.choices.pick(&[2, 4, 8]);
    let direction = b.choices.pick(&["forward", "forward", "reverse", "bidirectional"]);
    let d = if direction == "bidirectional" { 2 } else { 1 };
    let draw = if b.choices.chance(40) { Draw::Ternary(0.5) } else { Draw::Reals };
    let weights = |b: &mut Builder, dims: &[usize], draw| {
        let t = data::tensor(F32, dims, draw, b.choices.seed());
        b.tensor(t)
    };
    let w = weights(b, &[d, gates * hidden, width], draw);
    let r = weights(b, &[d, gates * hidden, hidden], draw);
    let mut inputs = vec![x.name.clone(), w, r];
    if b.choices.chance(60) {
        inputs.push(weights(b, &[d, 2 * gates * hidden], Draw::Reals));
    }
    let states = vec![Size::fixed(d), batch, Size::fixed(hidden)];
    if b.choices.chance(40) {
        inputs.resize(5, String::new());
        inputs.push(b.leaf(F32, &states).name);
    }
    let mut attributes = vec![int("hidden_size", hidden as i64), text("direction", direction)];
    if op == "GRU" && b.choices.chance(50) {
        attributes.push(int("linear_before_reset", 1));
    }
    let mut results =
        vec![(F32, vec![seq, Size::fixed(d), batch, Size::fixed(hidden)]), (F32, states.clone())];
    if op == "LSTM" {
        results.push((F32, states));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit(op, &inputs, attributes, &results)?;
    Some(())
}

/// A recurrence in a scan of the model's own, around a product.
pub fn linear(b: &mut Builder) -> Option<()> {
    let (seq, batch, n) = (b.size(), b.size(), b.choices.pick(&[4usize, 8]));
    let width = Size::fixed(n);
    let x = b.leaf(F32, &[seq, batch, width]);
    let state = b.leaf(F32, &[batch, width]);
    let draw = if b.choices.chance(60) { Draw::Ternary(0.25) } else { Draw::Reals };
    let w = data::tensor(F32, &[n, n], draw, b.choices.seed());
    let w = b.tensor(w);
    let dims = vec![batch, width];
    let own = [(F32, dims.clone()), (F32, dims.clone())];
    let body = b.body(&own, |b, p| {
        let y = b.emit1("MatMul", &[&p[0].name, &w], vec![], F32, dims.clone())?;
        let y = b.emit1("Add", &[&y.name, &p[1].name], vec![], F32, dims.clone())?;
        let y = b.emit1("Tanh", &[&y.name], vec![], F32, dims.clone())?;
        let out = b.emit1("Identity", &[&y.name], vec![], F32, dims.clone())?;
        Some(vec![y, out])
    })?;
    let attributes = vec![crate::graphs::proto::graph("body", body), int("num_scan_inputs", 1)];
    let results = [(F32, dims), (F32, vec![seq, batch, width])];
    b.emit("Scan", &[&state.name, &x.name], attributes, &results)?;
    Some(())
}
