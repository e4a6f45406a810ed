//! Biases that are fitted to inputs, once all weights are rounded.
//!
//! A bias that takes a layer's mean error away may cost the model more than it saves the layer. So each is judged by the
//! held-out loss of the whole rounded model, in order, and stays only if that falls.

use std::time::Duration;

use trine_ir::{Module, Value};

use crate::observe::{Observer, Progress};
use trine_ternarize::Recipe;

use super::CalibrateError;
use super::layers::{self, Stage};
use super::moments::Moments;
use super::outlook::Outlook;
use super::stream::Stream;
use super::{Data, Rounded, Weights, refused};

/// A model and what its biases are fitted to.
pub struct Biases<'a> {
    pub module: &'a Module,
    pub stages: &'a [Stage],
    pub cuts: &'a [Vec<Value>],
    pub data: &'a Data,
    /// Of biases alone.
    pub recipe: &'a Recipe,
    pub outlook: &'a Outlook<'a>,
    pub threads: usize,
}

impl Biases<'_> {
    /// Gives biases to `layers`, all that the stages have, in their order.
    pub fn add(&self, layers: &mut [Rounded], observer: &mut dyn Observer) -> Result<(), CalibrateError> {
        let stream = || Stream::new(self.module, self.data.batches.len(), self.threads);
        let mut full = self.recipe.needs_pairs().then(stream);
        let mut rounded = stream();
        for (layer, result) in self.stages.iter().flat_map(|s| &s.layers).zip(&*layers) {
            rounded.round(layer, &result.weights)?;
        }
        let mut least = self.outlook.loss(&rounded)?;
        let (mut done, total) = (0, layers.len());
        for (stage, cut) in self.stages.iter().zip(self.cuts) {
            let moments = Moments::on_the_way(stage, cut, self.data, &mut rounded, full.as_mut(), true)?;
            for layer in &stage.layers {
                let result = &mut layers[done];
                if let Weights::Planes(planes) = &result.weights {
                    let matrix = layers::matrix(self.module, layer)?;
                    let mut planes = planes.clone();
                    let fitted = self.recipe.bias(&matrix, &planes, Some(&moments.calibration));
                    let fitted = fitted.map_err(|refusal| refused(layer, refusal))?;
                    let mut with_bias = rounded.clone();
                    with_bias.add_bias(layer, &fitted)?;
                    let loss = self.outlook.loss(&with_bias)?;
                    if loss < least {
                        (least, rounded) = (loss, with_bias);
                        planes.add_bias(&fitted);
                        let time = Duration::from_secs_f64(result.seconds);
                        *result = Rounded::new(layer, &matrix, Weights::Planes(planes), &moments, time);
                    }
                }
                done += 1;
                observer.progress(Progress { doing: "judging biases", done, total, unit: "layers" });
            }
        }
        Ok(())
    }
}
