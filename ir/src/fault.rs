//! Whose fault an error is, and what a panic said.

use std::any::Any;

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

/// What a panic said.
pub fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").into()
}
