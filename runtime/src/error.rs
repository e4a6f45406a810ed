//! What can go wrong in a run, and whose fault it is.

/// An error of a run. All but `Kernel` and `Eval` are the caller's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RunError {
    #[error("expected {expected} inputs ({names}), got {actual}")]
    InputCount { expected: usize, actual: usize, names: String },
    #[error("no input `{name}`; there are {names}")]
    NoInput { name: String, names: String },
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
    #[error("{bytes} bytes of memory cannot be had")]
    Memory { bytes: usize },
}
