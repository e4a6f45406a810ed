//! Models as every subcommand reads and compiles them: with signs of life and plain warnings.

use std::path::Path;

use trine::pass::{Driver, Exactness, Pipeline, Report};
use trine::passes::PASSES;
use trine::{Compiler, Module, Observer, Options, Program, Sources};

use super::failure::{Failure, warn};
use super::progress::Spinner;

/// Reads a model, and says which files its weights stay in.
pub fn load(path: &Path, dims: &[(String, usize)]) -> Result<(Module, Sources), Failure> {
    let _progress = Spinner::new(format!("reading {}", path.display()));
    Ok(trine::load_fixed(path, dims)?)
}

/// Compiles a model; what is lost on the way is said on standard error.
pub fn compile(path: &Path, options: &Options) -> Result<Program, Failure> {
    let progress = Spinner::new(format!("reading {}", path.display()));
    let (mut module, sources) = trine::load_for(path, options)?;
    drop(progress);
    let progress = Spinner::new(format!("compiling {}", path.display()));
    let mut notes = vec![];
    let mut compiler = Compiler::new(options.clone())?.with_observer(Notes(&mut notes));
    warn_of_losses(&compiler.optimize(&mut module)?);
    let program = compiler.program(module)?;
    drop(compiler);
    drop(progress);
    say(&notes);
    sources.check()?;
    Ok(program)
}

/// Keeps notes until it is time to say them.
pub struct Notes<'n>(pub &'n mut Vec<String>);

impl Observer for Notes<'_> {
    fn note(&mut self, sentence: String) {
        self.0.push(sentence);
    }
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
