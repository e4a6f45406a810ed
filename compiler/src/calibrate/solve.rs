//! One layer's weights at the depth that was chosen for it.

use trine_ternarize::{Depth, Matrix, Recipe, Refusal};

use super::moments::Moments;
use super::{Int8, Weights};

/// Rounds a matrix by the recipe, at `depth` where one is chosen; `seed` is for methods that draw numbers.
pub fn weights(
    w: &Matrix,
    recipe: &Recipe,
    depth: Option<Depth>,
    moments: &Moments,
    seed: u64,
) -> Result<Weights, Refusal> {
    let at_depth = match depth {
        Some(Depth::Kept) => return Ok(Weights::Kept(w.clone())),
        Some(Depth::Int8) => return Ok(Weights::Int8(Int8::round(w))),
        depth => depth.and_then(|d| d.recipe(recipe)).transpose()?,
    };
    let recipe = at_depth.as_ref().unwrap_or(recipe);
    let statistics = recipe.needs_calibration().then_some(&moments.calibration);
    Ok(Weights::Planes(recipe.apply(w, statistics, seed)?))
}
