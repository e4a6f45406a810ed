//! The errors of the compiler as one type, each with whose fault it is.

use std::path::PathBuf;

use trine_runtime::RunError;
use trine_runtime::artefact::ArtefactError;

use crate::calibrate::CalibrateError;
use crate::evaluate::EvaluateError;
use crate::export::ExportError;
use crate::language_model::DecoderError;
use crate::pass::PassError;
use trine_codegen::{BuildError, ObjectError};
use trine_formats::disk::FileError;
use trine_formats::import::{self, ImportError};
use trine_formats::npz::ArrayError;
use trine_ir::Fault;

/// Why a model was not compiled or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("`{}` is not a model: its name ends neither in `.onnx` nor in `.ir`", path.display())]
    Format { path: PathBuf },
    #[error("`{}` does not end in `.ir`", path.display())]
    NoIr { path: PathBuf },
    #[error("`{}` is not UTF-8 text", path.display())]
    NotText { path: PathBuf },
    #[error("{}", import::message(path, source))]
    Import { path: PathBuf, source: Box<ImportError> },
    #[error("`{}`: {error}", path.display())]
    Ir { path: PathBuf, error: trine_ir::Error },
    #[error(transparent)]
    Array(#[from] ArrayError),
    #[error(transparent)]
    Pass(#[from] PassError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("`{}`: {source}", path.display())]
    Artefact { path: PathBuf, source: ArtefactError },
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Error {
    pub fn fault(&self) -> Fault {
        match self {
            Error::Format { .. } | Error::NoIr { .. } => Fault::Usage,
            Error::Import { source, .. } => source.fault(),
            Error::File(error) => error.fault(),
            Error::Array(error) => error.fault(),
            Error::Pass(error) => error.fault(),
            Error::Build(error) => error.fault(),
            Error::Object(error) => error.fault(),
            Error::Calibrate(error) => error.fault(),
            Error::Decoder(error) => error.fault(),
            Error::Evaluate(error) => error.fault(),
            Error::Export(error) => error.fault(),
            Error::NotText { .. } | Error::Ir { .. } | Error::Artefact { .. } | Error::Run(_) => Fault::Input,
        }
    }
}
