//! The passes: one file each under `passes/`.

pub mod form_kernels;
