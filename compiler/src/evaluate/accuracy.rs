//! The share of examples whose highest score is that of their label.

use std::sync::Arc;

use trine_ir::{Dim, Tensor};
use trine_runtime::{Port, Program, Session, SessionOptions, View};

use super::EvaluateError;
use crate::language_model::{floats, refuse};

/// Examples that run at once where the model leaves their number open.
const BATCH: usize = 256;

/// How many of the examples were told right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Accuracy {
    pub right: usize,
    pub examples: usize,
}

impl Accuracy {
    /// From 0 to 1.
    pub fn share(&self) -> f64 {
        self.right as f64 / self.examples.max(1) as f64
    }
}

/// Runs `program`, a classifier, on `inputs` in the order of its own, examples along the first axis, and compares
/// the highest score of each row of its output (`logits`, or the first of floats) with `labels`. Of equal scores the
/// first counts.
pub fn accuracy(
    program: Arc<Program>,
    inputs: &[Tensor],
    labels: &[i64],
    threads: usize,
) -> Result<Accuracy, EvaluateError> {
    let output = scores(&program)?;
    let counts: Vec<usize> = inputs.iter().map(|t| t.dims().first().copied().unwrap_or(0)).collect();
    let examples = *counts.first().ok_or(EvaluateError::Empty)?;
    if examples == 0 || labels.is_empty() {
        return Err(EvaluateError::Empty);
    }
    if counts.iter().any(|c| *c != examples) {
        return Err(EvaluateError::Examples(counts));
    }
    let is_open = |p: &Port| p.ty.dims.first().is_some_and(|d| d.as_const().is_none());
    let batch = if program.inputs.iter().all(is_open) { BATCH } else { examples };
    let mut session = Session::new(program.clone(), &SessionOptions { threads, ..SessionOptions::default() });
    let (mut sum, mut left) = (Accuracy::default(), labels);
    for start in (0..examples).step_by(batch) {
        let count = batch.min(examples - start);
        let parts: Vec<Tensor> = inputs.iter().map(|t| rows(t, start, count)).collect::<Result<_, _>>()?;
        let views: Vec<View> = parts.iter().map(View::from).collect();
        session.execute(&views)?;
        let view = session.output(output);
        let (dims, elem) = (view.dims.to_vec(), view.elem);
        let values = floats(view).ok_or_else(|| refuse(format!("its scores are {elem}")))?;
        let classes = dims.last().copied().unwrap_or(0).max(1);
        let mismatch = || EvaluateError::Labels { labels: labels.len(), scores: dims.clone() };
        let (now, rest) = left.split_at_checked(values.len() / classes).ok_or_else(mismatch)?;
        for (row, label) in values.chunks(classes).zip(now) {
            if !(0..classes as i64).contains(label) {
                return Err(EvaluateError::Label { label: *label, classes });
            }
            sum.right += usize::from(highest(row) as i64 == *label);
        }
        sum.examples += now.len();
        left = rest;
        if !left.is_empty() && start + count == examples {
            return Err(mismatch());
        }
    }
    Ok(sum)
}

fn scores(program: &Program) -> Result<usize, EvaluateError> {
    let is_scores = |p: &Port| {
        p.ty.rank() >= 2 && p.ty.elem.is_float() && p.ty.back(0).is_none_or(|d: &Dim| d.as_const() != Some(0))
    };
    program
        .output("logits")
        .filter(|i| is_scores(&program.outputs[*i]))
        .or_else(|| program.outputs.iter().position(is_scores))
        .ok_or(EvaluateError::NoScores)
}

/// `count` rows along the first axis, from `start` on.
fn rows(tensor: &Tensor, start: usize, count: usize) -> Result<Tensor, EvaluateError> {
    let mut dims = tensor.dims().to_vec();
    let size = tensor.bytes().len() / dims[0];
    dims[0] = count;
    Tensor::new(tensor.elem(), dims, tensor.bytes().slice(start * size..(start + count) * size))
        .map_err(|e| refuse(e.to_string()).into())
}

fn highest(row: &[f32]) -> usize {
    let best = row.iter().enumerate().reduce(|a, b| if b.1 > a.1 { b } else { a });
    best.map_or(0, |(i, _)| i)
}
