//! What makes a Trine program.

pub mod import;
