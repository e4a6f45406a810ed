//! From a module to a program that runs on this machine.
#![allow(unsafe_code)]

use std::sync::Arc;

use rustc_hash::FxHashMap;
use trine_ir::{FunctionKind, Module, verify};
use trine_runtime::{
    Kernel, KernelFn, KernelLibrary, Parts, Program, ProgramError, RunError, Step, StepKind,
};

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
    #[error(transparent)]
    Program(#[from] ProgramError),
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

/// Makes a program of a module. Calls of kernels become machine code for `target`, which must run here; every other op
/// runs by its meaning. The module is verified: code trusts its types.
pub fn build(mut module: Module, target: &Target) -> Result<Program, BuildError> {
    target.expect_here()?;
    verify(&module).map_err(|e| BuildError::Malformed(e.to_string()))?;
    let target = &target.for_kernels(&module);
    let Draft { symbols, derived, requires, inputs, outputs, consts, buffers, slots, steps, states, kernels } =
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
    let parts =
        Parts { symbols, derived, requires, inputs, outputs, consts, buffers, slots, steps, states, module };
    // SAFETY: each kernel is compiled from the function that its step calls, whose parameters and results have the types
    // of the step's operands and results, by emitters that keep within these and within the scratch that their plans ask
    // for. Constants are packed as the plans ask, and the draft sizes buffers by their types and shares slots by use.
    Ok(unsafe { Program::new(parts) }?)
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
