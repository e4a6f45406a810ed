//! Runs a compiled model, without a compiler.
//!
//!     load MODEL.trine [NAME=N]... [FILE]...
//!
//! Sizes of the model that are open are given by name. Each file is an input, element after element, little-endian; the
//! outputs go to standard output in the same way, and what they are to standard error.
#![allow(unsafe_code)]

use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use trine_runtime::artefact::{OpenOptions, load};
use trine_runtime::{DimEnv, Port, Session, SessionOptions, Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let model = args.next().ok_or("usage: load MODEL.trine [NAME=N]... [FILE]...")?;
    // SAFETY: who names a compiled model wants it run, as who names a program does.
    let program = Arc::new(unsafe { load(model, &OpenOptions::default()) }?);
    let (mut sizes, mut files) = (DimEnv::default(), vec![]);
    for arg in args {
        match arg.split_once('=') {
            Some((name, size)) => sizes.set(name.into(), size.parse()?),
            None => files.push(arg),
        }
    }
    let input = |(port, file): (&Port, &String)| -> Result<Tensor, Box<dyn Error>> {
        let dims = port.ty.eval_dims(&sizes).map_err(|dim| format!("{}: what is `{dim}`?", port.name))?;
        Ok(Tensor::new(port.ty.elem, dims, std::fs::read(file)?.into())?)
    };
    let inputs = program.inputs.iter().zip(&files).map(input).collect::<Result<Vec<_>, _>>()?;
    let outputs = Session::new(program.clone(), &SessionOptions::default()).run(&inputs)?;
    for (port, output) in program.outputs.iter().zip(outputs) {
        eprintln!("{}: {}", port.name, output.ty());
        std::io::stdout().write_all(output.bytes())?;
    }
    Ok(())
}
