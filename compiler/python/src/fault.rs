//! Errors as Python's exceptions, whose class says whose fault they are.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::PyErr;
use trine::generate::DecoderError;
use trine::{Error, Fault, RunError};
use trine_ir::fault::message;

/// The classes of `trine.errors`.
mod classes {
    pyo3::import_exception!(trine.errors, Internal);
    pyo3::import_exception!(trine.errors, InvalidArgument);
    pyo3::import_exception!(trine.errors, InvalidInput);
    pyo3::import_exception!(trine.errors, InvalidModel);
}

/// An error on its way to Python. It is made of ours where the interpreter's lock is not held.
pub struct Raised {
    class: Class,
    message: String,
}

enum Class {
    Model,
    Input,
    Argument,
    Internal,
}

impl Raised {
    /// What was asked for cannot be had.
    pub fn argument(message: impl Into<String>) -> Raised {
        Raised { class: Class::Argument, message: message.into() }
    }

    /// What a run was given does not fit.
    pub fn input(message: impl Into<String>) -> Raised {
        Raised { class: Class::Input, message: message.into() }
    }
}

impl From<Error> for Raised {
    fn from(error: Error) -> Raised {
        let class = match (&error, error.fault()) {
            (Error::Run(run) | Error::Decoder(DecoderError::Run(run)), _) => class_of(run),
            (_, Fault::Input) => Class::Model,
            (_, Fault::Usage) => Class::Argument,
            (_, Fault::Trine) => Class::Internal,
        };
        Raised { class, message: error.to_string() }
    }
}

fn class_of(error: &RunError) -> Class {
    match error {
        RunError::Overrun { .. } => Class::Internal,
        _ => Class::Input,
    }
}

/// Errors of rooms of the library, which are all errors of the library.
macro_rules! raised {
    ($($error:ty),*) => {$(
        impl From<$error> for Raised {
            fn from(error: $error) -> Raised {
                Error::from(error).into()
            }
        }
    )*};
}

raised!(
    RunError,
    DecoderError,
    trine::FileError,
    trine::calibrate::CalibrateError,
    trine::codegen::BuildError,
    trine::export::ExportError,
    trine::pass::PassError
);

impl From<Raised> for PyErr {
    fn from(raised: Raised) -> PyErr {
        let Raised { class, message } = raised;
        match class {
            Class::Model => classes::InvalidModel::new_err(message),
            Class::Input => classes::InvalidInput::new_err(message),
            Class::Argument => classes::InvalidArgument::new_err(message),
            Class::Internal => classes::Internal::new_err(message),
        }
    }
}

/// Runs what takes long; a panic in it is an error of Trine's.
pub fn caught<T>(work: impl FnOnce() -> Result<T, Raised>) -> Result<T, Raised> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = format!("this is a bug in Trine, not in your model: {}", message(&*panic));
        Err(Raised { class: Class::Internal, message })
    })
}
