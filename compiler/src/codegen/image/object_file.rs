//! Kernels in an object file, for any linker.

use cranelift_module::{DataDescription, DataId, Linkage, Module, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};

use crate::codegen::error::CodegenError;
use crate::codegen::target::Target;

/// Vectors are loaded from constants a cache line at a time, and a kernel may read a line past the end.
const LINE: usize = 64;

/// An object file that is written.
pub struct ObjectFile {
    module: ObjectModule,
}

impl ObjectFile {
    pub fn new(target: &Target, name: &str) -> Result<ObjectFile, CodegenError> {
        let builder = ObjectBuilder::new(target.isa.clone(), name, default_libcall_names());
        let mut builder = builder.map_err(|e| CodegenError::bug("the object file", e))?;
        // So that a linker can leave out what a program never calls.
        builder.per_function_section(true);
        Ok(ObjectFile { module: ObjectModule::new(builder) })
    }

    pub fn module(&mut self) -> &mut dyn Module {
        &mut self.module
    }

    /// Puts read-only bytes into the file.
    pub fn constant(&mut self, name: &str, bytes: &[u8]) -> Result<DataId, CodegenError> {
        let fail = |e| CodegenError::bug(name, e);
        let id = self.module.declare_data(name, Linkage::Local, false, false).map_err(fail)?;
        let mut padded = Vec::with_capacity(bytes.len() + LINE);
        padded.extend_from_slice(bytes);
        padded.resize(bytes.len() + LINE, 0);
        let mut data = DataDescription::new();
        data.define(padded.into_boxed_slice());
        data.set_align(LINE as u64);
        self.module.define_data(id, &data).map_err(fail)?;
        Ok(id)
    }

    /// Names of the functions that the linker has to find elsewhere.
    pub fn imports(&self) -> Vec<&str> {
        let functions = self.module.declarations().get_functions();
        let imports = functions.filter(|(_, f)| f.linkage == Linkage::Import);
        imports.filter_map(|(_, f)| f.name.as_deref()).collect()
    }

    pub fn finish(self) -> Result<Vec<u8>, CodegenError> {
        self.module.finish().emit().map_err(|e| CodegenError::bug("the object file", e))
    }
}
