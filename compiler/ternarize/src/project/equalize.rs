//! Two ways to make the three levels equal: in the mass of weights that each takes, or in the interval.
//!
//! By mass, a third of the row's weights is zero (the quantiles of balanced quantization, arXiv 1706.07145); by
//! interval, thresholds cut `[-max|w|, max|w|]` in three. Scales are the means of the magnitudes kept.

use super::{by_magnitude, cells, keep_above, sign};
use crate::Method;
use trine_ir::random::Draw;

const PAPER: &str = "arXiv 1706.07145, 2303.01505";

pub const MASS: Method = cells(
    "equal-mass",
    "the third of the row with the least magnitudes is zero",
    PAPER,
    "mass equalising",
    "none",
    by_mass,
);

pub const INTERVAL: Method = cells(
    "equal-interval",
    "weights under max|w|/3 of the row are zero",
    PAPER,
    "interval equalising",
    "none",
    by_interval,
);

fn by_mass(w: &[f32], _: Draw, trits: &mut [i8]) -> f32 {
    let order = by_magnitude(w);
    let kept = &order[..w.len() - w.len() / 3];
    let sum: f64 = kept.iter().map(|j| f64::from(w[*j].abs())).sum();
    kept.iter().for_each(|j| trits[*j] = sign(w[*j]));
    (sum / kept.len().max(1) as f64) as f32
}

fn by_interval(w: &[f32], _: Draw, trits: &mut [i8]) -> f32 {
    let largest = w.iter().fold(0f32, |m, v| m.max(v.abs()));
    keep_above(w, trits, f64::from(largest) / 3.0)
}
