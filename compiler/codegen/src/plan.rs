//! Planning: which ops become one kernel, and how each kernel is made.
//!
//! [`form`](form::form) groups ops, [`tune`] may measure microkernels, and [`Kernels::plan`] plans each kernel once. What
//! comes after reads those plans: [`verify`], and all that makes [code](super::image).

pub mod form;
mod kernels;
pub mod outline;
pub mod report;
pub mod tune;
pub mod verify;

pub use kernels::{Kernels, Planned};
