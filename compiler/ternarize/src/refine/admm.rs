//! ADMM (arXiv 1707.09870): `min ½·tr((V − W)H(V − W)ᵀ)` over real V that equals a rounded G, by splitting.
//!
//! The proximal step `V = (WH + ρ(G − Λ))·(H + ρI)⁻¹` is taken in closed form, or approached by the paper's
//! extragradient; G is V + Λ rounded with refitted scales. The objective is not convex and may rise, so each row
//! keeps the best it has met, its scales refitted under the metric.

use super::{difference, keep_best, refit, step};
use crate::linalg::{multiply, view, view_mut};
use crate::method::{Method, Rows};
use crate::metric::dot;
use crate::project::alternate::alternate;
use crate::{Grid, Metric, Refusal};

/// Rounds of the projection.
const ROUNDS: usize = 5;
/// Steps of the extragradient an iteration, at most; the first is from where the last iteration came to.
const STEPS: usize = 400;
/// The gradient at which they end, relative to `side`.
const TOLERANCE: f64 = 1e-5;
/// Products by which the largest eigenvalue is found.
const POWERS: usize = 30;

pub const METHOD: Method = step(
    "admm",
    "splitting with the closed form of the proximal step, the best met kept",
    "arXiv 1707.09870",
    "ADMM",
    |rows, grid| {
        let inverse = rows.metric.proximal()?;
        let k = grid.k;
        run(rows, grid, |_, side| {
            let mut v = vec![0.0; side.len()];
            let n = side.len() / k;
            multiply(view_mut(&mut v, n, k), view(side, n, k), view(inverse, k, k));
            v
        })
    },
);

pub const EXTRAGRADIENT: Method = step(
    "extragradient",
    "as admm, the proximal step by extragradient, without an inverse",
    "arXiv 1707.09870",
    "ADMM, extragradient",
    |rows, grid| {
        let shift = Shifted::new(rows.metric);
        run(rows, grid, |v, side| shift.descend(v.to_vec(), side))
    },
);

/// Iterates, where `proximal` finds V with `V·(H + ρI) = side`, given the V before.
fn run(rows: &Rows, start: Grid, proximal: impl Fn(&[f64], &[f64]) -> Vec<f64>) -> Result<Grid, Refusal> {
    let rho = rows.metric.rho();
    let weighted = rows.metric.apply(rows.w);
    let mut best = start.clone();
    refit::fit(rows, &mut best);
    let mut errors = rows.metric.squares(&difference(rows.w, &best));
    let (mut grid, mut v) = (start, rows.w.to_vec());
    let mut dual = vec![0.0; v.len()];
    for _ in 0..rows.settings.iterations {
        let values = grid.values();
        let pull = values.iter().zip(&dual).map(|(g, l)| rho * (g - l));
        let side: Vec<f64> = weighted.iter().zip(pull).map(|(w, p)| w + p).collect();
        v = proximal(&v, &side);
        let sum: Vec<f64> = v.iter().zip(&dual).map(|(v, l)| v + l).collect();
        alternate(&sum, &mut grid, ROUNDS);
        dual = sum.iter().zip(grid.values()).map(|(s, g)| s - g).collect();
        let mut refitted = grid.clone();
        refit::fit(rows, &mut refitted);
        keep_best(rows, &mut best, &mut errors, &refitted);
    }
    Ok(best)
}

/// `H + ρI` and the steps that lead to where it takes a wanted side: along the gradient divided by the diagonal, since
/// inputs are of unequal sizes.
struct Shifted<'a> {
    metric: &'a Metric,
    /// The step of each column.
    rates: Vec<f64>,
}

impl Shifted<'_> {
    fn new(metric: &Metric) -> Shifted<'_> {
        let mut shifted =
            Shifted { metric, rates: metric.diagonal().map(|d| 1.0 / (d + metric.rho())).collect() };
        // Powers approach the largest eigenvalue from below, and steps that are too long diverge.
        let longest = 0.9 / shifted.largest_eigenvalue();
        shifted.rates.iter_mut().for_each(|r| *r *= longest);
        shifted
    }

    fn descend(&self, mut v: Vec<f64>, side: &[f64]) -> Vec<f64> {
        let small = TOLERANCE * dot(side, side).sqrt();
        for _ in 0..STEPS {
            let gradient = self.gradient(&v, side);
            if dot(&gradient, &gradient).sqrt() <= small {
                break;
            }
            let ahead = self.step(&v, &gradient);
            v = self.step(&v, &self.gradient(&ahead, side));
        }
        v
    }

    /// `at·(H + ρI) − side`.
    fn gradient(&self, at: &[f64], side: &[f64]) -> Vec<f64> {
        let (rho, product) = (self.metric.rho(), self.metric.apply(at));
        product.iter().zip(at).zip(side).map(|((p, a), s)| p + rho * a - s).collect()
    }

    fn step(&self, v: &[f64], gradient: &[f64]) -> Vec<f64> {
        v.iter().zip(gradient).zip(self.rates.iter().cycle()).map(|((v, g), rate)| v - rate * g).collect()
    }

    /// Of `H + ρI` divided by its diagonal, while rates are that.
    fn largest_eigenvalue(&self) -> f64 {
        let mut vector: Vec<f64> = (0..self.rates.len()).map(|i| 1.0 + (i % 7) as f64 / 7.0).collect();
        let mut length = 1.0;
        for _ in 0..POWERS {
            vector.iter_mut().for_each(|v| *v /= length);
            let product = self.gradient(&vector, &vec![0.0; vector.len()]);
            vector = product.iter().zip(&self.rates).map(|(p, r)| p * r).collect();
            length = dot(&vector, &vector).sqrt();
        }
        length
    }
}
