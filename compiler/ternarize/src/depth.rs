//! How much each layer may cost: binary, ternary, more planes, int8, or kept as it is, under a budget of bits.
//!
//! After Smart Ternary Quantization (arXiv 1909.12205), with the output error under calibration for its regulariser:
//! `argmin_d error(d) + ν·bits(d)` a layer, and ν such that the budget is met. All ν together are a walk along the
//! layers' lower convex hulls, best step first, so that a larger budget never means a larger error.

use super::{Matrix, Metric, Recipe, Refusal, Statistics};

/// What a layer can become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    Binary,
    /// One ternary plane.
    Ternary,
    /// So many ternary planes.
    Planes(usize),
    /// int8 with a scale a row.
    Int8,
    /// As it is, f32.
    Kept,
}

/// A depth of one layer, and what it costs and loses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    pub depth: Depth,
    /// Bits of the layer, all counted.
    pub bits: f64,
    /// What the layer loses; any measure that can be added over layers, such as `tr(ΔHΔᵀ)`.
    pub error: f64,
}

impl Depth {
    /// The recipe at this depth; `None` if the layer is not rounded to planes.
    pub fn recipe(self, recipe: &Recipe) -> Option<Result<Recipe, Refusal>> {
        match self {
            Depth::Binary => Some(recipe.at(Some("binary"), 1)),
            Depth::Ternary => Some(recipe.at(None, 1)),
            Depth::Planes(planes) => Some(recipe.at(None, planes)),
            Depth::Int8 | Depth::Kept => None,
        }
    }
}

/// What each depth of a layer costs, and its output error `tr(ΔHΔᵀ)` under `held_out` statistics.
pub fn choices(
    depths: &[Depth],
    recipe: &Recipe,
    w: &Matrix,
    statistics: Option<&Statistics>,
    held_out: &Metric,
    seed: u64,
) -> Result<Vec<Choice>, Refusal> {
    w.check()?;
    let count = w.values.len() as f64;
    let choice = |depth: &Depth| {
        let (bits, error) = match (depth.recipe(recipe), depth) {
            (Some(recipe), _) => {
                let q = recipe?.apply(w, statistics, seed)?;
                (q.bits(), q.output_error(w, held_out))
            }
            (None, Depth::Int8) => {
                let lost: Vec<f64> = w.values.chunks(w.k).flat_map(int8_loss).collect();
                (8.0 + 32.0 / w.k as f64, held_out.squares(&lost).iter().sum())
            }
            (None, _) => (32.0, 0.0),
        };
        Ok(Choice { depth: *depth, bits: bits * count, error })
    };
    depths.iter().map(choice).collect()
}

/// Which choice each layer takes so that all together cost `budget` bits at most, with the least error that steps
/// along convex hulls can reach; `None` if the cheapest are too expensive.
pub fn allocate(layers: &[Vec<Choice>], budget: f64) -> Option<Vec<usize>> {
    let hulls: Vec<Vec<usize>> = layers.iter().map(|choices| hull(choices)).collect();
    let mut taken: Vec<usize> = hulls.iter().map(|h| h.first().copied()).collect::<Option<_>>()?;
    let mut spent: f64 = layers.iter().zip(&taken).map(|(l, t)| l[*t].bits).sum();
    if spent > budget {
        return None;
    }
    // Steps by falling gain a bit. Hulls are convex, so a layer's own steps are in their order.
    let mut steps: Vec<(f64, usize, usize, usize)> = vec![];
    for (layer, (choices, hull)) in layers.iter().zip(&hulls).enumerate() {
        for pair in hull.windows(2) {
            steps.push((slope(&choices[pair[0]], &choices[pair[1]]), layer, pair[0], pair[1]));
        }
    }
    steps.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (_, layer, from, to) in steps {
        let cost = layers[layer][to].bits - layers[layer][from].bits;
        if spent + cost > budget {
            break;
        }
        debug_assert_eq!(taken[layer], from);
        taken[layer] = to;
        spent += cost;
    }
    Some(taken)
}

