//! What `--calib` names, as batches of the model's inputs.

use std::path::{Path, PathBuf};

use trine::Module;
use trine::calibrate::Data;
use trine::npz::Npz;
use trine_ir::Type;

use super::Args;
use crate::failure::Failure;
use crate::inputs;
use crate::progress::Spinner;
use crate::tokenizer::TokenizerFile;

/// The array of an archive that holds labels.
const LABELS: &str = "y";

/// Calibration data, and the labels of its held-out examples.
pub struct Given {
    pub data: Data,
    pub labels: Option<Vec<i64>>,
    /// What made tokens of a text.
    pub tokenizer: Option<PathBuf>,
}

impl Given {
    pub fn read(args: &Args, model: &Path, module: &Module) -> Result<Given, Failure> {
        let Some(path) = &args.calib else {
            return Ok(Given { data: Data::default(), labels: None, tokenizer: None });
        };
        let _progress = Spinner::of_phase(format!("reading {}", path.display()));
        if path.extension().is_some_and(|e| e == "npz") {
            return arrays(path, module);
        }
        let tokenizer = TokenizerFile::open(args.tokenizer.as_deref(), model)?;
        let tokens = tokenizer.encode_file(path)?;
        let data = Data::text(module, &tokens, args.context as usize, args.tokens, args.seed)?;
        Ok(Given { data, labels: None, tokenizer: Some(tokenizer.path) })
    }

    /// Whether there is nothing to judge a model by.
    pub fn is_blind(&self) -> bool {
        self.labels.is_none() && self.data.held_out_windows.is_empty()
    }
}

fn arrays(path: &Path, module: &Module) -> Result<Given, Failure> {
    let mut npz = Npz::open(path)?;
    let labels = npz.get(LABELS)?;
    let graph = module.main().map(|f| &f.graph);
    let params: Vec<(&str, &Type)> =
        graph.iter().flat_map(|g| g.params().iter().map(|p| (g.name(*p), g.ty(*p)))).collect();
    let tensors = inputs::read_named(path, &mut npz, &params)?;
    let data = Data::arrays(module, &tensors)?;
    let Some(labels) = labels else { return Ok(Given { data, labels: None, tokenizer: None }) };
    let Some(labels) = inputs::integers(&labels) else {
        let message = format!("labels `{LABELS}` are integers, `{}` has {}", path.display(), labels.ty());
        return Err(Failure::input(message, ""));
    };
    let examples = |batches: &[Vec<trine::Tensor>]| -> usize {
        batches.iter().map(|b| b.first().map_or(0, |t| t.dims()[0])).sum()
    };
    let before = examples(&data.batches[..data.calibration()]);
    let held_out = examples(&data.batches[data.calibration()..]);
    let Some(labels) = labels.get(before..before + held_out) else {
        let message = format!("`{}` has {} labels for more examples", path.display(), labels.len());
        return Err(Failure::input(message, ""));
    };
    let labels = labels.iter().map(|v| i64::try_from(*v).unwrap_or(-1)).collect();
    Ok(Given { data, labels: Some(labels), tokenizer: None })
}
