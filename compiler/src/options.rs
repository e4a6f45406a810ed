//! What a caller may choose about a compilation, and the pipeline that follows from it.

mod text;

use std::path::PathBuf;

use trine_ir::{Module, Stage};

use crate::pass::{PassError, Pipeline};
use crate::passes::BEFORE_LOWERING;
use crate::rounding::{Features, States, Ternarize};

/// How hard to optimise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Level {
    /// The model as imported.
    O0,
    /// Passes that keep every bit.
    O1,
    /// Also passes that round elsewhere than the model does.
    #[default]
    O2,
}

/// What the inputs of ternary layers are summed as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Activations {
    /// As the model says: int8 where it quantizes them itself, else f32. With `ternarize`, int8.
    #[default]
    Auto,
    F32,
    /// int8 with a scale for each group of inputs that share a scale of the weights, where groups fill the rows, else one a
    /// row: faster, and lossy.
    I8,
    /// int8 with one scale a row: as fast, and what is large costs all of its row.
    I8Rows,
    /// int8 with a scale for each block of so many inputs, at most those of a group: slower where they are fewer, and less
    /// is lost.
    I8Blocks(usize),
}

/// What runs the ops.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Backend {
    /// Machine code where there is a kernel, the interpreter elsewhere.
    #[default]
    Auto,
    /// Every op by its definition: slow, and what everything else is tested against.
    Interpret,
    /// Machine code; an op without a kernel is an error.
    Cranelift,
}

/// What becomes of the last linear layer, which for a language model is its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Head {
    /// As the model has it; with `ternarize`, int8.
    #[default]
    Auto,
    Keep,
    /// Weights rounded to int8, a scale a row, and the activations too: a quarter to read, and lossy.
    I8,
}

/// How to compile. The default is lossless: nothing is approximated unless `ternarize`, `activations` or
/// `head` says so.
///
/// ```
/// use trine::{Backend, Options};
/// let ternarize = Some("twn{group=64,keep=none}".parse()?);
/// let options = Options { ternarize, backend: Backend::Interpret, ..Options::default() };
/// let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/digits/mlp.onnx");
/// let program = trine::compile(model, &options)?;
/// assert_eq!(program.inputs.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Sizes by the names of the symbolic dimensions of inputs, which are then fixed everywhere.
    pub dims: Vec<(String, usize)>,
    /// Inputs of an ONNX model that are fed though it has initializers for them. Others of these are constants: what the
    /// initializers say, and folded into weights.
    pub fed: Vec<String>,
    pub level: Level,
    /// A pipeline in the place of the level's.
    pub passes: Option<Pipeline>,
    /// How weights become ternary that are not. Lossy.
    pub ternarize: Option<Ternarize>,
    /// What the states of recurrent layers become. Lossy.
    pub states: Option<States>,
    /// What the inputs of the last linear layer, or another value, become. Lossy.
    pub features: Option<Features>,
    pub activations: Activations,
    /// Compute all of a model of f16 or bf16 in f32: faster, and nearer to what it would give in f32, but not what it says.
    /// Inputs and outputs keep their types. Without it, each value is rounded as the model has it.
    pub widen: bool,
    pub head: Head,
    pub backend: Backend,
    /// Microkernels that layers get before any other that they fit, by name.
    pub microkernels: Vec<String>,
    /// Compare the microkernels that layers get with their scalar oracles, on this machine; a difference is an error.
    pub verify_kernels: bool,
    /// Measure which microkernels are the fastest for each shape of layer on this machine, and remember it in `cache`.
    pub autotune: bool,
    /// The folder of what was measured. Nothing is remembered without.
    pub cache: Option<PathBuf>,
}

impl Options {
    /// The passes that these options ask for. A module whose kernels are formed already needs none.
    pub fn pipeline(&self, module: &Module) -> Result<Pipeline, PassError> {
        let mut pipeline = match &self.passes {
            Some(passes) => passes.clone(),
            None if module.stage == Stage::Kernel => Pipeline::default(),
            None => Pipeline::level(self.level as u8)?,
        };
        if self.widen && module.stage <= Stage::Ternary {
            pipeline.0.splice(0..0, "widen".parse::<Pipeline>()?.0);
        }
        let early = [&["open-recurrent", "detect-ternary"], BEFORE_LOWERING].concat();
        if let Some(features) = &self.features {
            pipeline = pipeline.with(Pipeline(vec![text::step(features)?]), &early);
        }
        if let Some(states) = &self.states {
            pipeline = pipeline.with(Pipeline(vec![text::step(states)?]), &early);
        }
        if let Some(ternarize) = &self.ternarize {
            let mut step = text::step(ternarize)?;
            step.options.set("activations", self.ternarized_activations());
            pipeline = pipeline.with("open-recurrent".parse()?, BEFORE_LOWERING);
            pipeline = pipeline.with(Pipeline(vec![step]), BEFORE_LOWERING);
        }
        if self.head == Head::I8 || (self.head == Head::Auto && self.ternarize.is_some()) {
            pipeline = pipeline.with("quantize-head".parse()?, BEFORE_LOWERING);
        }
        if module.stage <= Stage::Ternary {
            let step = match self.activations {
                Activations::I8 => "quantize-activations{block=group}".into(),
                Activations::I8Rows => "quantize-activations".into(),
                Activations::I8Blocks(block) => format!("quantize-activations{{block={block}}}"),
                Activations::Auto | Activations::F32 => return Ok(pipeline),
            };
            pipeline = pipeline.with(step.parse()?, BEFORE_LOWERING);
        }
        Ok(pipeline)
    }

    fn ternarized_activations(&self) -> &'static str {
        match self.activations {
            // What shares less than a row is rounded by the pass that comes after.
            Activations::F32 | Activations::I8 | Activations::I8Blocks(_) => "f32",
            Activations::Auto | Activations::I8Rows => "i8",
        }
    }
}
