//! Modules by way of a `.trine` file.
#![allow(unsafe_code)]

use std::io::Cursor;

use trine::artefact::{Artefact, ArtefactError, OpenOptions};
use trine::codegen::image::artefact;
use trine::{Compiler, Options, Program};
use trine_ir::Module;

/// The file of an optimised module, for this machine.
pub fn file(module: &Module, options: &Options) -> Result<Vec<u8>, String> {
    let mut compiler = Compiler::new(options.clone()).map_err(|e| e.to_string())?;
    let variant = compiler.variant(module.clone(), "native").map_err(|e| e.to_string())?;
    let mut file = Cursor::new(vec![]);
    artefact::write(&[variant], &mut file).map_err(|e| e.to_string())?;
    Ok(file.into_inner())
}

/// The program that a file holds. Where it was changed, the program is not to be run.
pub fn load(file: Vec<u8>) -> Result<Program, String> {
    let artefact = Artefact::from_bytes(file.into(), &OpenOptions::default()).map_err(|e| e.to_string())?;
    program(&artefact).map_err(|e| e.to_string())
}

/// The program of a file that is open; [`load`] says which are run.
pub fn program(artefact: &Artefact) -> Result<Program, ArtefactError> {
    // SAFETY: those who run what they get wrote the file here.
    unsafe { artefact.program() }
}
