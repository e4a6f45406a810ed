//! `t = sign(w)` where `|w|` is beyond a share of `mean|w|`, `scale` = mean of those `|w|`: ternary weight
//! networks (arXiv 1605.04711). The share is 0.7 for weights between uniform and Gaussian; 0.75 is also in use.

use super::{cells, keep_above, mean_magnitude};
use crate::Method;
use trine_ir::random::Draw;

const PAPER: &str = "arXiv 1605.04711";

pub const METHOD: Method = cells(
    "twn",
    "weights under 0.7·mean|w| of the row are zero, scale = mean of the others",
    PAPER,
    "threshold",
    "none",
    project,
);

pub const WIDER: Method =
    cells("twn75", "as twn, with 0.75·mean|w|", PAPER, "threshold", "none", project_wider);

fn project(w: &[f32], _: Draw, trits: &mut [i8]) -> f32 {
    keep_above(w, trits, 0.7 * mean_magnitude(w))
}

fn project_wider(w: &[f32], _: Draw, trits: &mut [i8]) -> f32 {
    keep_above(w, trits, 0.75 * mean_magnitude(w))
}
