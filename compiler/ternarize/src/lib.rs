//! From real weights to ternary ones: `W ≈ Σ_p scale_p · T_p` with `T_p` in {-1, 0, +1}.
//!
//! A [`Recipe`] names a projection and what mends it; applied to a [`Matrix`], with [`Statistics`] of the layer's
//! inputs where a step needs them, it gives [`Quantized`] weights or a [`Refusal`]. Everything here
//! is a pure function of matrices. A method is a file of `project/` (weights alone) or `refine/` and a line of
//! [`METHODS`]. [`find`] is for weights that are ternary as they stand and loses nothing.

mod apply;
mod codebook;
mod depth;
mod find;
mod grid;
mod int8;
mod linalg;
mod matrix;
mod method;
mod metric;
mod project;
mod quantized;
mod recipe;
mod refine;
mod refusal;
mod registry;
mod report;
mod rotation;
mod statistics;

pub use depth::{Choice, Depth, allocate, choices};
pub use find::{could_be, find};
pub use int8::Int8;
pub use matrix::Matrix;
pub use method::{Axes, Method, Tier};
pub use metric::Metric;
pub use quantized::{Alphabet, Plane, Quantized};
pub use recipe::{OPTIONS, Recipe, ScaleBits, Settings};
pub use refine::columns::choose_exponent;
pub use refusal::Refusal;
pub use registry::METHODS;
pub use report::Layer;
pub use rotation::Rotation;
pub use statistics::Statistics;

use grid::Grid;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
