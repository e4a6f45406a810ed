//! `argmin ‖w − s·t‖²`: with the m largest magnitudes kept the best scale is their mean, and the error falls
//! by `S_m² / m`, so the best m is found in one walk over the sorted magnitudes (LBW-Net, arXiv 1612.06052).

use super::{by_magnitude, cells, sign};
use crate::Method;
use trine_ir::random::Draw;

pub const METHOD: Method = cells(
    "exact",
    "threshold and scale of the row that minimise the squared error",
    "arXiv 1612.06052",
    "least squares",
    "exact, by sorting",
    project,
);

pub fn project(w: &[f32], _: Draw, trits: &mut [i8]) -> f32 {
    let order = by_magnitude(w);
    let (mut sum, mut best, mut kept, mut scale) = (0f64, 0f64, 0, 0f64);
    for (i, j) in order.iter().enumerate() {
        sum += f64::from(w[*j].abs());
        let m = (i + 1) as f64;
        if sum * sum / m > best {
            (best, kept, scale) = (sum * sum / m, i + 1, sum / m);
        }
    }
    for j in &order[..kept] {
        trits[*j] = sign(w[*j]);
    }
    scale as f32
}
