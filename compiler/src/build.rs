//! From a module to a program that runs on this machine.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use trine_ir::{FunctionKind, Module};
use trine_runtime::{Kernel, KernelFn, KernelLibrary, Program, RunError, Step, StepKind};

use crate::codegen::{self, CodegenError, Target, jit::Jit};
use crate::constants;
use crate::draft::{Draft, draft};

/// Why no program came out.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    #[error(transparent)]
    Memory(#[from] RunError),
    #[error("the module has no `@main`")]
    NoMain,
    /// The model's sizes overflow.
    #[error("{place}: a value of type {ty} is too large")]
    TooLarge { place: String, ty: String },
    /// A `kernel` that the model's text has, and that is none: those that are formed are taken.
    #[error("no emitter takes the kernel `@{}`, or its sizes overflow", .0.escape_debug())]
    NoKernel(String),
    #[error("{0}")]
    Malformed(String),
}

/// Makes a program of a verified module. Calls of kernels become machine code for `target`, this machine;
/// every other op runs by its meaning.
pub fn build(mut module: Module, target: &Target) -> Result<Program, BuildError> {
    let target = &target.for_kernels(&module);
    let Draft { symbols, inputs, outputs, consts, buffers, slots, steps, states, kernels } =
        draft(&module, target)?;
    let (functions, library) = compile(&module, &symbols, target)?;
    let consts = constants::lay_out(&consts, &mut module)?;
    let kernel = |name: String| {
        let missing = || BuildError::Malformed(format!("no kernel `@{name}`"));
        let needs = kernels.get(&name).ok_or_else(missing)?;
        Ok(Kernel {
            function: *functions.get(&name).ok_or_else(missing)?,
            scratch_shared: needs.scratch_shared.clone(),
            scratch_part: needs.scratch_part.clone(),
            work: needs.work.clone(),
            operations: needs.operations.clone(),
            bytes: needs.bytes.clone(),
            library: library.clone(),
            name,
        })
    };
    let steps = steps.into_iter().map(|step| link(step, kernel)).collect::<Result<_, BuildError>>()?;
    let module = Arc::new(module);
    Ok(Program { symbols, inputs, outputs, consts, buffers, slots, steps, states, module })
}

/// Puts the kernel where its name was.
fn link(
    step: Step<String>,
    kernel: impl Fn(String) -> Result<Kernel, BuildError>,
) -> Result<Step, BuildError> {
    let Step { kind, args, results, place } = step;
    let kind = match kind {
        StepKind::Kernel(name) => StepKind::Kernel(kernel(name)?),
        StepKind::Interpret(op) => StepKind::Interpret(op),
    };
    Ok(Step { kind, args, results, place })
}

fn compile(
    module: &Module,
    symbols: &[Arc<str>],
    target: &Target,
) -> Result<(FxHashMap<String, KernelFn>, KernelLibrary), BuildError> {
    let mut jit = Jit::new(target);
    let (mut names, mut ids) = (vec![], vec![]);
    for (name, function) in module.functions.iter().filter(|(_, f)| f.kind == FunctionKind::Kernel) {
        ids.push(codegen::define(jit.module(), symbols, name, function, target)?);
        names.push(name.clone());
    }
    let (addresses, library) = jit.finish(&ids)?;
    Ok((names.into_iter().zip(addresses).collect(), library))
}
