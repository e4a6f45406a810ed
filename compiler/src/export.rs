//! A rounded model as ONNX again: the model it was, with each rounded layer replaced by a sum of products.
//!
//! The planes are plain f32 initializers of {-s, 0, +s} or 2-bit `MatMulNBits`, so that other runtimes run the result
//! and `detect-ternary` finds the planes. Every other node stays as it is; those that made the old weights
//! go with them.

mod layer;
mod sweep;
mod write;

use std::path::{Path, PathBuf};

use crate::calibrate::{Linear, Rounded};
use trine_formats::disk::FileError;
use trine_formats::import::{self, ImportError};
use trine_ir::Fault;

/// How ternary weights are spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Spelling {
    /// `MatMul` with f32 initializers.
    #[default]
    F32,
    /// `MatMulNBits` of two bits, an operator of onnxruntime.
    NBits,
}

/// Why a model was not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(
        "the layer of `{weights}` is node `{node}` ({op_type}), which is none of the graph's own: write IR instead"
    )]
    NoNode { weights: String, node: String, op_type: String },
    #[error("node `{node}` ({op_type}) cannot be written with rounded weights: {reason}; write IR instead")]
    Operator { node: String, op_type: String, reason: &'static str },
    #[error("the model has no graph")]
    NoGraph,
    #[error("{}", import::message(path, source))]
    Import { path: PathBuf, source: Box<ImportError> },
    #[error(transparent)]
    File(#[from] FileError),
}

impl ExportError {
    pub fn fault(&self) -> Fault {
        match self {
            ExportError::Import { source, .. } => source.fault(),
            ExportError::File(error) => error.fault(),
            ExportError::NoNode { .. } | ExportError::Operator { .. } | ExportError::NoGraph => Fault::Input,
        }
    }
}

/// Scales in ONNX are found again in groups of multiples of this, and blocks of `MatMulNBits` are no smaller.
pub const GROUPS: usize = 16;

/// Why the ONNX model at `source` could not be written with these of its layers rounded, if it could not.
pub fn refusal(source: &Path, layers: &[Linear]) -> Result<Option<ExportError>, ExportError> {
    let fail = |error| ExportError::Import { path: source.into(), source: Box::new(error) };
    let model = import::read(source).map_err(fail)?;
    Ok(layer::check(&model, layers).err())
}

/// Writes the ONNX model at `source` with `layers` in the place of its own, as `folder/model.onnx` and its data
/// beside it.
pub fn onnx(source: &Path, layers: &[Rounded], folder: &Path, spelling: Spelling) -> Result<(), ExportError> {
    let fail = |error| ExportError::Import { path: source.into(), source: Box::new(error) };
    let mut model = import::read(source).map_err(fail)?;
    let beside = source.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    import::take_in(&mut model, beside).map_err(fail)?;
    layer::replace(&mut model, layers, spelling)?;
    sweep::sweep(&mut model);
    write::write(model, folder)
}