/// The choices that some price of a bit makes best, by rising bits.
fn hull(choices: &[Choice]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..choices.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&choices[*a], &choices[*b]);
        a.bits.total_cmp(&b.bits).then(a.error.total_cmp(&b.error))
    });
    let mut hull: Vec<usize> = vec![];
    for next in order {
        if hull.last().is_some_and(|last| choices[next].error >= choices[*last].error) {
            continue;
        }
        while let [.., before, last] = hull[..] {
            if slope(&choices[before], &choices[last]) > slope(&choices[last], &choices[next]) {
                break;
            }
            hull.pop();
        }
        hull.push(next);
    }
    hull
}

/// Error saved a bit.
fn slope(from: &Choice, to: &Choice) -> f64 {
    (from.error - to.error) / (to.bits - from.bits)
}

/// `w − q` of a row rounded to int8.
fn int8_loss(row: &[f32]) -> Vec<f64> {
    let scale = f64::from(row.iter().fold(0f32, |m, v| m.max(v.abs()))) / 127.0;
    let lost =
        |v: &f32| if scale > 0.0 { f64::from(*v) - (f64::from(*v) / scale).round() * scale } else { 0.0 };
    row.iter().map(lost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gaussian_matrix, statistics};

    const DEPTHS: [Depth; 5] = [Depth::Binary, Depth::Ternary, Depth::Planes(2), Depth::Int8, Depth::Kept];

    fn layers() -> Vec<Vec<Choice>> {
        let recipe: Recipe = "gptq+cd".parse().unwrap();
        let layer = |i: u64| {
            let k = 32 + 16 * i as usize;
            let mut w = gaussian_matrix(24, k, i + 1);
            w.values.iter_mut().for_each(|v| *v *= 1.0 + i as f32);
            let seen = statistics(k, 500, i, i + 1);
            let metric = seen.damped(0.01).unwrap();
            choices(&DEPTHS, &recipe, &w, Some(&seen), &metric, 0).unwrap()
        };
        (0..6).map(layer).collect()
    }

    fn total(layers: &[Vec<Choice>], taken: &[usize], f: impl Fn(&Choice) -> f64) -> f64 {
        layers.iter().zip(taken).map(|(l, t)| f(&l[*t])).sum()
    }

    #[test]
    fn more_bits_lose_less_and_ends_are_pure() {
        let layers = layers();
        let weights: f64 = layers.iter().map(|l| l[4].bits / 32.0).sum();
        assert_eq!(allocate(&layers, weights * 0.9), None);
        let cheapest = total(&layers, &[0; 6], |c| c.bits);
        assert_eq!(allocate(&layers, cheapest), Some(vec![0; 6]));
        assert_eq!(allocate(&layers, weights * 32.0), Some(vec![4; 6]));
        let binary_and_ternary: Vec<Vec<Choice>> = layers.iter().map(|l| l[..2].to_vec()).collect();
        assert_eq!(allocate(&binary_and_ternary, weights * 32.0), Some(vec![1; 6]));
        let mut last = f64::INFINITY;
        for step in 0..60 {
            let budget = cheapest + step as f64 * 0.1 * weights;
            let taken = allocate(&layers, budget).unwrap();
            assert!(total(&layers, &taken, |c| c.bits) <= budget);
            let error = total(&layers, &taken, |c| c.error);
            assert!(error <= last, "{error} after {last}");
            last = error;
        }
    }

    #[test]
    fn random_assignments_that_cost_no_more_lose_no_less() {
        let layers = layers();
        let draw = trine_ir::random::Draw { seed: 5, start: 0 };
        for round in 0..10 {
            let random: Vec<usize> = (0..6).map(|i| (draw.uniform(round * 6 + i) * 4.0) as usize).collect();
            let budget = total(&layers, &random, |c| c.bits);
            let taken = allocate(&layers, budget).unwrap();
            let bits = total(&layers, &taken, |c| c.bits);
            let cheaper = total(&layers, &random, |c| c.error);
            // What a larger step leaves of the budget is not spent: compare at the bits that were.
            if bits >= budget * 0.95 {
                assert!(total(&layers, &taken, |c| c.error) <= cheaper * (1.0 + 1e-9));
            }
        }
    }
}
