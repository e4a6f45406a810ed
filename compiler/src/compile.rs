//! The whole way from a model to a program, and its halves for who wants to look in between.

use std::path::Path;

use trine_ir::{FunctionKind, Module, Stage};
use trine_runtime::{Program, StepKind};

use crate::build::{BuildError, build};
use crate::codegen::{Target, autotune};
use crate::error::Error;
use crate::files::load_for;
use crate::object::{Object, object};
use crate::options::{Backend, Options};
use crate::outline::outline_sums;
use crate::pass::{Driver, Report};
use crate::passes::form_kernels;

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
    optimize(&mut module, options)?;
    let program = build_program(module, options)?;
    sources.check()?;
    Ok(program)
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
pub fn optimize(module: &mut Module, options: &Options) -> Result<Report, Error> {
    Ok(Driver::new().run(&options.pipeline(module)?, module)?)
}

/// Makes a program of an optimised module, for this machine.
pub fn build_program(module: Module, options: &Options) -> Result<Program, Error> {
    build_program_with_notes(module, options, &mut |_| ())
}

/// As [`build_program`]; what [autotuning](autotune::tune) finds is told to `note`.
pub fn build_program_with_notes(
    mut module: Module,
    options: &Options,
    note: &mut dyn FnMut(String),
) -> Result<Program, Error> {
    let mut target = Target::host().map_err(BuildError::from)?.for_module(&module);
    target.verify = options.verify_kernels;
    if options.backend == Backend::Interpret {
        // A kernel is called like any other function where nothing is compiled.
        module.functions.values_mut().for_each(|f| f.kind = FunctionKind::Graph);
    } else if module.stage != Stage::Kernel {
        form_kernels::form(&mut module, &target);
    }
    if options.autotune {
        autotune::tune(&module, &mut target, note).map_err(BuildError::from)?;
    }
    outline_sums(&mut module);
    let program = build(module, &target)?;
    let interpreted: Vec<String> = program
        .steps
        .iter()
        .filter(|step| options.backend == Backend::Cranelift && matches!(step.kind, StepKind::Interpret(_)))
        .map(|step| step.place.clone())
        .collect();
    if interpreted.is_empty() { Ok(program) } else { Err(Error::NoKernel(interpreted)) }
}

/// Makes an object file of an optimised module, for the machines of `target`. `name` is a C identifier, with which
/// the functions of the object begin. Of the options' pipeline `form-kernels` is to be left out: kernels are
/// formed for the target.
///
/// ```
/// use trine::codegen::Target;
/// use trine::{Options, pass::Driver};
///
/// let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/digits/mlp.onnx");
/// let mut module = trine::load(model)?;
/// let pipeline = Options::default().pipeline(&module)?.without("form-kernels");
/// Driver::new().run(&pipeline, &mut module)?;
/// let target = Target::named("native").map_err(trine::build::BuildError::from)?;
/// let object = trine::build_object(module, &target, "digits")?;
/// assert!(object.header.contains("int64_t digits_run("));
/// # Ok::<(), trine::Error>(())
/// ```
pub fn build_object(mut module: Module, target: &Target, name: &str) -> Result<Object, Error> {
    if module.stage != Stage::Kernel {
        form_kernels::form(&mut module, target);
    }
    Ok(object(&module, target, name)?)
}
