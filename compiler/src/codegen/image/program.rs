//! Kernels as a program that runs on this machine.
#![allow(unsafe_code)]

use std::sync::Arc;

use rustc_hash::FxHashMap;
use trine_ir::Module;
use trine_runtime::{Kernel, KernelFn, KernelLibrary, Parts, Program, Step, StepKind};

use super::constants;
use super::draft::{Draft, draft};
use super::jit::Jit;
use crate::codegen::choice::Choices;
use crate::codegen::emit::define;
use crate::codegen::error::BuildError;
use crate::codegen::plan::Kernels;
use crate::codegen::target::Target;

/// A program but for its constants, which it will share with its module.
pub struct Linked {
    draft: Draft,
    functions: FxHashMap<String, KernelFn>,
    library: KernelLibrary,
}

/// Makes a program of a module whose kernels are formed, for `target`, which must run here. Every op without a kernel runs
/// by its meaning.
pub fn build(module: Module, target: &Target) -> Result<Program, BuildError> {
    let linked = Linked::new(&Kernels::plan(&module, &Choices::new(target, &module))?)?;
    linked.program(module)
}

impl Linked {
    /// Compiles the kernels, which must run here.
    pub fn new(kernels: &Kernels) -> Result<Linked, BuildError> {
        kernels.target.expect_here()?;
        let draft = draft(kernels)?;
        let (functions, library) = compile(kernels, &draft.symbols)?;
        Ok(Linked { draft, functions, library })
    }

    /// The program, with the constants of the module whose kernels these are.
    pub fn program(self, mut module: Module) -> Result<Program, BuildError> {
        let Linked { draft, functions, library } = self;
        let consts = constants::lay_out(&draft.consts, &mut module)?;
        let kernel = |name: String| {
            let missing = || BuildError::Malformed(format!("no kernel `@{name}`"));
            let needs = draft.kernels.get(&name).ok_or_else(missing)?;
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
        let steps = draft.steps.into_iter().map(|step| link(step, kernel));
        let parts = Parts {
            symbols: draft.symbols,
            derived: draft.derived,
            requires: draft.requires,
            inputs: draft.inputs,
            outputs: draft.outputs,
            consts,
            buffers: draft.buffers,
            slots: draft.slots,
            steps: steps.collect::<Result<_, BuildError>>()?,
            states: draft.states,
            module: Arc::new(module),
        };
        // SAFETY: each kernel is compiled from the function that its step calls, whose parameters and results have the
        // types of the step's operands and results, by emitters that keep within these and within the scratch that their
        // plans ask for. Constants are packed as the plans ask, and the draft sizes buffers by their types and shares slots
        // by use.
        Ok(unsafe { Program::new(parts) }?)
    }
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
    kernels: &Kernels,
    symbols: &[Arc<str>],
) -> Result<(FxHashMap<String, KernelFn>, KernelLibrary), BuildError> {
    let mut jit = Jit::new(kernels.target);
    let (mut names, mut ids) = (vec![], vec![]);
    for (name, planned) in kernels.iter() {
        ids.push(define(jit.module(), symbols, name, planned.body, &*planned.kernel)?);
        names.push(name.to_string());
    }
    let (addresses, library) = jit.finish(&ids)?;
    Ok((names.into_iter().zip(addresses).collect(), library))
}
