//! Binary or ternary, whichever a matrix is nearer to (Smart Ternary Quantization, arXiv 1909.12205).
//!
//! The regulariser `Σ min(||w| + μ|^p, ||w| − μ|^p, tan β·|w|^p) + γ·|cot β|` is that of binary weights at `β = π/2`, where
//! zeros cost infinitely much, and of ternary ones at `β = π/4`. Its two ends are compared a weight, with p = 2, the
//! best μ of each, and weights of standard deviation 1.

use super::{binary, exact};
use crate::Matrix;
use crate::method::{Axes, Method, Projection, Role, Tier};
use crate::recipe::Settings;
use trine_ir::random::Draw;

pub const METHOD: Method = Method {
    name: "smart",
    about: "binary or exact a matrix, whichever leaves less when a matrix of zeros costs gamma",
    paper: "arXiv 1909.12205",
    tier: Tier::Weights,
    axes: Axes {
        projection: "sign or least squares",
        optimizer: "exact",
        granularity: "row",
        planes: "1, binary or ternary",
    },
    role: Role::Project(Projection::Choose(choose)),
};

fn choose(w: &Matrix, settings: &Settings) -> &'static Method {
    let (binary, ternary) = regularisers(w);
    if binary < ternary + settings.gamma { &binary::METHOD } else { &exact::METHOD }
}

/// `R` at `β = π/2` and at `β = π/4` without γ, a weight.
pub fn regularisers(w: &Matrix) -> (f64, f64) {
    let count = w.values.len().max(1) as f64;
    let mean = w.values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = w.values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    if variance == 0.0 {
        return (0.0, 0.0);
    }
    let standard: Vec<f32> =
        w.values.iter().map(|v| ((f64::from(*v) - mean) / variance.sqrt()) as f32).collect();
    let mut trits = vec![0i8; standard.len()];
    let scale = exact::project(&standard, Draw { seed: 0, start: 0 }, &mut trits);
    let mu = super::mean_magnitude(&standard);
    let binary = standard.iter().map(|v| (f64::from(v.abs()) - mu).powi(2)).sum::<f64>() / count;
    let ternary =
        standard.iter().zip(&trits).map(|(v, t)| f64::from(v - scale * f32::from(*t)).powi(2)).sum::<f64>()
            / count;
    (binary, ternary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gaussian;

    #[test]
    fn two_humps_are_binary_and_one_is_ternary() {
        let noise = gaussian(4000, 1);
        let humps = noise.iter().map(|v| 0.2 * v + v.signum()).collect();
        let settings = Settings::default();
        assert_eq!(choose(&Matrix { n: 4, k: 1000, values: humps }, &settings).name, "binary");
        let flat = noise.iter().map(|v| v.powi(3)).collect();
        assert_eq!(choose(&Matrix { n: 4, k: 1000, values: flat }, &settings).name, "exact");
        let (binary, ternary) = regularisers(&Matrix { n: 4, k: 1000, values: noise });
        assert!((binary - 0.364).abs() < 0.02 && (ternary - 0.190).abs() < 0.02, "{binary} {ternary}");
    }
}
