//! Random matrices for tests.

use super::{Matrix, Statistics};

/// Gaussian numbers, by Box and Muller: sums of uniform ones would have short tails.
pub fn gaussian(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    let pair = |u: f64, v: f64| ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32;
    (0..count).map(|_| pair(uniform(), uniform())).collect()
}

pub fn gaussian_matrix(n: usize, k: usize, seed: u64) -> Matrix {
    Matrix { n, k, values: gaussian(n * k, seed) }
}

/// Inputs `[rows, k]` as layers have them: correlated, of unequal sizes, with means. `world` says how, `seed` which.
pub fn inputs(k: usize, rows: usize, world: u64, seed: u64) -> Vec<f32> {
    let mixing = gaussian(k * k, world);
    let means = gaussian(k, world + 1);
    let noise = gaussian(rows * k, seed);
    let size = |j: usize| (means[(j + 1) % k]).exp();
    let row = |x: &[f32]| -> Vec<f32> {
        let mixed = |j: usize| -> f32 {
            // A few directions that all inputs share, and some of their own.
            let shared: f32 = x.iter().take(k / 4 + 1).zip(&mixing[j * k..]).map(|(x, m)| x * m).sum();
            size(j) * (0.5 * means[j] + 0.7 * x[j] + 0.5 * shared)
        };
        (0..k).map(mixed).collect()
    };
    noise.chunks(k).flat_map(row).collect()
}

pub fn statistics(k: usize, rows: usize, world: u64, seed: u64) -> Statistics {
    let mut statistics = Statistics::new(k);
    statistics.add(&inputs(k, rows, world, seed)).expect("inputs are finite");
    statistics
}

/// `E[xxᵀ]`, `[k, k]`.
pub fn moments(k: usize, rows: usize, seed: u64) -> Vec<f64> {
    statistics(k, rows, seed, seed + 9).gram()
}
