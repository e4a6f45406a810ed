//! An image as a program that runs on this machine.
#![allow(unsafe_code)]

use std::sync::Arc;

use trine_ir::Module;
use trine_runtime::code::Code;
use trine_runtime::{KernelFn, Parts, Program};

use super::{Image, constants};
use crate::choice::Choices;
use crate::error::{BuildError, CodegenError};
use crate::plan::Kernels;
use crate::target::Target;

/// Makes a program of a module whose kernels are formed, for `target`, which must run here. Every op without a kernel runs
/// by its meaning.
pub fn build(module: Module, target: &Target) -> Result<Program, BuildError> {
    let image = Image::new(&Kernels::plan(&module, &Choices::new(target, &module))?)?;
    image.load(module)
}

impl Image {
    /// The program, with the constants of the module that the image was made of. A target that does not run here is an error.
    pub fn load(self, mut module: Module) -> Result<Program, BuildError> {
        let Image { target, plan, functions, consts } = self;
        target.expect_here()?;
        let consts = constants::lay_out(&consts, &mut module)?;
        let mut linked = functions.link()?;
        linked.resolve()?;
        let code = Code::load(&linked.bytes, linked.imports.iter().map(String::as_str));
        let code = code.map_err(BuildError::Code)?;
        let plan = plan.with_code(|function| {
            let place = linked.places.get(&function).ok_or(CodegenError::malformed("a kernel"))?;
            let address = code.address(place.start).ok_or(CodegenError::malformed("a kernel"))?;
            // SAFETY: `emit::define` gave each function the signature of `KernelFn` and the C calling convention of the
            // target, which is this machine's; the code stays mapped as long as the program lives.
            Ok::<_, CodegenError>(unsafe { std::mem::transmute::<*const u8, KernelFn>(address) })
        })?;
        let parts = Parts { plan, consts, code, module: Arc::new(module) };
        // SAFETY: each kernel is compiled from the function that its step calls, whose parameters and results have the
        // types of the step's operands and results, by emitters that keep within these and within the scratch that their
        // plans ask for. Constants are packed as the plans ask, and buffers are sized by their types and share slots by
        // use.
        Ok(unsafe { Program::new(parts) }?)
    }
}
