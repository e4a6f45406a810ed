//! Which depth each layer gets under a budget of bits, by what each depth costs its outputs.
//!
//! The cost is the relative error of the layer's outputs on calibration inputs of the unrounded model, under the plain
//! projection to each depth: what a better method mends, it mends about equally at each.

use trine_ir::{Module, Value};

use crate::error::Error;
use crate::ternarize::{Depth, Matrix, Recipe, Refusal, allocate, choices};

use super::layers::{self, Stage};
use super::stream::Stream;
use super::{CalibrateError, CalibrateOptions, Data, Moments, Progress};

/// The depths to choose from.
const DEPTHS: [Depth; 6] =
    [Depth::Binary, Depth::Ternary, Depth::Planes(2), Depth::Planes(3), Depth::Int8, Depth::Kept];

/// A depth for each layer, so that all of them together take at most `bits` a weight.
pub fn depths(
    module: &Module,
    stages: &[Stage],
    cuts: &[Vec<Value>],
    data: &Data,
    options: &CalibrateOptions,
    bits: f64,
    progress: &mut impl FnMut(Progress),
) -> Result<Vec<Depth>, Error> {
    let layers = stages.iter().map(|s| s.layers.len()).sum();
    let mut stream = Stream::new(module, data.calibration(), options.threads);
    let (mut costs, mut weights) = (vec![], 0.0);
    for (stage, cut) in stages.iter().zip(cuts) {
        let mut moments = Moments::new(stage.layers[0].k, false);
        let mut step = stream.step(cut, stage.input)?;
        for (i, inputs) in data.batches[..data.calibration()].iter().enumerate() {
            let x = stream.advance(&mut step, i, inputs)?;
            moments.add(&super::rows(&x)?, None, false).map_err(|r| super::refused(&stage.layers[0], r))?;
        }
        stream.arrive(step);
        for layer in &stage.layers {
            let matrix = layers::matrix(module, layer)?;
            costs.push(measure(&matrix, options, &moments).map_err(|r| super::refused(layer, r))?);
            weights += (layer.n * layer.k) as f64;
            progress(Progress::Measured { done: costs.len(), layers });
        }
    }
    let of = |choose: fn(f64, f64) -> f64, start: f64| {
        let best = |c: &Vec<crate::ternarize::Choice>| c.iter().map(|c| c.bits).fold(start, choose);
        costs.iter().map(best).sum::<f64>() / weights
    };
    let taken = if bits.is_finite() { allocate(&costs, bits * weights) } else { None };
    let Some(taken) = taken else {
        let (least, most) = (of(f64::min, f64::INFINITY), of(f64::max, 0.0));
        return Err(CalibrateError::Bits { bits, least, most }.into());
    };
    Ok(costs.iter().zip(taken).map(|(choices, i)| choices[i].depth).collect())
}

fn measure(
    w: &Matrix,
    options: &CalibrateOptions,
    moments: &Moments,
) -> Result<Vec<crate::ternarize::Choice>, Refusal> {
    let mut plain = Recipe::new("exact")?;
    plain.settings.group = options.recipe.settings.group;
    plain.settings.scales = options.recipe.settings.scales;
    let metric = moments.calibration.damped(options.recipe.settings.damp)?;
    let dense: Vec<f64> = w.values.iter().map(|v| f64::from(*v)).collect();
    let all: f64 = metric.squares(&dense).iter().sum();
    let mut costs = choices(&DEPTHS, &plain, w, None, &metric, options.seed)?;
    if all > 0.0 {
        costs.iter_mut().for_each(|c| c.error /= all);
    }
    Ok(costs)
}
