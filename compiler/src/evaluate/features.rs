//! What a model makes of examples at one of its values.

use std::sync::Arc;

use trine_ir::{MAIN, Module, Tensor};
use trine_runtime::{Session, SessionOptions};

use super::EvaluateError;
use crate::compiler::Compiler;
use crate::options::Options;
use crate::passes::ternarize_features;

/// A value of a model for some examples.
pub struct FeatureRows {
    /// What the value is called.
    pub name: String,
    /// An example a row.
    pub rows: Vec<f32>,
    pub width: usize,
}

/// The value called `name`, by default what the last linear layer reads, for `inputs` in the order of the model's own,
/// examples along the first axis. `module` is as imported, or simplified.
pub fn features(
    module: &Module,
    name: Option<&str>,
    inputs: &[Tensor],
    threads: usize,
) -> Result<FeatureRows, EvaluateError> {
    let value = ternarize_features::features(module, name).map_err(EvaluateError::NoFeatures)?;
    let mut module = module.clone();
    let graph = &mut module.functions[MAIN].graph;
    let name = graph.name(value).to_string();
    graph.set_outputs(vec![value]);
    module.sweep();
    let program = Arc::new(Compiler::new(Options::default())?.program(module)?);
    let mut session = Session::new(program, &SessionOptions { threads, ..SessionOptions::default() });
    let output = session.run(inputs)?.swap_remove(0);
    let counts: Vec<usize> = inputs.iter().map(|t| t.dims().first().copied().unwrap_or(0)).collect();
    let examples = counts.first().copied().filter(|n| *n > 0).ok_or(EvaluateError::Empty)?;
    if counts.iter().any(|count| *count != examples) {
        return Err(EvaluateError::Examples(counts));
    }
    if output.dims().first() != Some(&examples) {
        let reason = format!("`%{name}` is {}, not a row for each of {examples} examples", output.ty());
        return Err(EvaluateError::NoFeatures(reason));
    }
    let rows = output.values::<f32>().map_err(|e| EvaluateError::NoFeatures(e.to_string()))?.into_owned();
    Ok(FeatureRows { name, width: rows.len() / examples, rows })
}
