//! Three-means of a row: any three values, the centroids of the weights nearest to them (arXiv 1803.03289).

use super::alternate::{alternate, start};
use crate::Grid;
use crate::codebook::Codebook;
use crate::method::{Axes, Method, Projection, Role, Tier};

/// Rounds until which centroids settle.
const ROUNDS: usize = 40;

pub const METHOD: Method = Method {
    name: "three-means",
    about: "the centroids of three clusters of the row",
    paper: "arXiv 1803.03289",
    tier: Tier::Weights,
    axes: Axes {
        projection: "clustering",
        optimizer: "alternation",
        granularity: "row",
        planes: "1 and its magnitudes",
    },
    role: Role::Project(Projection::Rows { codebook: |_| Codebook::signed(true), planes: 1..=1, project }),
};

fn project(w: &[f64], grid: &mut Grid) {
    start(w, grid, |w, coefficients| {
        let low = w.iter().copied().fold(f64::INFINITY, f64::min) / 2.0;
        let high = w.iter().copied().fold(f64::NEG_INFINITY, f64::max) / 2.0;
        // Levels low, 0 and high.
        coefficients.copy_from_slice(&[(high - low) / 2.0, (high + low) / 2.0, 0.0]);
    });
    alternate(w, grid, ROUNDS);
}
