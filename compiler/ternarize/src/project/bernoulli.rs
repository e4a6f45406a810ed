//! `t = sign(w)` with probability `|w| / max|w|`, else 0, and `scale = max|w|`, so that `E[scale·t] = w`: the
//! stochastic quantizer of HitNet (NeurIPS 2018). Numbers are drawn by counter: same seed, same trits.

use super::{cells, sign};
use crate::Method;
use trine_ir::random::Draw;

pub const METHOD: Method = cells(
    "bernoulli",
    "the weight's sign with probability |w|/max|w| of the row, unbiased",
    "HitNet, NeurIPS 2018",
    "stochastic",
    "none",
    project,
);

fn project(w: &[f32], draw: Draw, trits: &mut [i8]) -> f32 {
    let largest = w.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (i, (w, t)) in w.iter().zip(trits).enumerate() {
        if draw.uniform(i) * f64::from(largest) < f64::from(w.abs()) {
            *t = sign(*w);
        }
    }
    largest
}
