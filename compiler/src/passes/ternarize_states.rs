//! `lstm(x, w, r, …)  →  scan(step, x·wᵀ)` whose states are ternary, `h = sign(h̃)·1[|h̃| > θ]`, and so `gru` and `rnn`
//!
//! The hybrid quantizer of HitNet (NeurIPS 2018), whose weights are what `ternarize` makes of them: `h` becomes so in what
//! the layer gives and in what its next step reads. Lossy, and only by name. Options: those of [`States`]; random numbers
//! depend on the seed and on layer, direction, step, batch and unit alone.

use trine_ir::Module;

use crate::pass::{Cx, PassError};
use crate::recurrent::{Settings, open};
use crate::rounding::{Request, States};

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let States { hidden, slope } = States::read(&cx.options)?;
    let slope = (slope != 1.0).then_some(slope);
    Ok(open(module, cx, States::PASS, &Settings { hidden, slope, ..Settings::default() }))
}
