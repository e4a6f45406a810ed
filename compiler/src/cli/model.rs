//! Models as every subcommand reads and compiles them: with signs of life and plain warnings.

use std::path::Path;

use trine::pass::{Driver, Exactness, Pipeline, Report};
use trine::passes::PASSES;
use trine::{Module, Options, Program};

use super::failure::{Failure, warn};
use super::progress::Progress;

/// Reads a model.
pub fn load(path: &Path) -> Result<Module, Failure> {
    let _progress = Progress::new(format!("reading {}", path.display()));
    Ok(trine::load(path)?)
}

/// Compiles a model; what is lost on the way is said on standard error.
pub fn compile(path: &Path, options: &Options) -> Result<Program, Failure> {
    let mut module = load(path)?;
    let _progress = Progress::new(format!("compiling {}", path.display()));
    let pipeline = options.pipeline(&module)?;
    let report = optimize(&mut module, &pipeline, &mut Driver::new())?;
    warn_of_losses(&report);
    Ok(trine::build_program(module, options)?)
}

/// Runs passes.
pub fn optimize(module: &mut Module, pipeline: &Pipeline, driver: &mut Driver) -> Result<Report, Failure> {
    Ok(driver.run(pipeline, module).map_err(trine::Error::from)?)
}

/// One warning for all layers that are no longer what the model says.
pub fn warn_of_losses(report: &Report) {
    let is_lossy = |pass: &str| PASSES.iter().any(|p| p.name == pass && p.exactness == Exactness::Lossy);
    for step in report.steps.iter().filter(|s| is_lossy(s.pass) && !s.layers.is_empty()) {
        let lines: Vec<String> = step.layers.iter().map(|l| format!("  {l}")).collect();
        warn(format!(
            "`{}` changed the weights of {} layers; outputs are approximations\n{}",
            step.pass,
            lines.len(),
            lines.join("\n")
        ));
    }
}
