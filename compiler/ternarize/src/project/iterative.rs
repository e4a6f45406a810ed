//! Iterative quantization (arXiv 1707.09870): `α = VᵀQ / QᵀQ` and `Q = Π(V / α)` in turn, from `α = mean|w|`; and
//! the same with an offset (the asymmetric fit of PT²-LLM, arXiv 2510.03267).

use super::alternate::{alternate, start};
use crate::Grid;
use crate::codebook::Codebook;
use crate::method::{Axes, Method, Projection, Role, Tier};

/// Rounds until which scales settle.
const ROUNDS: usize = 20;

pub const METHOD: Method = Method {
    name: "iterative",
    about: "rounding and refitting the scale in turn, as ADMM's projection does",
    paper: "arXiv 1707.09870",
    tier: Tier::Weights,
    axes: Axes { projection: "least squares", optimizer: "alternation", granularity: "row", planes: "1" },
    role: Role::Project(Projection::Rows { codebook: |_| Codebook::ternary(), planes: 1..=1, project }),
};

pub const ASYMMETRIC: Method = Method {
    name: "asymmetric",
    about: "as iterative, with an offset besides the scale",
    paper: "arXiv 2510.03267",
    tier: Tier::Weights,
    axes: Axes {
        projection: "least squares, offset",
        optimizer: "alternation",
        granularity: "row",
        planes: "1",
    },
    role: Role::Project(Projection::Rows {
        codebook: |_| Codebook::ternary().with_offset(),
        planes: 1..=1,
        project,
    }),
};

fn project(w: &[f64], grid: &mut Grid) {
    start(w, grid, |w, coefficients| {
        let count = w.len() as f64;
        let mean = if coefficients.len() > 1 { w.iter().sum::<f64>() / count } else { 0.0 };
        coefficients[0] = w.iter().map(|w| (w - mean).abs()).sum::<f64>() / count;
        coefficients[1..].fill(mean);
    });
    alternate(w, grid, ROUNDS);
}
