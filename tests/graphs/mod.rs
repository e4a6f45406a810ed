//! Random models: how they are made, how they are tried, and how one that fails is made small.

pub mod build;
pub mod check;
pub mod choices;
pub mod compare;
pub mod data;
pub mod ops;
mod order;
pub mod proto;
pub mod shipped;
pub mod walk;

use build::{Builder, Case};
use choices::Choices;

/// Steps of the largest graphs.
const STEPS: usize = 9;

/// The graph that `choices` make, of at most `limit` steps. With `all`, which is for other runtimes, every value is an
/// output, and nothing is special.
pub fn generate(choices: &mut Choices, limit: usize, all: bool) -> Option<Case> {
    let mut b = Builder::new(choices, all);
    let steps = b.choices.between(1, STEPS as i64) as usize;
    let weights: usize = ops::STEPS.iter().map(|(weight, _)| weight).sum();
    for _ in 0..steps.min(limit) {
        // Some steps want what is not there.
        for _ in 0..8 {
            let mut at = b.choices.below(weights);
            let step = ops::STEPS.iter().find(|(weight, _)| match at.checked_sub(*weight) {
                Some(rest) => {
                    at = rest;
                    false
                }
                None => true,
            });
            if step.and_then(|(_, step)| step(&mut b)).is_some() {
                break;
            }
        }
    }
    b.finish(all)
}
