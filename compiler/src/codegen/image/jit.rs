//! Kernels in memory, ready to run.
#![allow(unsafe_code)]

use std::sync::{Arc, Mutex};

use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Module, default_libcall_names};
use trine_runtime::{KernelFn, KernelLibrary};

use crate::codegen::error::CodegenError;
use crate::codegen::target::Target;

/// A module whose functions become callable with `finish`.
pub struct Jit {
    module: JITModule,
}

impl Jit {
    pub fn new(target: &Target) -> Jit {
        let mut builder = JITBuilder::with_isa(target.isa.clone(), default_libcall_names());
        for (name, address) in trine_ukernel::symbols() {
            builder.symbol(name, address);
        }
        Jit { module: JITModule::new(builder) }
    }

    pub fn module(&mut self) -> &mut dyn Module {
        &mut self.module
    }

    /// The functions' addresses, and what keeps them valid.
    pub fn finish(mut self, functions: &[FuncId]) -> Result<(Vec<KernelFn>, KernelLibrary), CodegenError> {
        self.module.finalize_definitions().map_err(|e| CodegenError::bug("the JIT", e))?;
        let addresses =
            functions.iter().map(|id| self.module.get_finalized_function(*id)).collect::<Vec<_>>();
        // SAFETY: `emit::define` gave each function the signature of `KernelFn` and the C calling convention of
        // the host; the code stays mapped as long as the library lives, which every `Kernel` holds.
        let functions =
            addresses.into_iter().map(|a| unsafe { std::mem::transmute::<*const u8, KernelFn>(a) }).collect();
        Ok((functions, Arc::new(Code(Mutex::new(Some(self.module))))))
    }
}

/// Compiled code; unmapped when the last kernel is gone.
struct Code(Mutex<Option<JITModule>>);

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.0.get_mut().ok().and_then(Option::take) {
            // SAFETY: whoever could call the code held this library, and no one does any more.
            unsafe { module.free_memory() };
        }
    }
}
