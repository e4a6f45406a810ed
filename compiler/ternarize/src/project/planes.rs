//! Several planes fitted together (PTQTP, arXiv 2509.16989): a small ridge solve for the scales and a search
//! through all codes for the trits, in turn; free, or tied so that each scale is a third of the one before and
//! the levels are even.

use super::alternate::{alternate, start};
use crate::codebook::Codebook;
use crate::method::{Axes, Method, Projection, Role, Tier};
use crate::{Alphabet, Grid};

/// Rounds until which scales settle.
const ROUNDS: usize = 30;

pub const METHOD: Method = Method {
    name: "ptqtp",
    about: "planes with scales of their own, fitted together",
    paper: "arXiv 2509.16989",
    tier: Tier::Weights,
    axes: Axes {
        projection: "least squares",
        optimizer: "alternation",
        granularity: "row",
        planes: "2 to 4",
    },
    role: Role::Project(Projection::Rows {
        codebook: |planes| Codebook::planes(Alphabet::Ternary, planes, false),
        planes: 2..=4,
        project,
    }),
};

pub const TIED: Method = Method {
    name: "tied",
    about: "planes whose scales are thirds of one another: even levels",
    paper: "arXiv 2509.16989",
    tier: Tier::Weights,
    axes: Axes {
        projection: "least squares, even levels",
        optimizer: "alternation",
        granularity: "row",
        planes: "2 to 4",
    },
    role: Role::Project(Projection::Rows {
        codebook: |planes| Codebook::planes(Alphabet::Ternary, planes, true),
        planes: 2..=4,
        project,
    }),
};

fn project(w: &[f64], grid: &mut Grid) {
    let planes = grid.codebook.alphabets().len() as i32;
    start(w, grid, |w, coefficients| {
        let mean = w.iter().map(|w| w.abs()).sum::<f64>() / w.len() as f64;
        let first = if planes == 2 { 1.2 } else { 1.4 } * mean;
        match coefficients {
            [step] => *step = first / 3f64.powi(planes - 1),
            scales => scales.iter_mut().enumerate().for_each(|(p, s)| *s = first / 3f64.powi(p as i32)),
        }
    });
    alternate(w, grid, ROUNDS);
}
