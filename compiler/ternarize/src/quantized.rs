//! Rounded weights: `W ≈ (Σ_p α_p·T_p + μ)·diag(c)`, with a bias that makes up for what was lost.

use half::f16;
use trine_ir::ops::groups;
use trine_ir::{Elem, Tensor, TensorError};

use super::metric::dot;
use super::{Layer, Matrix, Metric};

/// The weights of a layer as planes of trits.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    pub n: usize,
    pub k: usize,
    pub planes: Vec<Plane>,
    /// To be added to the layer's outputs, `[n]`.
    pub bias: Option<Vec<f32>>,
    /// What inputs are multiplied by before the planes see them, `[k]`.
    pub column_scale: Option<Vec<f32>>,
}

/// Trits `[n, k]` with scales and offsets `[n, groups]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    pub alphabet: Alphabet,
    /// Weights a scale serves.
    pub group: usize,
    pub trits: Vec<i8>,
    pub scales: Vec<f32>,
    /// What is added to each weight.
    pub offset: Option<Vec<f32>>,
}

/// What the trits of a plane can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// -1, 0 and 1.
    Ternary,
    /// -1 and 1.
    Binary,
    /// The magnitudes of the plane before, which make the scales of 1 and -1 differ. They cost nothing to know.
    Magnitude,
}

impl Alphabet {
    /// Bits a trit tells.
    pub fn bits(self) -> f64 {
        match self {
            Alphabet::Ternary => 3f64.log2(),
            Alphabet::Binary => 1.0,
            Alphabet::Magnitude => 0.0,
        }
    }
}

impl Quantized {
    /// Adds to the bias, `[n]`.
    pub fn add_bias(&mut self, bias: &[f32]) {
        let own = self.bias.get_or_insert_with(|| vec![0.0; self.n]);
        own.iter_mut().zip(bias).for_each(|(own, b)| *own += b);
    }

    /// One ternary plane.
    pub fn single(n: usize, k: usize, group: usize, trits: Vec<i8>, scales: Vec<f32>) -> Quantized {
        let plane = Plane { alphabet: Alphabet::Ternary, group, trits, scales, offset: None };
        Quantized { n, k, planes: vec![plane], bias: None, column_scale: None }
    }

    /// What the planes stand for, the bias apart.
    pub fn dequantized(&self) -> Matrix {
        let values = self.values().iter().map(|v| *v as f32).collect();
        Matrix { n: self.n, k: self.k, values }
    }

    /// Bits a weight that the representation needs: planes by what their trits can be, scales, offsets, column
    /// scales and bias. A scale costs 16 bits where all of its plane's are f16 numbers, else 32; one for all
    /// is one, however often it is written.
    pub fn bits(&self) -> f64 {
        let planes: f64 = self.planes.iter().map(|p| p.alphabet.bits()).sum();
        planes + self.extra_bits(cost) / self.count()
    }

    /// Bits a weight as Trine stores it: two a trit, 32 for all else.
    pub fn stored_bits(&self) -> f64 {
        2.0 * self.planes.len() as f64 + self.extra_bits(|numbers| 32.0 * numbers.len() as f64) / self.count()
    }

    /// The share of weights that no plane adds or subtracts, 0 to 1.
    pub fn zeros(&self) -> f64 {
        let idle = match self.planes.as_slice() {
            [plane] => plane.trits.iter().filter(|t| **t == 0).count(),
            planes => (0..self.n * self.k).filter(|i| planes.iter().all(|p| p.trits[*i] == 0)).count(),
        };
        idle as f64 / self.count()
    }

    /// `‖W − Q‖² / ‖W‖²`.
    pub fn relative_weight_error(&self, w: &Matrix) -> f64 {
        let lost: f64 = self.difference(w).iter().map(|d| d * d).sum();
        ratio(lost, w.squares())
    }

    /// `tr(ΔHΔᵀ)` with `Δ = W − Q`: the mean squared error of the outputs together, the bias apart.
    pub fn output_error(&self, w: &Matrix, metric: &Metric) -> f64 {
        metric.squares(&self.difference(w)).iter().sum()
    }

    /// `tr(ΔHΔᵀ) / tr(WHWᵀ)`, the bias apart. An honest figure takes statistics that the method did not see.
    pub fn relative_output_error(&self, w: &Matrix, metric: &Metric) -> f64 {
        let dense: Vec<f64> = w.values.iter().map(|v| f64::from(*v)).collect();
        ratio(self.output_error(w, metric), metric.squares(&dense).iter().sum())
    }

