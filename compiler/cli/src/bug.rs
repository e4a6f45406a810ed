//! Panics are bugs of ours: they are told apart from wrong models by a report and an exit code of their own.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Mutex;

use trine::Fault;

use super::failure::{BUG, Failure, exit_code};

/// Runs the command; a panic in it becomes a failure of Trine.
pub fn catch(command: impl FnOnce() -> ExitCode) -> ExitCode {
    static MESSAGE: Mutex<Option<String>> = Mutex::new(None);
    panic::set_hook(Box::new(|info| {
        let backtrace = Backtrace::capture();
        let trace = match backtrace.status() {
            BacktraceStatus::Captured => format!("\n{backtrace}"),
            _ => String::new(),
        };
        if let Ok(mut message) = MESSAGE.lock() {
            // The first panic is the cause of any that follow.
            message.get_or_insert_with(|| format!("{info}{trace}"));
        }
    }));
    panic::catch_unwind(AssertUnwindSafe(command)).unwrap_or_else(|_| {
        let message = MESSAGE.lock().ok().and_then(|mut m| m.take()).unwrap_or("unknown panic".into());
        exit_code(Err(Failure::new(Fault::Trine, message, BUG)))
    })
}
