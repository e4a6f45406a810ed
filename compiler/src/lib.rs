//! What makes a Trine program.

pub mod build;
pub mod codegen;
mod draft;
pub mod import;
pub mod object;
pub mod pass;
pub mod passes;
pub mod pattern;
mod plan_buffers;
pub mod ternarize;
