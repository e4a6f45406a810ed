//! What makes a Trine program.

pub mod build;
pub mod codegen;
pub mod import;
pub mod passes;
mod plan_buffers;