    /// The relative error of the outputs `Wx`, the bias counted: `E‖Wx − Qx − b‖² / E‖Wx‖²`.
    pub fn relative_biased_error(&self, w: &Matrix, metric: &Metric, mean: &[f64]) -> f64 {
        let dense: Vec<f64> = w.values.iter().map(|v| f64::from(*v)).collect();
        let all: f64 = metric.squares(&dense).iter().sum();
        let mut lost = self.output_error(w, metric);
        if let Some(bias) = &self.bias {
            for (d, b) in self.difference(w).chunks(self.k).zip(bias) {
                let b = f64::from(*b);
                lost += b * b - 2.0 * b * dot(d, mean);
            }
        }
        ratio(lost, all)
    }

    /// The row of the report that compares this with the weights it was made from.
    pub fn report(&self, weights: &str, method: &str, w: &Matrix) -> Layer {
        Layer { error: self.relative_weight_error(w), ..self.lossless_report(weights, method) }
    }

    /// The row of the report where these are the weights.
    pub fn lossless_report(&self, weights: &str, method: &str) -> Layer {
        Layer {
            weights: weights.into(),
            n: self.n,
            k: self.k,
            group: self.planes.first().map_or(self.k, |p| p.group),
            planes: self.planes.len(),
            method: method.into(),
            error: 0.0,
            zeros: self.zeros(),
            bits: self.bits(),
        }
    }

    /// `W − Q`, `[n, k]`.
    pub fn difference(&self, w: &Matrix) -> Vec<f64> {
        w.values.iter().zip(self.values()).map(|(w, q)| f64::from(*w) - q).collect()
    }

    /// [`dequantized`](Quantized::dequantized), unrounded.
    fn values(&self) -> Vec<f64> {
        let mut values = vec![0f64; self.n * self.k];
        for plane in &self.planes {
            let per_row = groups(self.k, plane.group);
            for (row, (out, trits)) in values.chunks_mut(self.k).zip(plane.trits.chunks(self.k)).enumerate() {
                let cells = out.chunks_mut(plane.group).zip(trits.chunks(plane.group));
                for (cell, (out, trits)) in (row * per_row..).zip(cells) {
                    let scale = f64::from(plane.scales[cell]);
                    let offset = plane.offset.as_ref().map_or(0.0, |o| f64::from(o[cell]));
                    out.iter_mut().zip(trits).for_each(|(o, t)| *o += f64::from(*t) * scale + offset);
                }
            }
        }
        if let Some(scale) = &self.column_scale {
            for row in values.chunks_mut(self.k) {
                row.iter_mut().zip(scale).for_each(|(v, s)| *v *= f64::from(*s));
            }
        }
        values
    }

    fn extra_bits(&self, cost: impl Fn(&[f32]) -> f64) -> f64 {
        let planes = self.planes.iter().flat_map(|p| [Some(&p.scales), p.offset.as_ref()]);
        let others = [self.bias.as_ref(), self.column_scale.as_ref()];
        planes.chain(others).flatten().map(|numbers| cost(numbers)).sum()
    }

    fn count(&self) -> f64 {
        (self.n * self.k).max(1) as f64
    }
}

impl Plane {
    /// The trits as `trit[n,k]`.
    pub fn weights(&self, n: usize, k: usize) -> Result<Tensor, TensorError> {
        Tensor::pack(Elem::Trit, vec![n, k], bytemuck::cast_slice(&self.trits))
    }

    /// The scales as `f32[n,groups]`.
    pub fn scale(&self, n: usize, k: usize) -> Result<Tensor, TensorError> {
        Tensor::from_vec(vec![n, groups(k, self.group)], self.scales.clone())
    }
}

fn cost(numbers: &[f32]) -> f64 {
    let short = numbers.iter().all(|v| f16::from_f32(*v).to_f32() == *v);
    let count = if numbers.iter().all(|v| *v == numbers[0]) { 1 } else { numbers.len() };
    (count * if short { 16 } else { 32 }) as f64
}

fn ratio(lost: f64, all: f64) -> f64 {
    if all > 0.0 { lost / all } else { 0.0 }
}
