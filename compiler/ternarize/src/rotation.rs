//! Rotation by a Hadamard matrix with random signs (QuaRot, arXiv 2404.00456): outliers are spread over all
//! columns, so that rows are near to Gaussian and their levels even.
//!
//! `W·x = (W·R)·(Rᵀ·x)` for an orthogonal R. Where x is the output of a norm, `Rᵀ` goes into the weights before it, since
//! `norm(x)·R = norm(x·R)` once the gain is folded into W; so that the rotation costs nothing when the model runs.

use trine_ir::random::Draw;

/// An orthogonal matrix of order `k`: signs, then a product of Hadamard matrices of orders 12, 20 and 2, as far as
/// they divide `k`; what is left is not mixed.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    signs: Vec<f64>,
    orders: Vec<usize>,
}

impl Rotation {
    pub fn new(k: usize, seed: u64) -> Rotation {
        let draw = Draw { seed, start: 0 };
        let signs = (0..k).map(|i| if draw.uniform(i) < 0.5 { -1.0 } else { 1.0 }).collect();
        let (mut rest, mut orders) = (k, vec![]);
        for order in [12, 20, 2] {
            while rest > 0 && rest.is_multiple_of(order) {
                orders.push(order);
                rest /= order;
            }
        }
        Rotation { signs, orders }
    }

    /// `x·R` for each row of `k`: of weights, or of activations.
    pub fn apply(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.signs.len().max(1)) {
            let mut values: Vec<f64> = row.iter().zip(&self.signs).map(|(x, s)| f64::from(*x) * s).collect();
            self.mix(&mut values, false);
            row.iter_mut().zip(values).for_each(|(x, v)| *x = v as f32);
        }
    }

    /// `x·Rᵀ` for each row of `k`.
    pub fn undo(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.signs.len().max(1)) {
            let mut values: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            self.mix(&mut values, true);
            row.iter_mut().zip(values.iter().zip(&self.signs)).for_each(|(x, (v, s))| *x = (v * s) as f32);
        }
    }

    /// The Kronecker product of the Hadamard matrices, one after another.
    fn mix(&self, values: &mut [f64], transposed: bool) {
        let mut stride = 1;
        for &order in &self.orders {
            let matrix = hadamard(order);
            let scale = 1.0 / (order as f64).sqrt();
            let mut old = vec![0.0; order];
            for start in (0..values.len()).filter(|i| i / stride % order == 0) {
                old.iter_mut().enumerate().for_each(|(i, v)| *v = values[start + i * stride]);
                for j in 0..order {
                    let entry = |i: usize| matrix[if transposed { j * order + i } else { i * order + j }];
                    let sum: f64 = old.iter().enumerate().map(|(i, v)| v * entry(i)).sum();
                    values[start + j * stride] = sum * scale;
                }
            }
            stride *= order;
        }
    }
}

/// A Hadamard matrix whose order is a prime that leaves 3 when divided by 4, plus one (Paley, 1933), or 2.
fn hadamard(order: usize) -> Vec<f64> {
    if order == 2 {
        return vec![1.0, 1.0, 1.0, -1.0];
    }
    let prime = order - 1;
    let is_square = |v: usize| (1..prime).any(|x| x * x % prime == v % prime);
    let entry = |i: usize, j: usize| match (i, j) {
        (i, j) if i == j => 1.0,
        (0, _) => 1.0,
        (_, 0) => -1.0,
        (i, j) if is_square(prime + i - j) => 1.0,
        _ => -1.0,
    };
    (0..order * order).map(|at| entry(at / order, at % order)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gaussian;

    #[test]
    fn hadamard_matrices_are_orthogonal() {
        for order in [2, 12, 20] {
            let h = hadamard(order);
            for (i, a) in h.chunks(order).enumerate() {
                for (j, b) in h.chunks(order).enumerate() {
                    let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    assert_eq!(dot, if i == j { order as f64 } else { 0.0 });
                }
            }
        }
    }

    #[test]
    fn products_stay_and_outliers_spread() {
        for k in [1, 2, 7, 12, 64, 240, 576, 1536] {
            let rotation = Rotation::new(k, 3);
            let (mut w, mut x) = (gaussian(k, 1), gaussian(k, 2));
            w[k / 2] = 30.0;
            let dot = |w: &[f32], x: &[f32]| -> f64 { w.iter().zip(x).map(|(a, b)| f64::from(a * b)).sum() };
            let (before, original) = (dot(&w, &x), w.clone());
            rotation.apply(&mut w);
            rotation.apply(&mut x);
            assert!((dot(&w, &x) - before).abs() < 1e-3 * before.abs().max(1.0), "{k}");
            if k >= 64 {
                assert!(w.iter().all(|v| v.abs() < 12.0), "{k}: outliers stay");
            }
            rotation.undo(&mut w);
            assert!(w.iter().zip(&original).all(|(a, b)| (a - b).abs() < 1e-4), "{k}");
        }
    }
}
