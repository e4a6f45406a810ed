//! Models as every subcommand reads and compiles them: with signs of life and plain warnings.
#![allow(unsafe_code)]

use std::path::Path;

use trine::artefact::{self, OpenOptions, Weights};
use trine::pass::{Driver, Exactness, Pipeline, Report};
use trine::passes::PASSES;
use trine::{Compiler, Module, Observer, Options, Program, Sources};

use super::failure::{Failure, warn};
use super::progress::Spinner;

/// Reads a model, and says which files its weights stay in.
pub fn load(path: &Path, dims: &[(String, usize)]) -> Result<(Module, Sources), Failure> {
    if is_artefact(path) {
        let message = format!("`{}` is compiled already", path.display());
        return Err(Failure::usage(message, "give the model it was made of"));
    }
    let _progress = Spinner::new(format!("reading {}", path.display()));
    Ok(trine::load_fixed(path, dims)?)
}

/// Whether a file is compiled already.
pub fn is_artefact(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "trine")
}

/// Loads a file that is compiled already, for which nothing can be asked that is decided when compiling.
fn load_compiled(path: &Path, options: &Options, weights: Weights) -> Result<Program, Failure> {
    let usual = Options {
        microkernels: options.microkernels.clone(),
        cache: options.cache.clone(),
        ..Options::default()
    };
    if *options != usual {
        let message = format!("`{}` is compiled, and options say how to compile", path.display());
        return Err(Failure::usage(
            message,
            "give them to `trine compile`, or give the model it was made of",
        ));
    }
    let _progress = Spinner::new(format!("loading {}", path.display()));
    let how = OpenOptions { weights, ..OpenOptions::default() };
    // SAFETY: who names a compiled file on the command line wants it run, as who names a program does.
    let loaded = unsafe { artefact::load(path, &how) };
    loaded.map_err(|source| trine::Error::Artefact { path: path.into(), source }.into())
}

/// Compiles a model, or loads one that is compiled; what is lost on the way is said on standard error.
pub fn compile(path: &Path, options: &Options, weights: Weights) -> Result<Program, Failure> {
    compile_within(path, options, weights, None)
}

/// The same, which refuses before it makes weights that take more than `max_bytes`.
pub fn compile_within(
    path: &Path,
    options: &Options,
    weights: Weights,
    max_bytes: Option<usize>,
) -> Result<Program, Failure> {
    if is_artefact(path) {
        // They are mapped, or copied as they lie in the file, which holds little else.
        let bytes = std::fs::metadata(path).map_or(0, |file| file.len() as usize);
        refuse_weights(bytes, max_bytes)?;
        return load_compiled(path, options, weights);
    }
    let progress = Spinner::new(format!("reading {}", path.display()));
    let (mut module, sources) = trine::load_for(path, options)?;
    drop(progress);
    let progress = Spinner::new(format!("compiling {}", path.display()));
    let mut notes = vec![];
    let mut compiler = Compiler::new(options.clone())?.with_observer(Notes(&mut notes));
    warn_of_losses(&compiler.optimize(&mut module)?);
    refuse_weights(trine::codegen::choice::weight_bytes(&module), max_bytes)?;
    let program = compiler.program(module)?;
    drop(compiler);
    drop(progress);
    say(&notes);
    sources.check()?;
    Ok(program)
}

fn refuse_weights(bytes: usize, allowed: Option<usize>) -> Result<(), Failure> {
    match allowed.filter(|allowed| bytes > *allowed) {
        Some(allowed) => {
            let what = "the weight data".into();
            Err(trine::RunError::MemoryLimit { what, bytes, needed: bytes, allowed }.into())
        }
        None => Ok(()),
    }
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
        let (pass, count) = (step.pass, step.layers.len());
        if let Some(worst) = step.layers.iter().max_by(|a, b| a.error.total_cmp(&b.error)) {
            let others = if count > 1 { "\n  the others: `trine explain`" } else { "" };
            warn(format!(
                "`{pass}` changed the weights of {count} layers; outputs are approximations\n  the worst: {worst}{others}"
            ));
        } else if let Some(first) = step.notes.first() {
            let others = if step.notes.len() > 1 { "\n  and so on: `trine explain`" } else { "" };
            let count = step.notes.len();
            warn(format!(
                "`{pass}` changed what is computed in {count} layers; outputs are approximations\n  {first}{others}"
            ));
        }
    }
}
