//! Models as every subcommand reads and compiles them: with signs of life and plain warnings.

use std::path::Path;

use trine::pass::{Driver, Exactness, Pipeline, Report};
use trine::passes::PASSES;
use trine::{Compiler, Module, Options, Program, Sources};

use super::failure::{Failure, warn};
use super::progress::Progress;

/// Reads a model, and says which files its weights stay in.
pub fn load(path: &Path, dims: &[(String, usize)]) -> Result<(Module, Sources), Failure> {
    let _progress = Progress::new(format!("reading {}", path.display()));
    Ok(trine::load_fixed(path, dims)?)
}

/// Compiles a model; what is lost on the way is said on standard error.
pub fn compile(path: &Path, options: &Options) -> Result<Program, Failure> {
    let progress = Progress::new(format!("reading {}", path.display()));
    let (mut module, sources) = trine::load_for(path, options)?;
    drop(progress);
    let progress = Progress::new(format!("compiling {}", path.display()));
    let mut notes = vec![];
    let mut compiler = Compiler::new(options.clone())?.with_notes(|note| notes.push(note));
    warn_of_losses(&compiler.optimize(&mut module)?);
    let program = compiler.program(module)?;
    drop(compiler);
    drop(progress);
    say(&notes);
    sources.check()?;
    Ok(program)
}

/// Runs passes.
pub fn optimize(module: &mut Module, pipeline: &Pipeline, driver: &mut Driver) -> Result<Report, Failure> {
    Ok(driver.run(pipeline, module)?)
}

/// What autotuning found, on standard error.
pub fn say(notes: &[String]) {
    notes.iter().for_each(|note| eprintln!("autotune: {note}"));
}

/// One warning for all layers that are no longer what the model says.
pub fn warn_of_losses(report: &Report) {
    let is_lossy = |pass: &str| PASSES.iter().any(|p| p.name == pass && p.exactness == Exactness::Lossy);
    for step in report.steps.iter().filter(|s| is_lossy(s.pass)) {
        let layers = step.layers.iter().map(|l| format!("  {l}"));
        let notes = step.notes.iter().map(|n| format!("  {n}"));
        let (what, lines): (_, Vec<String>) = match step.layers.is_empty() {
            false => ("the weights", layers.collect()),
            true => ("what is computed in", notes.collect()),
        };
        if !lines.is_empty() {
            let (pass, count, lines) = (step.pass, lines.len(), lines.join("\n"));
            let of = if step.layers.is_empty() { "" } else { " of" };
            warn(format!("`{pass}` changed {what}{of} {count} layers; outputs are approximations\n{lines}"));
        }
    }
}
