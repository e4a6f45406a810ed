//! Calibrated rounding of a whole model: statistics of every layer's inputs, taken from data that runs through it.
//!
//! Layers are rounded in the order in which their inputs become known, each on what the already rounded ones give
//! it. Each batch holds only the values at the cut between two stages, and every op runs once; of a layer's
//! inputs only their second moments remain.

mod apply;
mod biases;
mod cut;
mod data;
mod layers;
mod moments;
mod outlook;
mod partial;
mod plan;
mod rotate;
mod rounded;
mod solve;
mod steps;
mod stream;

use std::path::PathBuf;
use std::time::Instant;

use trine_ir::error::Place;
use trine_ir::{Module, Value};
use trine_runtime::RunError;

use crate::evaluate::EvaluateError;
use crate::language_model::DecoderError;
use crate::observe::{Observer, Progress};
use crate::pass::PassError;
use crate::passes::ternarize::glob;
use trine_codegen::BuildError;
use trine_formats::disk::FileError;
use trine_formats::npz::ArrayError;
use trine_ir::Fault;
use trine_ternarize::{Depth, Recipe, Refusal};

pub use apply::apply;
pub use data::Data;
pub use layers::{Kept, Linear};
pub use rotate::rotate;
pub use rounded::{Rounded, Weights};
pub use trine_ternarize::Int8;

use biases::Biases;
use layers::{Stage, stages};
use moments::Moments;
use outlook::Outlook;
use partial::Partial;
use stream::{Stream, held_bytes};

/// The passes that leave a model's linear layers as products of known weights, those of recurrent layers too.
pub const PASSES: &str = "fold-constants,simplify,recognize-norms,recognize-rotary,recognize-attention,\
     recognize-activations,simplify,open-recurrent";

/// Names that an error lists.
const SHOWN: usize = 8;

/// What to do.
#[derive(Clone, Debug)]
pub struct CalibrateOptions {
    pub recipe: Recipe,
    /// Bits a weight, on the average of all linear layers, which the depth of each is chosen for. Without it all
    /// have the recipe's.
    pub bits: Option<f64>,
    /// Names of weights to leave as they are, `*` standing for anything; besides them the last layer stays, unless
    /// `none` is among them.
    pub keep: Vec<String>,
    /// Bytes that held values and statistics may take.
    pub max_memory: usize,
    pub threads: usize,
    /// What methods that draw numbers draw them from.
    pub seed: u64,
    /// A folder for what is done already, so that an interrupted run goes on where it was.
    pub partial: Option<PathBuf>,
    /// The largest relative output error that a layer may have on held-out data.
    pub max_error: Option<f64>,
}

/// What became of a model's layers.
#[derive(Debug)]
pub struct Calibrated {
    pub layers: Vec<Rounded>,
    pub kept: Vec<Kept>,
    /// Bytes that values at cuts and statistics took at most.
    pub memory: usize,
}

