//! What became of one layer, and what it cost.

use std::time::Duration;

use trine_ir::Value;

use trine_ternarize::{Matrix, Quantized, Statistics};

use super::Int8;
use super::layers::Linear;
use super::moments::Moments;

/// Weights as they are now.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// Planes of trits.
    Planes(Quantized),
    Int8(Int8),
    /// As they were.
    Kept(Matrix),
}

/// A layer with its new weights and the row of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Rounded {
    /// The product, in the module that was calibrated, and its function.
    pub output: Value,
    pub function: String,
    /// The constant that held the weights.
    pub name: String,
    /// The ONNX node, and its type.
    pub node: String,
    pub op_type: String,
    pub n: usize,
    pub k: usize,
    pub weights: Weights,
    /// `‖W − Q‖² / ‖W‖²`.
    pub weight_error: f64,
    /// `E‖Wx − Qx − b‖² / E‖Wx‖²` on the inputs it was fitted to.
    pub output_error: Option<f64>,
    /// The same on held-out inputs; none where there are too few.
    pub held_out_error: Option<f64>,
    pub seconds: f64,
}

impl Rounded {
    pub(super) fn new(
        layer: &Linear,
        matrix: &Matrix,
        weights: Weights,
        moments: &Moments,
        time: Duration,
    ) -> Rounded {
        Rounded {
            output: layer.output,
            function: layer.functions[0].clone(),
            name: layer.weights.clone(),
            node: layer.node.clone(),
            op_type: layer.op_type.clone(),
            n: layer.n,
            k: layer.k,
            weight_error: weights.weight_error(matrix),
            output_error: weights.output_error(matrix, &moments.calibration),
            held_out_error: weights.output_error(matrix, &moments.held_out),
            weights,
            seconds: time.as_secs_f64(),
        }
    }
}

impl Weights {
    /// `[n, k]`, the bias apart.
    pub fn dequantized(&self) -> Vec<f32> {
        match self {
            Weights::Planes(planes) => planes.dequantized().values,
            Weights::Int8(int8) => int8.dequantized(),
            Weights::Kept(matrix) => matrix.values.clone(),
        }
    }

    /// What is added to the outputs, `[n]`.
    pub fn bias(&self) -> Option<&[f32]> {
        match self {
            Weights::Planes(planes) => planes.bias.as_deref(),
            Weights::Int8(_) | Weights::Kept(_) => None,
        }
    }

    /// Bits a weight, all counted.
    pub fn bits(&self) -> f64 {
        match self {
            Weights::Planes(planes) => planes.bits(),
            Weights::Int8(int8) => int8.bits(),
            Weights::Kept(_) => 32.0,
        }
    }

    /// The share of zeros, 0 to 1.
    pub fn zeros(&self) -> f64 {
        match self {
            Weights::Planes(planes) => planes.zeros(),
            Weights::Int8(int8) => int8.zeros(),
            Weights::Kept(matrix) => {
                let zeros = matrix.values.iter().filter(|v| **v == 0.0).count();
                zeros as f64 / matrix.values.len().max(1) as f64
            }
        }
    }

    /// What the report calls it.
    pub fn depth(&self) -> String {
        match self {
            Weights::Planes(planes) => match (&planes.planes[..], planes.planes.len()) {
                ([plane], _) if plane.alphabet.bits() == 1.0 => "binary".into(),
                (_, 1) => "ternary".into(),
                (_, count) => format!("{count} planes"),
            },
            Weights::Int8(_) => "int8".into(),
            Weights::Kept(_) => "kept".into(),
        }
    }

    fn weight_error(&self, w: &Matrix) -> f64 {
        let lost = w.values.iter().zip(self.dequantized());
        let lost: f64 = lost.map(|(w, q)| (f64::from(*w) - f64::from(q)).powi(2)).sum();
        if lost > 0.0 { lost / w.squares() } else { 0.0 }
    }

    pub(super) fn output_error(&self, w: &Matrix, statistics: &Statistics) -> Option<f64> {
        // A trace of damping, so that inputs that never vary are not an error.
        let metric = statistics.damped(1e-9).ok()?;
        let as_f64 = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let difference: Vec<f64> =
            as_f64(&w.values).iter().zip(self.dequantized()).map(|(w, q)| w - f64::from(q)).collect();
        let mut lost: f64 = metric.squares(&difference).iter().sum();
        if let Some(bias) = self.bias() {
            let mean = statistics.mean();
            for (row, b) in difference.chunks(w.k).zip(bias) {
                let along: f64 = row.iter().zip(&mean).map(|(d, m)| d * m).sum();
                lost += f64::from(*b) * (f64::from(*b) - 2.0 * along);
            }
        }
        let all: f64 = metric.squares(&as_f64(&w.values)).iter().sum();
        Some(if all > 0.0 { (lost / all).max(0.0) } else { 0.0 })
    }
}
