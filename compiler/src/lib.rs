//! What makes a Trine program: import, passes, ternarization, code generation.

pub mod build;
pub mod calibrate;
pub mod codegen;
mod compile;
mod constants;
pub mod discrimination;
mod draft;
mod error;
pub mod evaluate;
pub mod explain;
pub mod export;
mod files;
pub mod generate;
pub mod import;
mod language_model;
pub mod npz;
pub mod object;
mod options;
mod outline;
pub mod pass;
pub mod passes;
pub mod pattern;
mod plan_buffers;
mod recurrent;
pub mod ternarize;

pub use compile::{build_object, build_program, build_program_with_notes, compile, optimize};
pub use error::{Error, Fault};
pub use files::{Sources, load, load_fixed, load_for, load_with_sources, save, write_text};
pub use options::{Activations, Backend, Head, Level, Options};
pub use trine_ir::{Module, Tensor};
pub use trine_runtime::{Program, RunError, Session, SessionOptions, View};
