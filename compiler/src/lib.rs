//! What makes a Trine program.

pub mod codegen;
pub mod import;
