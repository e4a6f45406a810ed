//! Columns scaled by a power of the inputs' second moment before they are rounded, `s_j = H_jj^a`, and inputs by
//! `1/s_j`, which a norm before the layer takes into its gain (as in AWQ, arXiv 2306.00978): columns that see large
//! inputs are rounded more finely.

use super::super::{Matrix, Recipe, Refusal, Statistics};
use crate::Metric;
use crate::method::{Axes, Method, Role, Tier};

/// Powers to choose from.
pub const EXPONENTS: [f64; 5] = [0.0, 0.0625, 0.125, 0.25, 0.5];

pub const METHOD: Method = Method {
    name: "columns",
    about: "columns scaled by a power of the inputs' second moment, inputs the other way",
    paper: "arXiv 2306.00978",
    tier: Tier::Calibrated,
    axes: Axes {
        projection: "as projected",
        optimizer: "search",
        granularity: "column",
        planes: "as projected",
    },
    role: Role::Columns(|metric, settings| {
        let powers: Vec<f64> = metric.diagonal().map(|h| h.powf(settings.exponent)).collect();
        let mean = powers.iter().map(|s| s.ln()).sum::<f64>() / powers.len() as f64;
        powers.iter().map(|s| s / mean.exp()).collect()
    }),
};

/// The recipe with the one of [`EXPONENTS`] that leaves the least output error on inputs that were held out.
pub fn choose_exponent(
    recipe: &Recipe,
    w: &Matrix,
    calibration: &Statistics,
    held_out: &Statistics,
    seed: u64,
) -> Result<Recipe, Refusal> {
    let metric: Metric = held_out.damped(recipe.settings.damp)?;
    let mut best: Option<(f64, Recipe)> = None;
    for exponent in EXPONENTS {
        let mut candidate = recipe.clone();
        candidate.settings.exponent = exponent;
        let error = candidate.apply(w, Some(calibration), seed)?.output_error(w, &metric);
        if best.as_ref().is_none_or(|(least, _)| error < *least) {
            best = Some((error, candidate));
        }
    }
    Ok(best.map_or_else(|| recipe.clone(), |(_, recipe)| recipe))
}
