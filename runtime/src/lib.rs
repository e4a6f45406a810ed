//! What runs a compiled program: programs, sessions, the arena, threads. It never compiles.
//!
//! A [`Program`] is kernels, constants, a buffer plan and a list of steps. A [`Session`] binds the symbolic
//! dimensions to what its inputs have, owns one arena and the state, and runs. Many sessions share a program.

pub mod arena;
pub mod artefact;
mod budget;
mod calls;
mod check;
pub mod code;
pub mod cpu;
mod crowd;
pub mod error;
mod guard;
#[cfg(feature = "interpreter")]
mod interpret;
#[cfg(not(feature = "interpreter"))]
#[path = "interpret_nothing.rs"]
mod interpret;
pub mod kernel;
mod memory;
mod named;
mod pool;
pub mod program;
mod saved;
mod schedule;
pub mod session;
mod sizes;
mod slots;
mod states;

pub use check::ProgramError;
pub use error::RunError;
pub use kernel::{Kernel, KernelFn};
pub use program::{
    Buffer, Constant, Derived, Parts, Place, Plan, Port, Program, Required, Size, State, Step, StepKind,
};
pub use saved::{Saved, SavedError};
pub use schedule::MIN_SPLIT_WORK;
pub use session::{MAX_THREADS, Session, SessionOptions, View};
pub use trine_ir::{DimEnv, Elem, Tensor, Type};
