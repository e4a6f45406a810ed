//! Weights as int8 with a scale a row, `W ≈ s·q` with `s = max|w| / 127`: what heads and sensitive layers may be kept as.

use super::Matrix;

/// Rows of int8 with a scale each.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8 {
    pub n: usize,
    pub k: usize,
    /// `[n, k]`.
    pub codes: Vec<i8>,
    /// `[n]`.
    pub scales: Vec<f32>,
}

impl Int8 {
    pub fn round(w: &Matrix) -> Int8 {
        let (mut codes, mut scales) = (Vec::with_capacity(w.values.len()), vec![]);
        for row in w.values.chunks(w.k) {
            let scale = row.iter().fold(0f32, |m, v| m.max(v.abs())) / 127.0;
            let code =
                |v: &f32| if scale > 0.0 { (v / scale).round_ties_even().clamp(-127.0, 127.0) } else { 0.0 };
            codes.extend(row.iter().map(|v| code(v) as i8));
            scales.push(scale);
        }
        Int8 { n: w.n, k: w.k, codes, scales }
    }

    /// What the codes stand for, `[n, k]`.
    pub fn dequantized(&self) -> Vec<f32> {
        let rows = self.codes.chunks(self.k).zip(&self.scales);
        rows.flat_map(|(row, scale)| row.iter().map(move |q| f32::from(*q) * scale)).collect()
    }

    /// `‖W − Q‖² / ‖W‖²`.
    pub fn relative_weight_error(&self, w: &Matrix) -> f64 {
        let lost = w.values.iter().zip(self.dequantized());
        let lost: f64 = lost.map(|(w, q)| (f64::from(*w) - f64::from(q)).powi(2)).sum();
        if lost > 0.0 { lost / w.squares() } else { 0.0 }
    }

    /// The share of zeros, 0 to 1.
    pub fn zeros(&self) -> f64 {
        self.codes.iter().filter(|q| **q == 0).count() as f64 / self.codes.len().max(1) as f64
    }

    /// Bits a weight, scales counted.
    pub fn bits(&self) -> f64 {
        8.0 + 32.0 / self.k.max(1) as f64
    }
}
