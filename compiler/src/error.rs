//! The errors of the compiler as one type, each with whose fault it is.

use std::io;
use std::path::PathBuf;

use trine_runtime::{ProgramError, RunError};

use crate::build::BuildError;
use crate::calibrate::CalibrateError;
use crate::codegen::CodegenError;
use crate::evaluate::EvaluateError;
use crate::export::ExportError;
use crate::import::ImportError;
use crate::npz::ArrayError;
use crate::object::ObjectError;
use crate::pass::PassError;

/// Why a model was not compiled or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read `{}`: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{}`: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("`{}` is no model: its name ends neither in `.onnx` nor in `.ir`", path.display())]
    Format { path: PathBuf },
    #[error("`{}` does not end in `.ir`", path.display())]
    NoIr { path: PathBuf },
    #[error("`{}` is not UTF-8 text", path.display())]
    NotText { path: PathBuf },
    #[error("{}", import_message(path, source))]
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
    /// The program cannot generate text.
    #[error("the model is no decoder: {0}")]
    NotADecoder(String),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The caller wanted nothing but kernels.
    #[error("no kernel for {}", .0.join(", "))]
    NoKernel(Vec<String>),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Who can do something about an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The model or its input.
    Input,
    /// What was asked for: an option, a name.
    Usage,
    /// Trine itself.
    Trine,
}

impl Error {
    pub fn fault(&self) -> Fault {
        match self {
            Error::Format { .. } | Error::NoIr { .. } => Fault::Usage,
            Error::Import { source, .. } => match **source {
                // The importer is there to refuse such models by name before it makes a module of them.
                ImportError::Verify(_) => Fault::Trine,
                _ => Fault::Input,
            },
            Error::Pass(PassError::Pipeline(_) | PassError::Option { .. }) => Fault::Usage,
            Error::Calibrate(CalibrateError::UnknownKeep { .. } | CalibrateError::Bits { .. }) => {
                Fault::Usage
            }
            Error::Pass(PassError::Broke { .. }) => Fault::Trine,
            Error::Build(error) | Error::Object(ObjectError::Build(error)) => match error {
                // A target is what a user names, by a triple, a CPU or a microkernel; sizes are the model's.
                BuildError::Codegen(CodegenError::Target { .. }) => Fault::Usage,
                BuildError::Codegen(CodegenError::Overflow { .. }) => Fault::Input,
                // Sizes that no inputs determine are the model's.
                BuildError::Program(ProgramError::Unbound { .. }) => Fault::Input,
                BuildError::Codegen(_) | BuildError::Malformed(_) | BuildError::Program(_) => Fault::Trine,
                BuildError::Memory(_)
                | BuildError::NoMain
                | BuildError::TooLarge { .. }
                | BuildError::NoKernel(_) => Fault::Input,
            },
            Error::Object(ObjectError::Name { .. }) => Fault::Usage,
            _ => Fault::Input,
        }
    }
}

/// The importer names the file only where it could not be opened.
fn import_message(path: &std::path::Path, error: &ImportError) -> String {
    match error {
        ImportError::Io { .. } | ImportError::Changed(_) => error.to_string(),
        _ => format!("`{}`: {error}", path.display()),
    }
}
