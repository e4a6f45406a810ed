//! A model that is compiled for one CPU or several, with the way there to look at.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::json;
use trine::codegen::image::artefact::Variant;
use trine::codegen::{BuildError, Target};
use trine::explain::explain;
use trine::import::Metadata;
use trine::pass::{Driver, Pipeline};
use trine::passes::BEFORE_LOWERING;
use trine::{Compiler, FileError, Module, Options};

use crate::fault::{Raised, caught};
use crate::options;
use crate::source::{Program, Source, open};

/// The stages that `ir` prints, in their order.
const STAGES: [&str; 4] = ["imported", "optimized", "lowered", "kernels"];

/// A model, and its code for some targets.
#[pyclass(frozen, module = "trine._trine")]
pub struct CompiledModel {
    options: Options,
    /// As it was read; its weights are shared with what was made of it.
    imported: Module,
    metadata: Metadata,
    targets: Vec<String>,
    variants: Vec<Variant>,
    /// What of it runs here.
    program: OnceLock<Arc<trine::Program>>,
}

#[pymethods]
impl CompiledModel {
    #[new]
    fn new(
        py: Python<'_>,
        source: Source,
        targets: Vec<String>,
        options: &Bound<'_, PyDict>,
    ) -> PyResult<CompiledModel> {
        let options = options::read(options)?;
        if targets.is_empty() {
            return Err(Raised::argument("`target` names no target").into());
        }
        let compiled = py.detach(|| {
            caught(|| {
                let metadata = source.metadata();
                let (imported, sources) = match source {
                    Source::Bytes(bytes) => (trine::load_bytes(bytes, &options)?, None),
                    Source::Path(path) => {
                        let (imported, sources) = trine::load_for(path, &options)?;
                        (imported, Some(sources))
                    }
                };
                let mut module = imported.clone();
                Compiler::new(options.clone())?.optimize(&mut module)?;
                let variant = |cpu: &String| -> Result<Variant, Raised> {
                    let target = Target::named(cpu).map_err(BuildError::from)?;
                    Ok(Compiler::for_target(target, options.clone())?.variant(module.clone(), cpu)?)
                };
                let variants = targets.iter().map(variant).collect::<Result<_, _>>()?;
                sources.map_or(Ok(()), |sources| sources.check())?;
                let program = OnceLock::new();
                Ok(CompiledModel { options, imported, metadata, targets, variants, program })
            })
        })?;
        Ok(compiled)
    }

    /// Writes the compiled model to a file.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Ok(py.detach(|| caught(|| Ok(trine::save_artefact(&self.variants, path)?)))?)
    }

    /// The model at a stage, as text.
    fn ir(&self, py: Python<'_>, stage: &str) -> PyResult<String> {
        Ok(py.detach(|| caught(|| self.text(stage)))?)
    }

    /// What became of each layer, and the kernels, as JSON.
    fn explain_json(&self, py: Python<'_>) -> PyResult<String> {
        let told = py.detach(|| {
            caught(|| {
                let mut module = self.imported.clone();
                let layers = explain(&mut module, &self.options.pipeline(&self.imported)?)?;
                let kernels = self.compiler()?.explain(module)?;
                Ok(json!({ "layers": layers, "kernels": kernels }).to_string())
            })
        })?;
        Ok(told)
    }

    /// What runs here of what was compiled: what loading the saved file gives.
    fn program(&self, py: Python<'_>) -> PyResult<Program> {
        let program = py.detach(|| {
            caught(|| match self.program.get() {
                Some(program) => Ok(program.clone()),
                None => {
                    let fail = |e| FileError::write(&std::env::temp_dir(), e);
                    let file = tempfile::Builder::new().suffix(".trine").tempfile().map_err(fail)?;
                    // The weights stay mapped when the name is gone.
                    trine::save_artefact(&self.variants, file.path())?;
                    let program = Arc::new(open(file.path())?);
                    Ok(self.program.get_or_init(|| program).clone())
                }
            })
        })?;
        Ok(Program { program, metadata: self.metadata.clone() })
    }

    /// What it is compiled for.
    #[getter]
    fn targets(&self) -> Vec<String> {
        self.targets.clone()
    }
}

impl CompiledModel {
    /// For the first of the targets.
    fn compiler(&self) -> Result<Compiler<'_>, Raised> {
        let target = Target::named(&self.targets[0]).map_err(BuildError::from)?;
        Ok(Compiler::for_target(target, self.options.clone())?)
    }

    fn text(&self, stage: &str) -> Result<String, Raised> {
        let Some(stage) = STAGES.iter().position(|known| *known == stage) else {
            let stages = STAGES.map(|stage| format!("`{stage}`")).join(", ");
            return Err(Raised::argument(format!("no stage `{}`; there are {stages}", stage.escape_debug())));
        };
        let mut module = self.imported.clone();
        let mut pipeline = self.options.pipeline(&module)?;
        match stage {
            0 => pipeline = Pipeline::default(),
            1 => {
                let end = pipeline.0.iter().position(|step| BEFORE_LOWERING.contains(&step.pass.name));
                pipeline.0.truncate(end.unwrap_or(pipeline.0.len()));
            }
            _ => {}
        }
        Driver::new().run(&pipeline, &mut module)?;
        if stage == 3 {
            self.compiler()?.form(&mut module);
        }
        Ok(trine_ir::text::print(&module))
    }
}
