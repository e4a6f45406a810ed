//! Whose fault an error is.

/// Who can do something about an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The model or its input.
    Input,
    /// What was asked for: an option, a name.
    Usage,
    /// Trine itself.
    Trine,
}
