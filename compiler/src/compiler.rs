//! From an optimised module to what runs here or is shipped, by one road.

use std::panic::{AssertUnwindSafe, catch_unwind};

use trine_ir::fault::message;
use trine_ir::{FunctionKind, Module, Stage};
use trine_runtime::Program;

use crate::observe::Observer;
use crate::options::{Backend, Level, Options};
use crate::pass::{Driver, PassError, Report};
use crate::remembered;
use trine_codegen::choice::{self, Choices};
use trine_codegen::image::Image;
use trine_codegen::image::artefact::Variant;
use trine_codegen::image::object::{Object, Weights, object};
use trine_codegen::image::text::{Language, show};
use trine_codegen::plan::form::form;
use trine_codegen::plan::outline::outline_sums;
use trine_codegen::plan::report::{KernelReport, report};
use trine_codegen::plan::tune::tune;
use trine_codegen::plan::verify::verify;
use trine_codegen::{BuildError, Kernels, ObjectError, Target};

/// Compiles modules for one target, as options say.
///
/// ```
/// use trine::codegen::Target;
/// use trine::codegen::image::object::Weights;
/// use trine::{Compiler, Options};
///
/// let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/digits/mlp.onnx");
/// let mut module = trine::load(model)?;
/// let mut compiler = Compiler::for_target(Target::named("native")?, Options::default())?;
/// compiler.optimize(&mut module)?;
/// let object = compiler.object(module, "digits", Weights::Embed)?;
/// assert!(object.header.contains("int64_t digits_run("));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Compiler<'o> {
    target: Target,
    options: Options,
    observer: Box<dyn Observer + 'o>,
}

impl<'o> Compiler<'o> {
    /// For this machine.
    pub fn new(options: Options) -> Result<Compiler<'o>, BuildError> {
        Compiler::for_target(Target::host()?, options)
    }

    /// For the machines of `target`, which must have the microkernels that the options name.
    pub fn for_target(mut target: Target, options: Options) -> Result<Compiler<'o>, BuildError> {
        for name in &options.microkernels {
            choice::force(&mut target, name)?;
        }
        Ok(Compiler { target, options, observer: Box::new(()) })
    }

    /// Tells `observer` what each pass made of the module, and what
    /// [tuning](mod@trine_codegen::plan::tune) finds.
    pub fn with_observer(mut self, observer: impl Observer + 'o) -> Compiler<'o> {
        self.observer = Box::new(observer);
        self
    }

    /// Runs the passes that the options ask for. What each did is in the report.
    pub fn optimize(&mut self, module: &mut Module) -> Result<Report, PassError> {
        let pipeline = self.options.pipeline(module)?;
        Driver::new().print_after("all", |dump| self.observer.pass(&dump)).run(&pipeline, module)
    }

    /// Groups the ops of an optimised module into kernels, if the options compile by a level's pipeline above
    /// [`Level::O0`]: what those see who look at the IR.
    pub fn form(&self, module: &mut Module) {
        let compiles = self.options.backend != Backend::Interpret && self.options.level != Level::O0;
        if compiles && self.options.passes.is_none() && module.stage != Stage::Kernel {
            form(module, &self.target);
        }
    }

    /// Makes a program of an optimised module. The target must be this machine.
    pub fn program(&mut self, mut module: Module) -> Result<Program, BuildError> {
        self.image(&mut module)?.load(module)
    }

    /// Makes what a `.trine` file holds of an optimised module for the target, which the file calls `cpu`.
    pub fn variant(&mut self, mut module: Module, cpu: &str) -> Result<Variant, BuildError> {
        self.image(&mut module)?.variant(cpu, module)
    }

    fn image(&mut self, module: &mut Module) -> Result<Image, BuildError> {
        let image = self.with_kernels(module, Image::new)?;
        let interpreted: Vec<String> = match self.options.backend {
            Backend::Cranelift => image.interpreted().map(String::from).collect(),
            Backend::Auto | Backend::Interpret => vec![],
        };
        if interpreted.is_empty() { Ok(image) } else { Err(BuildError::Interpreted(interpreted)) }
    }

    /// Makes an object file of an optimised module. `name` is a C identifier, with which the functions of the object begin.
    pub fn object(
        &mut self,
        mut module: Module,
        name: &str,
        weights: Weights,
    ) -> Result<Object, ObjectError> {
        self.with_kernels(&mut module, |kernels| object(kernels, name, weights))
    }

    /// The kernel `name` of an optimised module, or all with their calls, in a language to read.
    pub fn show(
        &mut self,
        mut module: Module,
        language: Language,
        name: Option<&str>,
    ) -> Result<String, BuildError> {
        self.with_kernels(&mut module, |kernels| show(kernels, language, name))
    }

    /// The kernels of an optimised module, and why quantized layers get the microkernels that they get.
    pub fn explain(&mut self, mut module: Module) -> Result<Vec<KernelReport>, BuildError> {
        self.with_kernels(&mut module, |kernels| Ok(report(kernels)))
    }

    /// Forms and plans the kernels of a module, and makes something of them. What runs here and what is shipped come by this
    /// one way.
    fn with_kernels<T, E: From<BuildError>>(
        &mut self,
        module: &mut Module,
        make: impl FnOnce(&Kernels) -> Result<T, E>,
    ) -> Result<T, E> {
        // Constants are shared, so this copies nothing but the graphs.
        let before = module.clone();
        let made = catch_unwind(AssertUnwindSafe(|| self.with_kernels_or_panic(module, make)));
        made.unwrap_or_else(|panic| {
            let message = message(&*panic);
            Err(BuildError::Panicked { message, before: Box::new(before) }.into())
        })
    }

    fn with_kernels_or_panic<T, E: From<BuildError>>(
        &mut self,
        module: &mut Module,
        make: impl FnOnce(&Kernels) -> Result<T, E>,
    ) -> Result<T, E> {
        let (target, options) = (&self.target, &self.options);
        if options.backend == Backend::Interpret {
            // A kernel is called like any other function where nothing is compiled.
            module.functions.values_mut().for_each(|f| f.kind = FunctionKind::Graph);
        } else if module.stage != Stage::Kernel {
            form(module, target);
        }
        outline_sums(module);
        let mut choices = Choices::new(target, module);
        if options.autotune {
            let folder = options.cache.as_deref();
            let note = &mut |sentence| self.observer.note(sentence);
            let mut known = remembered::read(folder, note);
            if tune(module, &mut choices, &mut known, note).map_err(BuildError::from)? > 0 {
                remembered::write(folder, &known, note);
            }
        }
        let kernels = Kernels::plan(module, &choices)?;
        if options.verify_kernels {
            verify(&kernels).map_err(BuildError::from)?;
        }
        make(&kernels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trine_ir::text;

    #[test]
    fn what_code_generation_panics_on_is_kept() {
        let source = "graph @main(%x: f32[n]) -> (%y: f32[n]) {\n  %y = neg %x : f32[n]\n}\n";
        let mut module = text::parse(source).unwrap();
        let mut compiler = Compiler::new(Options::default()).unwrap();
        let made = compiler.with_kernels::<(), BuildError>(&mut module, |_| panic!("half done"));
        let Err(BuildError::Panicked { message, before }) = made else { panic!("no panic is told") };
        assert_eq!((message.as_str(), text::print(&before).as_str()), ("half done", source));
    }
}
