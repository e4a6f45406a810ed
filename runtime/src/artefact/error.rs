//! Why a file is not loaded.

use std::io;

use super::container::{FORMAT, Kind};
use crate::check::ProgramError;
use crate::code::CodeError;

/// Why a `.trine` file is not loaded. None of its code was run.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("it is not a `.trine` file")]
    Magic,
    #[error("it was changed by a program that took it as text; copy it as it is")]
    Text,
    #[error(
        "it is of format {format}, written by Trine {made_by}; Trine {} reads format {FORMAT}: compile the model again",
        env!("CARGO_PKG_VERSION")
    )]
    Format { format: u32, made_by: String },
    #[error("it is {actual} bytes long, not {stated}: was it copied whole?")]
    Length { stated: u64, actual: u64 },
    #[error("its head is wrong: {0}")]
    Head(String),
    #[error("section {number} ({kind}): {message}")]
    Section { number: usize, kind: Kind, message: String },
    /// Each target, with what this machine lacks for it.
    #[error("none of its targets runs here: {}", .0.join(", "))]
    Target(Vec<String>),
    #[error("its plan is wrong: {0}")]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Code(#[from] CodeError),
    #[error("{bytes} bytes of memory for its weights cannot be had")]
    Memory { bytes: usize },
    #[error("a step runs by its meaning ({0}), and this runtime was built without the feature `interpreter`")]
    Interpreter(String),
}

impl ArtefactError {
    pub(super) fn section(number: usize, kind: Kind, message: impl Into<String>) -> ArtefactError {
        ArtefactError::Section { number, kind, message: message.into() }
    }
}
