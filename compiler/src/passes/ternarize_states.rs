//! `lstm(x, w, r, …)  →  scan(step, x·wᵀ)` whose states are ternary, `h = sign(h̃)·1[|h̃| > θ]`, and so `gru` and `rnn`
//!
//! The hybrid quantizer of HitNet (NeurIPS 2018), whose weights are what `ternarize` makes of them. Lossy, and only by
//! name. Options: `hidden`, what `h` becomes, in what the layer gives and in what its next step reads: `threshold` (default,
//! `θ = 1/2`), `mean` (`θ = 0.7·mean|h̃|` of the example, as `twn` rounds weights), `bernoulli` (`θ` uniform in [0, 1), so that `h̃` stays the mean), or `keep`; `seed` of the random numbers, which
//! depend on it and on layer, direction, step, batch and unit alone; `slope`, the `λ` in the `σ(λx)` of gates, 1 if absent.

use trine_ir::Module;

use crate::pass::{Cx, PassError};
use crate::recurrent::{Hidden, Settings, open};

const NAME: &str = "ternarize-states";

/// The steepest `σ(λx)`: beyond it is a step for any number that matters.
const STEEPEST: f32 = 1e6;

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let refused = |message: String| Err(PassError::Option { pass: NAME, message });
    let seed = cx.options.value(NAME, "seed", 0u64)?;
    let hidden = match cx.options.get("hidden").unwrap_or("threshold") {
        "threshold" => Hidden::Threshold,
        "bernoulli" => Hidden::Bernoulli { seed },
        "mean" => Hidden::Mean,
        "keep" => Hidden::Keep,
        other => {
            let other = other.escape_debug();
            return refused(format!("`hidden` is `threshold`, `mean`, `bernoulli` or `keep`, not `{other}`"));
        }
    };
    let slope = cx.options.value(NAME, "slope", 1f32)?;
    if !(slope > 0.0 && slope <= STEEPEST) {
        return refused(format!("`slope` is a number above 0 and up to {STEEPEST}, not {slope}"));
    }
    let slope = (slope != 1.0).then_some(slope);
    Ok(open(module, cx, NAME, &Settings { hidden, slope, ..Settings::default() }))
}
