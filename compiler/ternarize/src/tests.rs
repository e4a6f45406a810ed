//! Methods against the figures that theory gives, against brute force, and against each other.

mod bias;
mod calibrated;
mod interface;
mod projections;

use super::testing::{gaussian, gaussian_matrix, statistics};
use super::*;

fn recipe(text: &str) -> Recipe {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// By the weights alone.
fn round(text: &str, w: &Matrix) -> Quantized {
    recipe(text).apply(w, None, 0).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn error(text: &str, w: &Matrix) -> f64 {
    round(text, w).relative_weight_error(w)
}

/// Recipes of every method that a compiler can apply, in settings that all allow.
fn every_recipe() -> impl Iterator<Item = Recipe> {
    let methods = METHODS.iter().filter(|m| m.tier != Tier::Trained);
    methods
        .map(|m| if m.is_projection() { m.name.to_string() } else { format!("exact+{}", m.name) })
        .map(|t| recipe(&t))
}
