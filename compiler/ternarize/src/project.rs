//! Projections: what weights are first rounded to, by themselves.

pub mod absmean;
pub mod alternate;
pub mod bernoulli;
pub mod binary;
pub mod equalize;
pub mod exact;
pub mod half_std;
pub mod hypersphere;
pub mod iterative;
pub mod planes;
pub mod smart;
pub mod sparse34;
pub mod three_means;
pub mod ttq_init;
pub mod twn;

use super::method::{Axes, Method, Projection, Role, Tier};

/// A projection of cells to trits and a scale.
const fn cells(
    name: &'static str,
    about: &'static str,
    paper: &'static str,
    projection: &'static str,
    optimizer: &'static str,
    project: fn(&[f32], trine_ir::random::Draw, &mut [i8]) -> f32,
) -> Method {
    let axes = Axes { projection, optimizer, granularity: "row", planes: "1 to 4, of what is left" };
    let role =
        Role::Project(Projection::Cells { whole: false, binary: false, keeps_pattern: false, project });
    Method { name, about, paper, tier: Tier::Weights, axes, role }
}

/// Sets the trits of weights beyond `threshold` to their signs; returns the mean of the magnitudes kept.
fn keep_above(w: &[f32], trits: &mut [i8], threshold: f64) -> f32 {
    let (mut sum, mut kept) = (0f64, 0);
    for (w, t) in w.iter().zip(trits) {
        let magnitude = f64::from(w.abs());
        if magnitude > threshold {
            *t = sign(*w);
            sum += magnitude;
            kept += 1;
        }
    }
    if kept == 0 { 0.0 } else { (sum / f64::from(kept)) as f32 }
}

fn mean_magnitude(w: &[f32]) -> f64 {
    w.iter().map(|w| f64::from(w.abs())).sum::<f64>() / w.len().max(1) as f64
}

fn sign(w: f32) -> i8 {
    if w < 0.0 { -1 } else { 1 }
}

/// Places of weights by falling magnitude.
fn by_magnitude(w: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..w.len()).collect();
    order.sort_unstable_by(|a, b| w[*b].abs().total_cmp(&w[*a].abs()).then(a.cmp(b)));
    order
}
