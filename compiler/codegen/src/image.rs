//! What a program is made of besides the plans of its kernels: machine code, constants as kernels read them, buffers, and
//! the order of steps. It becomes a [program](program) that runs at once, a [file](artefact) that the runtime loads, or an
//! [object file](object).

pub mod artefact;
mod buffers;
mod constants;
mod entry;
mod functions;
pub mod microkernels;
pub mod object;
mod object_file;
pub mod program;
mod run;
pub mod text;

use std::time::Instant;

use cranelift_module::FuncId;
use trine_runtime::{Plan, StepKind};

use self::constants::Wanted;
use self::functions::Functions;
use super::emit::translate;
use super::error::{BuildError, CodegenError};
use super::plan::{Kernels, Planned};
use super::target::Target;

/// A compiled module that lies nowhere yet.
pub struct Image {
    target: Target,
    plan: Plan<FuncId>,
    functions: Functions,
    consts: Vec<Wanted>,
}

impl Image {
    /// Compiles the kernels of a module, and plans its steps, buffers and constants.
    pub fn new(kernels: &Kernels) -> Result<Image, BuildError> {
        let start = Instant::now();
        let (plan, consts) = run::plan(kernels)?;
        let mut functions = Functions::new(&kernels.target.isa);
        let translate = |(name, planned): (&str, &Planned)| {
            // No function of another kind has a name like this.
            let name = format!("kernel.{name}");
            translate(&mut functions, &plan.symbols, &name, planned.body, &*planned.kernel)
        };
        let translated = kernels.iter().map(translate).collect::<Result<Vec<_>, _>>()?;
        let mut ids = translated.iter().map(|(id, _)| *id).collect::<Vec<_>>().into_iter();
        functions.define_all(translated).map_err(|e| CodegenError::bug("code", e))?;
        let plan = plan.with_code(|()| ids.next().ok_or(CodegenError::malformed("a kernel")))?;
        let image = Image { target: kernels.target.clone(), plan, functions, consts };
        let (compiled, steps) = (kernels.iter().count(), image.plan.steps.len());
        let (interpreted, ms) = (image.interpreted().count(), start.elapsed().as_millis());
        tracing::info!(kernels = compiled, steps, interpreted, ms, "compiled kernels");
        Ok(image)
    }

    /// The steps that run by their meaning, as errors call them.
    pub fn interpreted(&self) -> impl Iterator<Item = &str> {
        let steps = self.plan.steps.iter().filter(|s| matches!(s.kind, StepKind::Interpret(_)));
        steps.map(|step| step.place.as_str())
    }
}
