//! How good a model is on the held-out part of the calibration data.

use std::sync::Arc;

use trine::evaluate::{self, Accuracy};
use trine::{Module, Observer, Options, Progress};

use super::data::Given;
use crate::failure::Failure;
use crate::progress::Bar;

/// A measure of a whole model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quality {
    /// Nats a token, on held-out text.
    Loss(f64),
    /// The share of held-out examples that are told right.
    Accuracy(f64),
}

pub struct Judge<'a> {
    pub given: &'a Given,
    pub threads: usize,
    pub context: usize,
}

impl Judge<'_> {
    /// Compiles a module and measures it, which is a `phase` of the work; none if the data says nothing about whole models.
    pub fn quality(&self, phase: &str, mut module: Module) -> Result<Option<Quality>, Failure> {
        if self.given.is_blind() {
            return Ok(None);
        }
        let mut bar = Bar::new(phase);
        let options = Options::default();
        trine::optimize(&mut module, &options)?;
        let program = Arc::new(trine::build_program(module, &options)?);
        let data = &self.given.data;
        let Some(labels) = &self.given.labels else {
            let windows: Vec<&[u32]> = data.held_out_windows.iter().map(Vec::as_slice).collect();
            let loss = evaluate::loss(program, &windows, self.context, self.threads, &mut bar)?;
            return Ok(Some(Quality::Loss(loss.mean())));
        };
        let (mut sum, mut start) = (Accuracy::default(), 0);
        for batch in &data.batches[data.calibration()..] {
            let count = batch.first().map_or(0, |t| t.dims()[0]);
            let labels = &labels[start..start + count];
            let part = evaluate::accuracy(program.clone(), batch, labels, self.threads)?;
            sum = Accuracy { right: sum.right + part.right, examples: sum.examples + part.examples };
            start += count;
            bar.progress(Progress {
                doing: "classifying",
                done: start,
                total: labels.len(),
                unit: "examples",
            });
        }
        Ok(Some(Quality::Accuracy(sum.share())))
    }
}
