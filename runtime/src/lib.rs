//! What runs a compiled program: programs, sessions, the arena, threads. It never compiles.
//!
//! A [`Program`] is kernels, constants, a buffer plan and a list of steps. A [`Session`] binds the symbolic
//! dimensions to what its inputs have, owns one arena and the state, and runs. Many sessions share a program.

pub mod arena;
mod calls;
pub mod error;
mod interpret;
pub mod kernel;
mod memory;
pub mod pool;
pub mod program;
mod schedule;
pub mod session;
mod sizes;

pub use error::RunError;
pub use kernel::{Kernel, KernelFn, KernelLibrary};
pub use pool::Pool;
pub use program::{Buffer, Constant, Derived, Place, Port, Program, Size, State, Step, StepKind};
pub use session::{Session, SessionOptions, View};
