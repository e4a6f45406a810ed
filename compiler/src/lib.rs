//! What makes a Trine program: import, passes, ternarization, code generation.

pub mod calibrate;
pub mod codegen;
mod compile;
mod compiler;
pub mod discrimination;
mod disk;
mod error;
pub mod evaluate;
pub mod explain;
pub mod export;
mod fault;
mod files;
pub mod generate;
pub mod import;
mod language_model;
pub mod npz;
mod options;
pub mod pass;
pub mod passes;
pub mod pattern;
mod recurrent;
pub mod ternarize;

pub use codegen::plan::report::KernelReport;
pub use compile::{build_program, compile, optimize};
pub use compiler::Compiler;
pub use disk::{FileError, write_atomically, write_text};
pub use error::Error;
pub use fault::Fault;
pub use files::{Sources, load, load_fixed, load_for, load_with_sources, parse, save};
pub use options::{Activations, Backend, Head, Level, Options};
pub use trine_ir::{Module, Tensor};
pub use trine_runtime::{Program, RunError, Session, SessionOptions, View};
