//! Recurrent layers: RNN, GRU and LSTM as ONNX defines them.
//!
//! All take a sequence `x: [seq, batch, input]`, weights `w: [directions, gates·hidden, input]` on it and
//! `r: [directions, gates·hidden, hidden]` on the state, and `bias: [directions, 2·gates·hidden]`, those of `w` and then
//! those of `r`. `lens: i32[batch]` are the lengths of shorter sequences, whose results are zero after them.
//! `initial_h: [directions, batch, hidden]` is zero if absent. Results are `y: [seq, directions, batch, hidden]`,
//! every state, and the last one `[directions, batch, hidden]`. There are as many activations for each direction
//! as the equations name; `clip` bounds what gates are activated on.

mod activation;
mod cell;

pub use activation::Activation;

use super::require::may_equal;
use super::window::result_dims;
use super::*;
use crate::ty::Elem;
use crate::{attr_enum, bail, op};
use cell::{Gated, Unroll, evaluate};

attr_enum! {
    /// Which way a sequence is read; bidirectional layers have two sets of weights, forward first.
    Direction {
        Forward = "forward",
        Reverse = "reverse",
        Bidirectional = "bidirectional",
    }
}

op! {
    /// `h = f(W·x + Wb + R·h + Rb)`.
    Rnn = "rnn" (x, w, r, bias: optional, lens: optional, initial_h: optional) {
        direction: Direction, activations: Vec<Activation>, clip: Option<f32>,
    }
}

op! {
    /// Gates `z, r, h` in that order, activated by `f, f, g` (arXiv 1406.1078): `z = f(W·x + Wb + R·h + Rb)`, so `r`, and
    /// `n = g(W·x + Wb + R·(r⊙h) + Rb)`, or `n = g(W·x + Wb + r⊙(R·h + Rb))` with `linear_before_reset`; then
    /// `h = (1 - z)⊙n + z⊙h`.
    Gru = "gru" (x, w, r, bias: optional, lens: optional, initial_h: optional) {
        direction: Direction, activations: Vec<Activation>, clip: Option<f32>, linear_before_reset: bool,
    }
}

op! {
    /// Gates `i, o, f, c` in that order, activated by `f, f, f, g`, each `f(W·x + Wb + R·h + Rb [+ p⊙c])`:
    /// `c = f⊙c + i⊙g(…)` and `h = o⊙h(c)`. ONNX LSTM.
    ///
    /// `initial_c` is shaped like `initial_h`. `peepholes: [directions, 3·hidden]` are the `p` of `i`, `o` (on the new `c`) and
    /// `f`. With `input_forget`, `f = 1 - i`. The third result is the last `c`.
    Lstm = "lstm" (
        x, w, r, bias: optional, lens: optional, initial_h: optional, initial_c: optional, peepholes: optional,
    ) {
        direction: Direction, activations: Vec<Activation>, clip: Option<f32>, input_forget: bool,
    }
}

impl Direction {
    pub fn count(self) -> usize {
        match self {
            Direction::Bidirectional => 2,
            _ => 1,
        }
    }
}

macro_rules! layers {
    ($($name:ident: $gates:literal gates, $activations:literal activations, $states:literal states,
       $gated:expr;)*) => { $(
        impl OpDef for $name {
            fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
                check(&args, self.direction, $gates, $states, (&self.activations, $activations), module)
            }

            fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
                let gated: fn(&$name) -> Gated = $gated;
                let unroll = Unroll {
                    gated: gated(self),
                    gates: $gates,
                    direction: self.direction,
                    activations: &self.activations,
                    clip: self.clip,
                    y: result_dims(self, &args)?,
                };
                let mut results = evaluate(&unroll, &args)?;
                results.truncate(1 + $states);
                Ok(results)
            }
        }
    )* };
}

layers! {
    Rnn: 1 gates, 1 activations, 1 states, |_| Gated::None;
    Gru: 3 gates, 2 activations, 1 states, |op| Gated::Update { linear_before_reset: op.linear_before_reset };
    Lstm: 4 gates, 3 activations, 2 states, |op| Gated::Memory { input_forget: op.input_forget };
}

/// The types of results of a layer with `states` states.
fn check(
    args: &Args<Type>,
    direction: Direction,
    gates: usize,
    states: usize,
    (activations, per_direction): (&[Activation], usize),
    module: &dyn Signatures,
) -> OpResult<Vec<Type>> {
    let (x, w, r) = (&args[0], &args[1], &args[2]);
    let directions = direction.count();
    if activations.len() != directions * per_direction {
        bail!("{} activations where {directions} × {per_direction} are needed", activations.len());
    }
    if !x.elem.is_float() || x.rank() != 3 || r.rank() != 3 {
        bail!("expects sequences of floats as [seq,batch,input] and weights of three axes, got {x} and {r}");
    }
    let Some(hidden) = r.dims[2].as_const() else { bail!("the hidden size in {r} is not constant") };
    if hidden.checked_mul(8).is_none() {
        bail!("the hidden size in {r} is too large");
    }
    let rows = gates * hidden;
    let (one, batch) = (Dim::constant, x.dims[1].clone());
    let state = vec![one(directions), batch.clone(), one(hidden)];
    let expected = [
        ("w", Some(w), x.elem, vec![one(directions), one(rows), x.dims[2].clone()]),
        ("r", Some(r), x.elem, vec![one(directions), one(rows), one(hidden)]),
        ("bias", args.get(3), x.elem, vec![one(directions), one(2 * rows)]),
        ("lens", args.get(4), Elem::I32, vec![batch]),
        ("initial_h", args.get(5), x.elem, state.clone()),
        ("initial_c", args.get(6), x.elem, state.clone()),
        ("peepholes", args.get(7), x.elem, vec![one(directions), one(3 * hidden)]),
    ];
    for (name, given, elem, dims) in expected {
        if let Some(given) = given {
            let fits = given.rank() == dims.len()
                && given.dims.iter().zip(&dims).all(|(a, b)| may_equal(a, b, module));
            if given.elem != elem || !fits {
                bail!("`{name}` is {given}, not {}", Type { elem, dims });
            }
        }
    }
    let last = Type { elem: x.elem, dims: state };
    let mut y = last.clone();
    y.dims.insert(0, x.dims[0].clone());
    Ok([y].into_iter().chain(std::iter::repeat_n(last, states)).collect())
}
