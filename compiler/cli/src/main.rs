//! The command `trine`.

use std::process::ExitCode;

fn main() -> ExitCode {
    trine_cli::run(std::env::args_os())
}