/// Why a model was not calibrated.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    #[error("the model has no linear layer with known weights")]
    NoLayers,
    #[error("no linear layer is left to round: {0}")]
    NothingLeft(String),
    #[error("`{pattern}` is the name of no layer's weights; they are {names}")]
    UnknownKeep { pattern: String, names: String },
    #[error("the weights `{weights}`: {reason}")]
    Weights { weights: String, reason: String },
    #[error("the calibration data does not fit the model: {0}")]
    Inputs(String),
    #[error(
        "{tokens} tokens are too few: {needed} are needed for one window to calibrate on and one held out"
    )]
    TooFewTokens { tokens: usize, needed: usize },
    #[error("{examples} examples are too few: some to calibrate on and some held out are needed")]
    TooFewExamples { examples: usize },
    #[error("array `{name}` holds a value that is not finite")]
    NotFinite { name: String },
    #[error("calibration needs {needed} MB for values and statistics, and {allowed} MB are allowed")]
    Memory { needed: usize, allowed: usize },
    #[error("`{weights}`: {refusal}")]
    Refused { weights: String, refusal: Refusal },
    #[error(
        "`{weights}` would lose {error:.3} of its output on held-out data, more than the {limit} allowed"
    )]
    TooLossy { weights: String, error: f64, limit: f64 },
    #[error("the residual stream cannot be rotated because of {place}: {reason}")]
    Stream { place: Box<Place>, reason: String },
    #[error("the model has no residual stream to rotate: no sum is read by an RMSNorm")]
    NoStream,
    #[error("{bits} bits a weight cannot be had: the layers take {least:.2} to {most:.2}")]
    Bits { bits: f64, least: f64, most: f64 },
    #[error("`{}` holds another run, of another model, data or options; remove it to start again", .0.display())]
    OtherRun(PathBuf),
    #[error(transparent)]
    Pass(#[from] PassError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Array(#[from] ArrayError),
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl CalibrateError {
    pub fn fault(&self) -> Fault {
        match self {
            CalibrateError::UnknownKeep { .. } | CalibrateError::Bits { .. } => Fault::Usage,
            CalibrateError::Pass(error) => error.fault(),
            CalibrateError::Build(error) => error.fault(),
            CalibrateError::File(error) => error.fault(),
            CalibrateError::Array(error) => error.fault(),
            CalibrateError::Decoder(error) => error.fault(),
            CalibrateError::Evaluate(error) => error.fault(),
            CalibrateError::NoLayers
            | CalibrateError::NothingLeft(_)
            | CalibrateError::Weights { .. }
            | CalibrateError::Inputs(_)
            | CalibrateError::TooFewTokens { .. }
            | CalibrateError::TooFewExamples { .. }
            | CalibrateError::NotFinite { .. }
            | CalibrateError::Memory { .. }
            | CalibrateError::Refused { .. }
            | CalibrateError::TooLossy { .. }
            | CalibrateError::Stream { .. }
            | CalibrateError::NoStream
            | CalibrateError::OtherRun(_)
            | CalibrateError::Run(_) => Fault::Input,
        }
    }
}

/// The layers of `module` that [`calibrate`] rounds if `keep` is what it keeps.
pub fn layers(module: &Module, keep: &[String]) -> Result<Vec<Linear>, CalibrateError> {
    let (module, probes) = steps::probed(module)?;
    let (stages, kept) = stages(&module, &probes, keep)?;
    check_keep(&stages, &kept, keep)?;
    Ok(stages.into_iter().flat_map(|s| s.layers).collect())
}

/// Rounds the linear layers of `module`, on which [`PASSES`] have run.
pub fn calibrate(
    module: &Module,
    data: &Data,
    options: &CalibrateOptions,
    observer: &mut dyn Observer,
) -> Result<Calibrated, CalibrateError> {
    let outputs = &module.main().ok_or(CalibrateError::NoLayers)?.graph.outputs();
    let (probed, probes) = steps::probed(module)?;
    let module = &probed;
    let (stages, kept) = stages(module, &probes, &options.keep)?;
    check_keep(&stages, &kept, &options.keep)?;
    let function = module.main().ok_or(CalibrateError::NoLayers)?;
    let cuts = cut::cuts(&function.graph, &stages);
    let memory = memory_needed(module, &stages, &cuts, data, options)?;
    let partial = options.partial.as_deref();
    let partial = partial.map(|folder| Partial::open(folder, module, data, options)).transpose()?;
    let (recipe, bias) = options.recipe.split_bias();
    let judged = options.bits.is_some() || bias.is_some();
    let stream = Stream::new(module, data.batches.len(), options.threads);
    let outlook = judged.then(|| Outlook::new(outputs, &stream, data)).transpose()?;
    let depths = match (options.bits, &outlook) {
        (Some(bits), Some(outlook)) => {
            let model = plan::Unrounded { module, stages: &stages, cuts: &cuts, stream, outlook };
            let depths = model.depths(data, options, bits, observer)?;
            depths.into_iter().map(Some).collect()
        }
        _ => vec![None; stages.iter().map(|s| s.layers.len()).sum()],
    };
    let mut run = Run { module, data, options, recipe: &recipe, partial, depths, layers: vec![] };
    run.stages(&stages, &cuts, observer)?;
    let mut layers = run.layers;
    if let (Some(recipe), Some(outlook)) = (&bias, &outlook) {
        let (stages, cuts, threads) = (&stages, &cuts, options.threads);
        let biases = Biases { module, stages, cuts, data, recipe, outlook, threads };
        biases.add(&mut layers, observer)?;
    }
    Ok(Calibrated { layers, kept, memory })
}

struct Run<'a> {
    module: &'a Module,
    data: &'a Data,
    options: &'a CalibrateOptions,
    /// Of weights alone.
    recipe: &'a Recipe,
    partial: Option<Partial>,
    /// One a layer, where they are chosen.
    depths: Vec<Option<Depth>>,
    layers: Vec<Rounded>,
}

