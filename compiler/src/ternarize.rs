//! From real weights to ternary ones: `W ≈ scale · T` with `T` in {-1, 0, +1}.
//!
//! A method says how one cell of weights (a whole matrix, a row, or a group of a row) is rounded; all else,
//! orientation, grouping, packing and the error, is common. [`find`] is for weights that are ternary as they
//! stand and loses nothing.

mod absmean;
mod exact;
mod find;
mod layer;
mod twn;

pub use find::find;
pub use layer::{absorb_bias, linear, weights, weights_name};

use rayon::prelude::*;
use trine_ir::ops::groups;
use trine_ir::{Elem, Tensor, TensorError};

/// A way to round weights.
pub struct Method {
    pub name: &'static str,
    /// What it does, with its paper.
    pub about: &'static str,
    /// Whether one scale serves the matrix rather than a row, unless a group is asked for.
    pub whole: bool,
    /// Rounds a cell to trits and returns its scale. Weights are finite, trits come zeroed.
    project: fn(&[f32], &mut [i8]) -> f32,
}

/// Every method there is.
pub const METHODS: &[Method] = &[
    Method {
        name: "absmean",
        about: "scale = mean|w| of the matrix, w/scale rounded and clipped (BitNet b1.58, arXiv 2402.17764)",
        whole: true,
        project: absmean::project,
    },
    Method {
        name: "twn",
        about: "weights under 0.7·mean|w| of the row are zero, scale = mean of the others (arXiv 1605.04711)",
        whole: false,
        project: twn::project,
    },
    Method {
        name: "exact",
        about: "threshold and scale of the row that minimise the squared error",
        whole: false,
        project: exact::project,
    },
];

/// A weight matrix, a row an output: `[n, k]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub n: usize,
    pub k: usize,
    pub values: Vec<f32>,
}

/// Trits `[n, k]` and scales `[n, groups]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ternary {
    pub n: usize,
    pub k: usize,
    /// Weights a scale serves.
    pub group: usize,
    pub trits: Vec<i8>,
    pub scales: Vec<f32>,
}

/// How the weights of one layer became ternary.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The constant that held them.
    pub weights: String,
    pub n: usize,
    pub k: usize,
    pub group: usize,
    /// The method, or how they were spelt where they were ternary already.
    pub method: String,
    /// `‖W − Q‖² / ‖W‖²`.
    pub error: f64,
    /// The share of zeros, 0 to 1.
    pub zeros: f64,
    /// Bits a weight, scales counted.
    pub bits: f64,
}

impl Matrix {
    /// The filters of a convolution `[outputs, inputs, …]`, a row each.
    pub fn of_filters(w: &Tensor) -> Option<Matrix> {
        let (n, rest) = w.dims().split_first()?;
        Some(Matrix { n: *n, k: rest.iter().product(), values: w.values::<f32>().ok()?.into_owned() })
    }
}

impl Method {
    pub fn named(name: &str) -> Option<&'static Method> {
        METHODS.iter().find(|m| m.name == name)
    }

    /// Rounds a matrix of finite weights; `group` cuts its rows into cells of so many.
    pub fn apply(&self, w: &Matrix, group: Option<usize>) -> Ternary {
        let k = w.k.max(1);
        let mut trits = vec![0i8; w.values.len()];
        let group = group.unwrap_or(k).clamp(1, k);
        if self.whole && group == k {
            let scale = (self.project)(&w.values, &mut trits);
            return Ternary { n: w.n, k: w.k, group, trits, scales: vec![scale; w.n] };
        }
        let rows = w.values.par_chunks(k).zip(trits.par_chunks_mut(k));
        let scales = rows.flat_map_iter(|(w, t)| {
            w.chunks(group).zip(t.chunks_mut(group)).map(|(w, t)| (self.project)(w, t))
        });
        let mut scales: Vec<f32> = scales.collect();
        scales.resize(w.n * groups(w.k, group), 0.0);
        Ternary { n: w.n, k: w.k, group, trits, scales }
    }
}

impl Ternary {
    /// The weights as `trit[n,k]`.
    pub fn weights(&self) -> Result<Tensor, TensorError> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.trits);
        Tensor::pack(Elem::Trit, vec![self.n, self.k], bytes)
    }

    /// The scales as `f32[n,groups]`.
    pub fn scale(&self) -> Result<Tensor, TensorError> {
        Tensor::from_vec(vec![self.n, groups(self.k, self.group)], self.scales.clone())
    }

    /// What the trits stand for.
    pub fn dequantized(&self) -> Matrix {
        let rows = self.trits.chunks(self.k.max(1)).zip(self.scales.chunks(groups(self.k, self.group)));
        let cells = rows.flat_map(|(t, s)| t.chunks(self.group).zip(s));
        let values = cells.flat_map(|(t, s)| t.iter().map(move |t| f32::from(*t) * s)).collect();
        Matrix { n: self.n, k: self.k, values }
    }

    /// The row of the report that compares this with the weights it was made from.
    pub fn report(&self, weights: &str, method: &str, w: &Matrix) -> Layer {
        let (mut lost, mut all) = (0f64, 0f64);
        for (w, q) in w.values.iter().zip(&self.dequantized().values) {
            lost += (f64::from(*w) - f64::from(*q)).powi(2);
            all += f64::from(*w).powi(2);
        }
        let count = self.trits.len().max(1) as f64;
        // One scale for all is one, however often it is written.
        let scales = if self.scales.iter().all(|s| *s == self.scales[0]) { 1 } else { self.scales.len() };
        Layer {
            weights: weights.into(),
            n: self.n,
            k: self.k,
            group: self.group,
            method: method.into(),
            error: if all > 0.0 { lost / all } else { 0.0 },
            zeros: self.trits.iter().filter(|t| **t == 0).count() as f64 / count,
            bits: 3f64.log2() + 32.0 * scales as f64 / count,
        }
    }
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Layer { weights, n, k, group, method, error, zeros, bits } = self;
        write!(f, "`@{}` [{n},{k}]: {method}", weights.escape_debug())?;
        if group < k {
            write!(f, ", a scale per {group}")?;
        }
        write!(f, ", error {error:.3}, {:.0}% zeros, {bits:.2} bits a weight", zeros * 100.0)
    }
}

/// Sets the trits of weights beyond `threshold` to their signs; returns sum and number of magnitudes kept.
fn keep_above(w: &[f32], trits: &mut [i8], threshold: f64) -> (f64, usize) {
    let (mut sum, mut kept) = (0f64, 0);
    for (w, t) in w.iter().zip(trits) {
        let magnitude = f64::from(w.abs());
        if magnitude > threshold {
            *t = if *w < 0.0 { -1 } else { 1 };
            sum += magnitude;
            kept += 1;
        }
    }
    (sum, kept)
}

fn mean_magnitude(w: &[f32]) -> f64 {
    w.iter().map(|w| f64::from(w.abs())).sum::<f64>() / w.len().max(1) as f64
}

#[cfg(test)]
mod tests;
