//! Refinements: what mends rounded weights, most of them with statistics of the layer's inputs.

pub mod admm;
pub mod angle;
pub mod bias;
pub mod columns;
pub mod compensate;
pub mod descent;
pub mod gptq;
pub mod offset;
pub mod refit;
pub mod slq;
pub mod tequila;

use super::codebook::Codebook;
use super::method::{Axes, Method, Refinement, Role, Rows, Tier};
use super::{Grid, Refusal};

/// A calibrated step that rounds to any codebook.
const fn step(
    name: &'static str,
    about: &'static str,
    paper: &'static str,
    optimizer: &'static str,
    run: fn(&Rows, Grid) -> Result<Grid, Refusal>,
) -> Method {
    let axes =
        Axes { projection: "nearest level", optimizer, granularity: "as projected", planes: "as projected" };
    let role = Role::Refine(Refinement { run, moves_codes: true, refuses: any });
    Method { name, about, paper, tier: Tier::Calibrated, axes, role }
}

/// Refuses no codebook.
fn any(_: &Codebook) -> Option<&'static str> {
    None
}

/// `w − q`, `[rows, k]`.
fn difference(w: &[f64], grid: &Grid) -> Vec<f64> {
    w.iter().zip(grid.values()).map(|(w, q)| w - q).collect()
}

/// Rows of `other` where its error under the metric is less, and of the grid elsewhere. `errors` are the grid's.
fn keep_best(rows: &Rows, grid: &mut Grid, errors: &mut [f64], other: &Grid) {
    let others = rows.metric.squares(&difference(rows.w, other));
    for (row, (best, error)) in errors.iter_mut().zip(others).enumerate() {
        if error < *best {
            *best = error;
            grid.take_row(row, other);
        }
    }
}