impl Run<'_> {
    fn stages(
        &mut self,
        stages: &[Stage],
        cuts: &[Vec<Value>],
        observer: &mut dyn Observer,
    ) -> Result<(), CalibrateError> {
        let batches = self.data.batches.len();
        let stream = || Stream::new(self.module, batches, self.options.threads);
        let mut rounded = stream();
        let mut full = self.recipe.needs_pairs().then(stream);
        for (stage, cut) in stages.iter().zip(cuts) {
            let done = self.done(stage)?;
            let moments = match batches {
                0 => Moments::new(stage.layers[0].k, false),
                _ => {
                    let wanted = done.is_none();
                    Moments::on_the_way(stage, cut, self.data, &mut rounded, full.as_mut(), wanted)?
                }
            };
            let layers = match done {
                Some(layers) => layers,
                None => self.solve(stage, &moments)?,
            };
            for (layer, result) in stage.layers.iter().zip(layers) {
                rounded.round(layer, &result.weights)?;
                self.layers.push(result);
                let (done, total) = (self.layers.len(), self.depths.len());
                observer.progress(Progress { doing: "rounding", done, total, unit: "layers" });
            }
        }
        Ok(())
    }

    /// The layers of a stage that an earlier run has rounded.
    fn done(&self, stage: &Stage) -> Result<Option<Vec<Rounded>>, CalibrateError> {
        let Some(partial) = &self.partial else { return Ok(None) };
        let first = self.layers.len();
        let layers = stage.layers.iter().enumerate().map(|(i, layer)| partial.load(first + i, layer));
        layers.collect()
    }

    fn solve(&self, stage: &Stage, moments: &Moments) -> Result<Vec<Rounded>, CalibrateError> {
        let first = self.layers.len();
        let mut results = vec![];
        for (i, layer) in stage.layers.iter().enumerate() {
            let start = Instant::now();
            let matrix = layers::matrix(self.module, layer)?;
            let depth = self.depths[first + i];
            let weights = solve::weights(&matrix, self.recipe, depth, moments, self.options.seed)
                .map_err(|refusal| refused(layer, refusal))?;
            let result = Rounded::new(layer, &matrix, weights, moments, start.elapsed());
            if let (Some(limit), Some(error)) = (self.options.max_error, result.held_out_error)
                && error > limit
            {
                return Err(CalibrateError::TooLossy { weights: result.name, error, limit });
            }
            if let Some(partial) = &self.partial {
                partial.save(first + i, &result)?;
            }
            results.push(result);
        }
        Ok(results)
    }
}

fn refused(layer: &Linear, refusal: Refusal) -> CalibrateError {
    CalibrateError::Refused { weights: layer.weights.clone(), refusal }
}

fn check_keep(stages: &[Stage], kept: &[Kept], keep: &[String]) -> Result<(), CalibrateError> {
    let names: Vec<&str> = stages
        .iter()
        .flat_map(|s| s.layers.iter().map(|l| l.weights.as_str()))
        .chain(kept.iter().map(|k| k.weights.as_str()))
        .collect();
    for pattern in keep.iter().filter(|p| *p != "none") {
        if !names.iter().any(|name| glob(pattern, name)) {
            let more = if names.len() > SHOWN { ", …" } else { "" };
            let names = names[..names.len().min(SHOWN)].join(", ") + more;
            return Err(CalibrateError::UnknownKeep { pattern: pattern.clone(), names });
        }
    }
    if stages.is_empty() {
        let why: Vec<_> = kept.iter().map(|k| format!("`{}` is {}", k.weights, k.why)).collect();
        return Err(CalibrateError::NothingLeft(why.join(", ")));
    }
    Ok(())
}

/// The bytes that the run will take besides the model, refused if they are too many.
fn memory_needed(
    module: &Module,
    stages: &[Stage],
    cuts: &[Vec<Value>],
    data: &Data,
    options: &CalibrateOptions,
) -> Result<usize, CalibrateError> {
    let graph = &module.main().ok_or(CalibrateError::NoLayers)?.graph;
    let mut held = 0usize;
    for inputs in &data.batches {
        held = held.saturating_add(held_bytes(graph, cuts, inputs)?);
    }
    let pairs = options.recipe.needs_pairs();
    let streams = if pairs { 2 } else { 1 };
    // Moments as tiles, the metric made of them and its factors, and the rows under way, all f64.
    let squares = if pairs { 7 } else { 5 };
    let layers = stages.iter().flat_map(|s| &s.layers);
    let solving = layers.map(|l| 8 * (squares * l.k * l.k + 6 * l.n * l.k)).max().unwrap_or(0);
    let needed = held.saturating_mul(streams).saturating_add(solving);
    if needed > options.max_memory {
        let (needed, allowed) = (needed.div_ceil(1 << 20), options.max_memory >> 20);
        return Err(CalibrateError::Memory { needed, allowed });
    }
    Ok(needed)
}
