//! What makes a Trine program: import, passes, ternarization, code generation.

pub mod calibrate;
mod compile;
mod compiler;
pub mod discrimination;
mod error;
pub mod evaluate;
pub mod explain;
pub mod export;
mod files;
pub mod generate;
mod language_model;
pub mod layers;
mod observe;
mod options;
pub mod pass;
pub mod passes;
pub mod pattern;
mod recurrent;
mod remembered;
pub mod rounding;
mod serialize;

pub use compile::{build_program, compile, compile_bytes, compile_to, optimize};
pub use compiler::Compiler;
pub use error::Error;
pub use files::{
    Sources, load, load_bytes, load_fixed, load_for, load_with_sources, parse, save, save_artefact,
};
pub use observe::{Observer, Progress};
pub use options::{Activations, Backend, Head, Level, Options};
pub use trine_codegen as codegen;
pub use trine_codegen::plan::report::KernelReport;
pub use trine_formats::disk::{FileError, write_atomically, write_text};
pub use trine_formats::{import, npz};
pub use trine_ir::{Fault, Module, Tensor};
pub use trine_runtime::artefact;
pub use trine_runtime::{Program, RunError, Session, SessionOptions, View, inputs};
pub use trine_ternarize as ternarize;
