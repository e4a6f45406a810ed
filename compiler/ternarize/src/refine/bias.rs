//! The constant that the outputs lost, given back as a bias: `b = W·E[x] − Q·E[x̃]` (arXiv 1906.04721), of all weights or
//! of the dead ones, which is the best of all constants that Tequila's form allows.
//!
//! It zeroes the mean error, and so never raises the squared error on the inputs it was made from. It may still
//! hurt what comes of the outputs, so that calibration looks at the held-out loss first, layer by layer.

use crate::method::{Axes, Biased, Method, Role, Tier};
use crate::metric::dot;
use crate::{Refusal, Statistics};

const AXES: Axes =
    Axes { projection: "as projected", optimizer: "closed form", granularity: "row", planes: "as projected" };

pub const METHOD: Method = Method {
    name: "bias",
    about: "a bias that zeroes the mean error of the outputs, where held-out loss falls",
    paper: "arXiv 1906.04721",
    tier: Tier::Calibrated,
    axes: AXES,
    role: Role::Bias { run: all, paired: true },
};

pub const DEAD: Method = Method {
    name: "dead-bias",
    about: "as bias, for what weights that became zero would have given",
    paper: "arXiv 2509.23809",
    tier: Tier::Calibrated,
    axes: AXES,
    role: Role::Bias { run: dead, paired: false },
};

fn all(biased: &Biased) -> Result<Vec<f64>, Refusal> {
    let statistics = statistics(biased, METHOD.name)?;
    let (mean, original) = (statistics.mean(), statistics.original_mean());
    let w = biased.w.values.chunks(biased.w.k);
    let wanted = w.map(|w| w.iter().zip(&original).map(|(w, x)| f64::from(*w) * x).sum::<f64>());
    // Q·E[x̃] = W·E[x̃] − (W − Q)·E[x̃].
    let difference = biased.quantized.difference(biased.w);
    let rows = biased.w.values.chunks(biased.w.k).zip(difference.chunks(biased.w.k));
    let given =
        rows.map(|(w, d)| w.iter().zip(&mean).map(|(w, x)| f64::from(*w) * x).sum::<f64>() - dot(d, &mean));
    Ok(wanted.zip(given).map(|(wanted, given)| wanted - given).collect())
}

fn dead(biased: &Biased) -> Result<Vec<f64>, Refusal> {
    let mean = statistics(biased, DEAD.name)?.mean();
    Ok(dead_rows(biased, |d, i| d * mean[i]))
}

/// The sum of `f(w − q, column)` over the weights of each row that no plane adds or subtracts.
pub fn dead_rows(biased: &Biased, f: impl Fn(f64, usize) -> f64) -> Vec<f64> {
    let k = biased.w.k;
    let dead = |at: usize| biased.quantized.planes.iter().all(|p| p.trits[at] == 0);
    let rows = biased.quantized.difference(biased.w);
    let rows = rows.chunks(k).enumerate();
    rows.map(|(row, d)| (0..k).filter(|i| dead(row * k + i)).map(|i| f(d[i], i)).sum()).collect()
}

fn statistics<'a>(biased: &Biased<'a>, method: &'static str) -> Result<&'a Statistics, Refusal> {
    biased.statistics.ok_or(Refusal::NeedsCalibration { method })
}
