//! What can go wrong in a run, and whose fault it is.

use crate::budget::Bytes;

/// An error of a run. All but `Eval`, which may be the model's, and `Overrun`, which is ours, are the caller's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RunError {
    #[error("expected {expected} inputs ({names}), got {actual}")]
    InputCount { expected: usize, actual: usize, names: String },
    #[error("no input `{name}`; there are {names}")]
    NoInput { name: String, names: String },
    #[error("input `{name}` is not given")]
    InputMissing { name: String },
    #[error("input `{name}` is given twice")]
    InputTwice { name: String },
    #[error("input `{name}` is {expected}, got {actual}")]
    InputType { name: String, expected: String, actual: String },
    #[error("input `{name}`: axis {axis} has {actual} elements, not `{dim}`{known}")]
    InputDim { name: String, axis: usize, actual: usize, dim: String, known: String },
    /// Sizes of inputs that the model needs to be equal are not.
    #[error("{0}")]
    Sizes(String),
    #[error("the inputs do not determine `{symbol}`")]
    Unbound { symbol: String },
    #[error("{place}: {message}")]
    Eval { place: String, message: String },
    #[error("the state holds {capacity} positions, {needed} are needed")]
    StateFull { capacity: usize, needed: usize },
    #[error(
        "the state `{name}` is held with {was} elements along axis {axis}, not {now}, until the session is reset"
    )]
    StateDims { name: String, axis: usize, was: usize, now: usize },
    #[error("the states `{name}` and `{other}` would hold {positions} and {others} positions")]
    StatesDiffer { name: String, positions: usize, other: String, others: usize },
    #[error("the saved state `{name}` does not fit: {message}")]
    SavedState { name: String, message: String },
    #[error("a size is negative or too large{}", if dims.is_empty() { String::new() } else { format!(" for {dims}") })]
    NoSize { dims: String },
    /// Only of a guarded session.
    #[error("{place}: the kernel wrote outside of {memory}")]
    Overrun { place: String, memory: String },
    #[error("{what} takes {}, which cannot be had", Bytes(*bytes))]
    Memory { what: String, bytes: usize },
    /// More than [`SessionOptions::max_bytes`](crate::SessionOptions::max_bytes) says. `what` takes `bytes` of what is needed
    /// in all.
    #[error(
        "{what} takes {}; {} are needed in all, and {} are allowed", Bytes(*bytes), Bytes(*needed), Bytes(*allowed)
    )]
    MemoryLimit { what: String, bytes: usize, needed: usize, allowed: usize },
}
