//! The metric that calibration gives: `‖Δ‖²_H = tr(Δ·H·Δᵀ)` is the mean squared error of the outputs.

use std::sync::OnceLock;

use super::Refusal;
use super::linalg::{inverse, inverse_factor, multiply, view, view_mut};

/// A symmetric positive definite `H` `[k, k]` and what is derived from it, made when first asked for.
#[derive(Debug)]
pub struct Metric {
    k: usize,
    h: Vec<f64>,
    factor: OnceLock<Option<Factor>>,
    proximal: OnceLock<Option<Vec<f64>>>,
}

/// The Cholesky factor of `H⁻¹` for columns in the order in which they are rounded.
#[derive(Debug)]
pub struct Factor {
    /// Columns by falling `H_jj`: those that matter most are rounded while the most others can still make up.
    pub order: Vec<usize>,
    /// Upper triangular, `Uᵀ·U = H⁻¹`, rows and columns in that order.
    pub upper: Vec<f64>,
}

impl Metric {
    /// `h + damp·mean(diag h)·I`.
    pub fn new(mut h: Vec<f64>, k: usize, damp: f64) -> Result<Metric, Refusal> {
        let trace: f64 = (0..k).map(|j| h[j * k + j]).sum();
        let mean = trace / k.max(1) as f64;
        if !(mean.is_finite() && mean > 0.0) {
            return Err(Refusal::Singular);
        }
        (0..k).for_each(|j| h[j * k + j] += damp * mean);
        Ok(Metric { k, h, factor: OnceLock::new(), proximal: OnceLock::new() })
    }

    pub fn k(&self) -> usize {
        self.k
    }

    /// `H`, `[k, k]`.
    pub fn values(&self) -> &[f64] {
        &self.h
    }

    pub fn diagonal(&self) -> impl Iterator<Item = f64> {
        (0..self.k).map(|j| self.h[j * self.k + j])
    }

    pub fn mean_diagonal(&self) -> f64 {
        self.diagonal().sum::<f64>() / self.k as f64
    }

    /// The metric of inputs divided by `scale`.
    pub fn rescaled(&self, scale: &[f64]) -> Result<Metric, Refusal> {
        let mut h = self.h.clone();
        for (row, a) in h.chunks_mut(self.k).zip(scale) {
            row.iter_mut().zip(scale).for_each(|(v, b)| *v /= a * b);
        }
        Metric::new(h, self.k, 0.0)
    }

    pub fn factor(&self) -> Result<&Factor, Refusal> {
        self.factor.get_or_init(|| self.factorise()).as_ref().ok_or(Refusal::Singular)
    }

    /// The weight of the proximal term of splitting methods.
    pub fn rho(&self) -> f64 {
        0.1 * self.mean_diagonal()
    }

    /// `(H + ρ·I)⁻¹`.
    pub fn proximal(&self) -> Result<&[f64], Refusal> {
        let make = || {
            let mut h = self.h.clone();
            (0..self.k).for_each(|j| h[j * self.k + j] += self.rho());
            inverse(&h, self.k)
        };
        self.proximal.get_or_init(make).as_deref().ok_or(Refusal::Singular)
    }

    /// `rows·H`.
    pub fn apply(&self, rows: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; rows.len()];
        let n = rows.len() / self.k;
        multiply(view_mut(&mut out, n, self.k), view(rows, n, self.k), view(&self.h, self.k, self.k));
        out
    }

    /// `δ·H·δᵀ` of each row.
    pub fn squares(&self, rows: &[f64]) -> Vec<f64> {
        let product = self.apply(rows);
        rows.chunks(self.k).zip(product.chunks(self.k)).map(|(a, b)| dot(a, b)).collect()
    }

    fn factorise(&self) -> Option<Factor> {
        let (k, h) = (self.k, &self.h);
        let mut order: Vec<usize> = (0..k).collect();
        order.sort_by(|a, b| h[b * k + b].total_cmp(&h[a * k + a]));
        let mut permuted = Vec::with_capacity(k * k);
        for i in &order {
            permuted.extend(order.iter().map(|j| h[i * k + j]));
        }
        Some(Factor { upper: inverse_factor(&permuted, k)?, order })
    }
}

/// `aᵀb`, in eight sums that run side by side.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    let mut sums = [0.0; 8];
    for (a, b) in a.zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(s, (a, b))| *s += a * b);
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::moments;

    #[test]
    fn damping_makes_any_metric_definite() {
        // One direction in four dimensions.
        let h = vec![1.0; 16];
        assert_eq!(Metric::new(h.clone(), 4, 0.0).unwrap().factor().err(), Some(Refusal::Singular));
        assert!(Metric::new(h, 4, 0.01).unwrap().factor().is_ok());
        assert_eq!(Metric::new(vec![0.0; 4], 2, 0.01).err(), Some(Refusal::Singular));
        assert_eq!(Metric::new(vec![f64::NAN; 4], 2, 0.01).err(), Some(Refusal::Singular));
    }

    #[test]
    fn scaled_inputs_give_scaled_weights_the_same_error() {
        let metric = Metric::new(moments(6, 30, 1), 6, 0.0).unwrap();
        let scale = [0.5, 1.0, 2.0, 4.0, 0.25, 3.0];
        let row = [1.0, -2.0, 0.5, 3.0, 1.5, -1.0];
        let scaled: Vec<f64> = row.iter().zip(&scale).map(|(r, s)| r * s).collect();
        let (a, b) = (metric.squares(&row)[0], metric.rescaled(&scale).unwrap().squares(&scaled)[0]);
        assert!((a - b).abs() < 1e-9 * a);
    }
}
