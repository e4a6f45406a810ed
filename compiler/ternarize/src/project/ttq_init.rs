//! Where trained ternary quantization starts (arXiv 1612.01064): weights within `0.05·max|w|` are zero, and those
//! beyond have a scale for each sign, here the mean of what they stand for.

use crate::Grid;
use crate::codebook::Codebook;
use crate::method::{Axes, Method, Projection, Role, Tier};

const THRESHOLD: f64 = 0.05;

pub const METHOD: Method = Method {
    name: "ttq-init",
    about: "weights under 0.05·max|w| of the row are zero, a scale for each sign",
    paper: "arXiv 1612.01064",
    tier: Tier::Weights,
    axes: Axes {
        projection: "threshold, two scales",
        optimizer: "none",
        granularity: "row",
        planes: "1 and its magnitudes",
    },
    role: Role::Project(Projection::Rows { codebook: |_| Codebook::signed(false), planes: 1..=1, project }),
};

fn project(w: &[f64], grid: &mut Grid) {
    for row in 0..grid.rows() {
        for group in 0..grid.groups() {
            let columns = grid.columns(group);
            let largest = w[row * grid.k..][columns.clone()].iter().fold(0f64, |m, v| m.max(v.abs()));
            for at in columns.map(|c| row * grid.k + c) {
                let trit = if w[at].abs() > THRESHOLD * largest { w[at].signum() as i8 } else { 0 };
                grid.codes[at] = grid.codebook.code(&[trit, trit.abs()]).unwrap_or(grid.codes[at]);
            }
        }
    }
    grid.fit(w);
}
