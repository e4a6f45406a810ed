//! Ternary weights fitted to data, written as a model again.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::{Value, json};
use trine::calibrate::{self, CalibrateOptions, Data, Kept, Rounded};
use trine::export::{self, GROUPS, Spelling};
use trine::pass::{Driver, Pipeline};
use trine::{FileError, Module, Tensor};
use trine_ir::Type;

use crate::arrays::Given;
use crate::dtypes::dtype;
use crate::fault::{Raised, caught};
use crate::options::workers;

/// What a model is fitted to.
#[derive(FromPyObject)]
pub enum Fitted<'py> {
    Arrays(Bound<'py, PyDict>),
    Tokens(Vec<u32>),
}

/// What is asked for, by the names of the package's keywords.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Asked {
    recipe: String,
    bits: Option<f64>,
    keep: Vec<String>,
    context: usize,
    tokens: usize,
    seed: u64,
    threads: usize,
    max_memory: usize,
    format: Option<String>,
}

/// Rounds the weights of the model at `model` and writes it into the folder `output`; says what became of each layer, as JSON.
#[pyfunction]
pub fn ternarize(
    py: Python<'_>,
    model: PathBuf,
    output: PathBuf,
    data: Option<Fitted<'_>>,
    asked: Asked,
) -> PyResult<String> {
    let Asked { recipe, bits, keep, context, tokens, seed, threads, max_memory, format } = asked;
    let wrong = |message: String| PyErr::from(Raised::argument(message));
    let recipe: trine::ternarize::Recipe = recipe.parse().map_err(|e| wrong(format!("{e}")))?;
    if data.is_none() && (recipe.needs_calibration() || bits.is_some()) {
        return Err(wrong(format!("`{recipe}` needs data to fit to")));
    }
    let spelling = match format.as_deref() {
        None => Format::Any,
        Some("onnx") => Format::Onnx(Spelling::F32),
        Some("nbits") => Format::Onnx(Spelling::NBits),
        Some("ir") => Format::Ir,
        Some(other) => {
            let other = other.escape_debug();
            return Err(wrong(format!("`format` is one of `onnx`, `nbits`, `ir`, not `{other}`")));
        }
    };
    let threads = workers(threads);
    let partial = None;
    let options =
        CalibrateOptions { recipe, bits, keep, max_memory, threads, seed, partial, max_error: None };
    let (module, sources) = py.detach(|| {
        caught(|| {
            let (mut module, sources) = trine::load_with_sources(&model)?;
            let passes: Pipeline = calibrate::PASSES.parse()?;
            Driver::new().run(&passes, &mut module)?;
            Ok((module, sources))
        })
    })?;
    let given = match data {
        None => Read::Nothing,
        Some(Fitted::Tokens(ids)) => Read::Tokens(ids),
        Some(Fitted::Arrays(arrays)) => Read::Arrays(tensors(&module, &arrays)?),
    };
    let told = py.detach(|| {
        caught(|| {
            let data = match given {
                Read::Nothing => Data::default(),
                Read::Tokens(ids) => Data::text(&module, &ids, context, tokens, seed)?,
                Read::Arrays(tensors) => Data::arrays(&module, &tensors)?,
            };
            let layers = calibrate::layers(&module, &options.keep)?;
            let spelling = spelling.settled(&model, &layers, options.recipe.settings.group)?;
            let calibrated = calibrate::calibrate(&module, &data, &options, &mut ())?;
            sources.check()?;
            std::fs::create_dir_all(&output).map_err(|e| FileError::write(&output, e))?;
            let written = write(&model, module, &calibrated.layers, &output, spelling)?;
            let layers: Vec<Value> = calibrated.layers.iter().map(row).collect();
            let kept: Vec<Value> = calibrated.kept.iter().map(kept).collect();
            Ok(json!({ "path": written, "recipe": options.recipe.to_string(), "layers": layers, "kept": kept }))
        })
    })?;
    Ok(told.to_string())
}

enum Read {
    Nothing,
    Tokens(Vec<u32>),
    Arrays(Vec<Tensor>),
}

/// What is to be written.
#[derive(Clone, Copy)]
enum Format {
    /// The smallest: 2-bit ONNX, or IR where ONNX cannot say it.
    Any,
    Onnx(Spelling),
    Ir,
}

impl Format {
    /// How the layers are written of the model at a path; none for IR.
    fn settled(
        self,
        model: &Path,
        layers: &[calibrate::Linear],
        group: usize,
    ) -> Result<Option<Spelling>, Raised> {
        let (spelling, is_asked) = match self {
            Format::Ir => return Ok(None),
            Format::Any if model.extension().is_some_and(|e| e == "ir") => return Ok(None),
            Format::Any if !group.is_multiple_of(GROUPS) => return Ok(None),
            Format::Any => (Spelling::NBits, false),
            Format::Onnx(spelling) => (spelling, true),
        };
        match export::refusal(model, layers)? {
            None => Ok(Some(spelling)),
            Some(refusal) if is_asked => Err(refusal.into()),
            Some(_) => Ok(None),
        }
    }
}

/// The arrays of a dictionary, in the order of the model's inputs.
fn tensors(module: &Module, arrays: &Bound<'_, PyDict>) -> PyResult<Vec<Tensor>> {
    let graph = module.main().map(|main| &main.graph);
    let params: Vec<(&str, &Type)> =
        graph.iter().flat_map(|g| g.params().iter().map(|p| (g.name(*p), g.ty(*p)))).collect();
    for name in arrays.keys() {
        let name: String = name.extract()?;
        if !params.iter().any(|(known, _)| *known == name) {
            return Err(Raised::input(format!("no input `{}`", name.escape_debug())).into());
        }
    }
    let tensor = |(name, ty): (&str, &Type)| {
        let missing = || Raised::input(format!("input `{name}` is not given"));
        let value = arrays.get_item(name)?.ok_or_else(missing)?;
        let dtype = dtype(arrays.py(), ty.elem).map_err(Raised::argument)?;
        let given = Given::new(&value, name, ty, &dtype)?;
        Ok(given.view().to_tensor().map_err(Raised::from)?)
    };
    params.into_iter().map(tensor).collect()
}

/// Writes the rounded model into a folder, and says where it is.
fn write(
    model: &Path,
    mut module: Module,
    layers: &[Rounded],
    folder: &Path,
    spelling: Option<Spelling>,
) -> Result<PathBuf, Raised> {
    match spelling {
        Some(spelling) => {
            export::onnx(model, layers, folder, spelling)?;
            Ok(folder.join("model.onnx"))
        }
        None => {
            calibrate::apply(&mut module, layers, false)?;
            let path = folder.join("model.ir");
            trine::save(&module, &path)?;
            Ok(path)
        }
    }
}

fn row(layer: &Rounded) -> Value {
    json!({
        "weights": layer.name,
        "node": layer.node,
        "n": layer.n,
        "k": layer.k,
        "bits": layer.weights.bits(),
        "zeros": layer.weights.zeros(),
        "weight_error": layer.weight_error,
        "output_error": layer.output_error,
        "held_out_error": layer.held_out_error,
    })
}

fn kept(layer: &Kept) -> Value {
    json!({ "weights": layer.weights, "n": layer.n, "k": layer.k, "why": layer.why })
}
