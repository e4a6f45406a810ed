//! The command `trine`, as `python -m trine` runs it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use pyo3::prelude::*;

/// Runs the command with arguments, the first of which is the name of the program; says what it exits with.
///
/// It is for programs that do nothing else: what the arguments themselves are answered with ends the process.
#[pyfunction]
pub fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| {
        let code = trine_cli::run(arguments);
        // Rust's own programs do so when they end, and nobody can be told where it fails.
        let _ = io::stdout().flush();
        // The number of a code is not told, only whether two are equal.
        (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap_or(u8::MAX)
    })
}
