//! Which depth each layer gets under a budget of bits, by what each depth costs the model.
//!
//! The cost is the relative error of the layer's outputs on calibration inputs of the unrounded model, under the plain
//! projection to each depth, times what such an error costs the model: by how much the held-out loss rises when the
//! layer alone is ternary. What a better method mends, it mends about equally at each depth.

use trine_ir::{Module, Value};

use crate::observe::{Observer, Progress};
use trine_ternarize::{Choice, Depth, Matrix, Recipe, Refusal, allocate, choices};

use super::layers::{self, Stage};
use super::moments::Moments;
use super::outlook::Outlook;
use super::stream::Stream;
use super::{CalibrateError, CalibrateOptions, Data, Weights};

/// The depths to choose from.
const DEPTHS: [Depth; 6] =
    [Depth::Binary, Depth::Ternary, Depth::Planes(2), Depth::Planes(3), Depth::Int8, Depth::Kept];

/// The least that an error of a layer is taken to cost, relative to the mean of all layers: a loss that does not rise
/// is one that was measured on too little.
const LEAST: f64 = 0.1;

/// A model before anything is rounded.
pub struct Unrounded<'a> {
    pub module: &'a Module,
    pub stages: &'a [Stage],
    pub cuts: &'a [Vec<Value>],
    /// At its start.
    pub stream: Stream,
    pub outlook: &'a Outlook<'a>,
}

/// What is known of a layer.
struct Measured {
    choices: Vec<Choice>,
    weights: f64,
    /// What the loss rises by for a relative error of one.
    sensitivity: f64,
}

impl Unrounded<'_> {
    /// A depth for each layer, so that all of them together take at most `bits` a weight.
    pub fn depths(
        mut self,
        data: &Data,
        options: &CalibrateOptions,
        bits: f64,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Depth>, CalibrateError> {
        let total = self.stages.iter().map(|s| s.layers.len()).sum();
        let loss = self.outlook.loss(&self.stream)?;
        let mut measured: Vec<Measured> = vec![];
        for (stage, cut) in self.stages.iter().zip(self.cuts) {
            let moments = Moments::on_the_way(stage, cut, data, &mut self.stream, None, true)?;
            for layer in &stage.layers {
                let refused = |refusal| super::refused(layer, refusal);
                let matrix = layers::matrix(self.module, layer)?;
                let plain = plain(options).map_err(refused)?;
                let choices = measure(&matrix, &plain, options, &moments).map_err(refused)?;
                let ternary = plain.apply(&matrix, None, options.seed).map_err(refused)?;
                let ternary = self.stream.with(layer, &Weights::Planes(ternary))?;
                let rise = self.outlook.loss(&ternary)? - loss;
                let error = choices.iter().find(|c| c.depth == Depth::Ternary).map_or(0.0, |c| c.error);
                let sensitivity = if error > 0.0 { rise / error } else { 0.0 };
                measured.push(Measured { choices, weights: (layer.n * layer.k) as f64, sensitivity });
                let done = measured.len();
                observer.progress(Progress { doing: "measuring depths", done, total, unit: "layers" });
            }
        }
        allocated(measured, bits)
    }
}

fn allocated(measured: Vec<Measured>, bits: f64) -> Result<Vec<Depth>, CalibrateError> {
    let weights: f64 = measured.iter().map(|m| m.weights).sum();
    let mean = measured.iter().map(|m| m.sensitivity.max(0.0)).sum::<f64>() / measured.len().max(1) as f64;
    let costs: Vec<Vec<Choice>> = measured
        .into_iter()
        .map(|m| {
            let sensitivity = if mean > 0.0 { m.sensitivity.max(LEAST * mean) } else { 1.0 };
            m.choices.into_iter().map(|c| Choice { error: c.error * sensitivity, ..c }).collect()
        })
        .collect();
    let taken = if bits.is_finite() { allocate(&costs, bits * weights) } else { None };
    let Some(taken) = taken else {
        let of = |choose: fn(f64, f64) -> f64, start: f64| {
            let best = |c: &Vec<Choice>| c.iter().map(|c| c.bits).fold(start, choose);
            costs.iter().map(best).sum::<f64>() / weights
        };
        let (least, most) = (of(f64::min, f64::INFINITY), of(f64::max, 0.0));
        return Err(CalibrateError::Bits { bits, least, most });
    };
    Ok(costs.iter().zip(taken).map(|(choices, i)| choices[i].depth).collect())
}

/// What depths are compared by: the weights alone, in the scales that are asked for.
fn plain(options: &CalibrateOptions) -> Result<Recipe, Refusal> {
    let mut plain = Recipe::new("exact")?;
    plain.settings.group = options.recipe.settings.group;
    plain.settings.scales = options.recipe.settings.scales;
    Ok(plain)
}

fn measure(
    w: &Matrix,
    plain: &Recipe,
    options: &CalibrateOptions,
    moments: &Moments,
) -> Result<Vec<Choice>, Refusal> {
    let metric = moments.calibration.damped(options.recipe.settings.damp)?;
    let dense: Vec<f64> = w.values.iter().map(|v| f64::from(*v)).collect();
    let all: f64 = metric.squares(&dense).iter().sum();
    let mut costs = choices(&DEPTHS, plain, w, None, &metric, options.seed)?;
    if all > 0.0 {
        costs.iter_mut().for_each(|c| c.error /= all);
    }
    Ok(costs)
}
