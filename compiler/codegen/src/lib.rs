//! From a module to machine code, in a chain of types:
//!
//! ```text
//! Module ──form──▶ Module of kernels ──Kernels::plan──▶ Kernels ──▶ Program, which runs here
//!                                                               ├──▶ artefact, a file that the runtime loads
//!                                                               └──▶ Object, for any linker
//! ```
//!
//! [`emit`] knows each kind of kernel, [`choice`] which microkernel a layer gets, [`plan`] all kernels of a module, and
//! [`image`] what else a program is made of: constants, buffers, the order of steps.

pub mod choice;
pub mod emit;
pub mod error;
pub mod image;
pub mod plan;
pub mod target;
#[cfg(test)]
mod testing;

pub use error::{BuildError, CodegenError, ObjectError, WriteError};
pub use plan::Kernels;
pub use target::Target;

/// The version of Cranelift that makes the code.
pub const CRANELIFT: &str = cranelift_codegen::VERSION;
