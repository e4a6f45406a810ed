//! `trine --version`: which Trine it is and, with `--verbose`, what a report of a bug wants to say of it.

use std::io::Write;

use trine::codegen::CRANELIFT;
use trine_ukernel::Features;

use super::Out;
use super::failure::Outcome;

pub fn run(verbose: bool, out: &mut Out) -> Outcome {
    writeln!(out, "trine {}", env!("CARGO_PKG_VERSION"))?;
    if verbose {
        writeln!(out, "commit: {}", env!("TRINE_COMMIT"))?;
        writeln!(out, "target: {}", env!("TRINE_TARGET"))?;
        writeln!(out, "CPU features: {}", Features::detect())?;
        writeln!(out, "cranelift: {CRANELIFT}")?;
        writeln!(out, "compiler: {}", env!("TRINE_RUSTC"))?;
    }
    Ok(())
}
