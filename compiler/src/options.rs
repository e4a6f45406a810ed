//! What a caller may choose about a compilation, and the pipeline that follows from it.

use std::path::PathBuf;

use trine_ir::{Module, Stage};

use crate::pass::{PassError, Pipeline};
use crate::passes::BEFORE_LOWERING;

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
/// let options = Options { backend: Backend::Interpret, ..Options::default() };
/// let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/digits/mlp.onnx");
/// let program = trine::compile(model, &options)?;
/// assert_eq!(program.inputs.len(), 1);
/// # Ok::<(), trine::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Sizes by the names of the symbolic dimensions of inputs, which are then fixed everywhere.
    pub dims: Vec<(String, usize)>,
    /// Inputs of an ONNX model that are fed though it has initializers for them. Others of these are constants: what the
    /// initializers say, and folded into weights.
    pub fed: Vec<String>,
    pub level: Level,
    /// A pipeline in the place of the level's, such as `fold-constants,simplify`.
    pub passes: Option<String>,
    /// The method to make weights ternary that are not, with the pass's options after it: `twn`,
    /// `exact{group=128,keep=none}`. Lossy.
    pub ternarize: Option<String>,
    /// What the states of recurrent layers become, with the options of `ternarize-states` after it: `threshold`, `mean`,
    /// `bernoulli{seed=7,slope=2}`, `keep{slope=2}`. Lossy.
    pub states: Option<String>,
    /// What the inputs of the last linear layer, or another value, become, with the options of `ternarize-features` after
    /// it: `ternary`, `ternary{threshold=0.5}`, `binary{threshold=0.5,value=hidden}`. Lossy.
    pub features: Option<String>,
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
            Some(text) => text.parse()?,
            None if module.stage == Stage::Kernel => Pipeline::default(),
            None => Pipeline::level(self.level as u8)?,
        };
        if self.widen && module.stage <= Stage::Ternary {
            pipeline = pipeline.with_first("widen")?;
        }
        let early = [&["open-recurrent", "detect-ternary"], BEFORE_LOWERING].concat();
        if let Some(features) = &self.features {
            let (form, rest) = name_and_options(features);
            pipeline = pipeline.with(&format!("ternarize-features{{form={form},{rest}}}"), &early)?;
        }
        if let Some(states) = &self.states {
            let (hidden, rest) = name_and_options(states);
            pipeline = pipeline.with(&format!("ternarize-states{{hidden={hidden},{rest}}}"), &early)?;
        }
        if let Some(method) = &self.ternarize {
            pipeline = pipeline.with("open-recurrent", BEFORE_LOWERING)?;
            pipeline = pipeline.with(&self.ternarize_step(method), BEFORE_LOWERING)?;
        }
        if self.head == Head::I8 || (self.head == Head::Auto && self.ternarize.is_some()) {
            pipeline = pipeline.with("quantize-head", BEFORE_LOWERING)?;
        }
        if module.stage <= Stage::Ternary {
            let step = match self.activations {
                Activations::I8 => "quantize-activations{block=group}".into(),
                Activations::I8Rows => "quantize-activations".into(),
                Activations::I8Blocks(block) => format!("quantize-activations{{block={block}}}"),
                Activations::Auto | Activations::F32 => return Ok(pipeline),
            };
            pipeline = pipeline.with(&step, BEFORE_LOWERING)?;
        }
        Ok(pipeline)
    }

    fn ternarize_step(&self, text: &str) -> String {
        let (method, rest) = name_and_options(text);
        let activations = match self.activations {
            // What shares less than a row is rounded by the pass that comes after.
            Activations::F32 | Activations::I8 | Activations::I8Blocks(_) => "f32",
            Activations::Auto | Activations::I8Rows => "i8",
        };
        format!("ternarize{{method={method},activations={activations},{rest}}}")
    }
}

/// The halves of `name{option=value,…}`.
fn name_and_options(text: &str) -> (&str, &str) {
    match text.split_once('{') {
        Some((name, rest)) => (name, rest.trim_end_matches('}')),
        None => (text, ""),
    }
}
