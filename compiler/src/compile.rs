//! The whole way from a model to a program, and its halves for who wants to look in between.

use std::path::Path;

use bytes::Bytes;
use trine_ir::Module;
use trine_runtime::Program;

use crate::compiler::Compiler;
use crate::error::Error;
use crate::files::{load_bytes, load_for, save_artefact};
use crate::options::Options;
use crate::pass::{Driver, PassError, Report};
use trine_codegen::{BuildError, Target};

/// Compiles the model at `path`, `.onnx` or `.ir`, for this machine.
///
/// ```
/// use std::sync::Arc;
/// use trine::{Options, Session, SessionOptions, Tensor};
///
/// let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/digits/mlp.onnx");
/// let program = Arc::new(trine::compile(model, &Options::default())?);
/// let mut session = Session::new(program, &SessionOptions::default());
/// let images = Tensor::from_vec(vec![2, 64], vec![0.5f32; 128]).expect("64 pixels an image");
/// let outputs = session.run(&[images])?;
/// assert_eq!(outputs[0].dims(), [2, 10]);
/// # Ok::<(), trine::Error>(())
/// ```
pub fn compile(path: impl AsRef<Path>, options: &Options) -> Result<Program, Error> {
    let (mut module, sources) = load_for(path, options)?;
    let mut compiler = Compiler::new(options.clone())?;
    compiler.optimize(&mut module)?;
    let program = compiler.program(module)?;
    sources.check()?;
    Ok(program)
}

/// Compiles the model at `model` for each of the machines that `cpus` names ([`Target::named`]), and writes the file
/// `artefact`, which programs load that have no compiler.
///
/// ```
/// use trine::{Options, Session, SessionOptions, Tensor, artefact};
///
/// let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/digits/mlp.onnx");
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("mlp.trine");
/// trine::compile_to(model, &path, &["native"], &Options::default())?;
/// // SAFETY: the file is ours.
/// let program = unsafe { artefact::load(&path, &artefact::OpenOptions::default()) }?;
/// let mut session = Session::new(program.into(), &SessionOptions::default());
/// assert_eq!(session.run(&[Tensor::from_vec(vec![1, 64], vec![0.5f32; 64])?])?[0].dims(), [1, 10]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compile_to(
    model: impl AsRef<Path>,
    artefact: impl AsRef<Path>,
    cpus: &[&str],
    options: &Options,
) -> Result<(), Error> {
    let (mut module, sources) = load_for(model, options)?;
    Compiler::new(options.clone())?.optimize(&mut module)?;
    let variant = |cpu: &&str| {
        let target = Target::named(cpu).map_err(BuildError::from)?;
        Compiler::for_target(target, options.clone())?.variant(module.clone(), cpu)
    };
    let variants = cpus.iter().map(variant).collect::<Result<Vec<_>, BuildError>>()?;
    save_artefact(&variants, artefact)?;
    sources.check()
}

/// Compiles an ONNX model from memory, which holds all of its weights, for this machine.
///
/// ```
/// use trine::{Options, Session, SessionOptions, Tensor, inputs};
///
/// let model = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/digits/mlp.onnx"))?;
/// let program = trine::compile_bytes(model, &Options::default())?;
/// let mut session = Session::new(program.into(), &SessionOptions::default());
/// let outputs = session.run_named(&inputs! { "x" => Tensor::from_vec(vec![1, 64], vec![0.5f32; 64])? })?;
/// assert_eq!(outputs[0].1.dims(), [1, 10]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compile_bytes(model: impl Into<Bytes>, options: &Options) -> Result<Program, Error> {
    let mut module = load_bytes(model, options)?;
    let mut compiler = Compiler::new(options.clone())?;
    compiler.optimize(&mut module)?;
    Ok(compiler.program(module)?)
}

/// Runs the passes that `options` ask for. What each did is in the report.
///
/// ```
/// use trine::Options;
///
/// let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/digits/mlp.onnx");
/// let mut module = trine::load(model)?;
/// let report = trine::optimize(&mut module, &Options::default())?;
/// let ternary: usize = report.steps.iter().map(|step| step.layers.len()).sum();
/// println!("{ternary} ternary layers\n{}", trine_ir::text::print(&module));
/// # assert_eq!(ternary, 3);
/// # Ok::<(), trine::Error>(())
/// ```
pub fn optimize(module: &mut Module, options: &Options) -> Result<Report, PassError> {
    Driver::new().run(&options.pipeline(module)?, module)
}

/// Makes a program of an optimised module, for this machine.
pub fn build_program(module: Module, options: &Options) -> Result<Program, BuildError> {
    Compiler::new(options.clone())?.program(module)
}
