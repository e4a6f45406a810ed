//! Models from where they are: files, folders' files and memory, compiled or to be compiled.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use trine::artefact::{Artefact, ArtefactError, OpenOptions};
use trine::import::{self, Metadata};
use trine::{Error, Options};

use crate::fault::{Raised, caught};
use crate::options;

/// The first bytes of a file that is compiled already, which no ONNX model begins with.
const COMPILED: &[u8] = &[0x89];

/// What a model is read from.
#[derive(FromPyObject)]
pub enum Source {
    Bytes(Vec<u8>),
    Path(PathBuf),
}

impl Source {
    /// What an ONNX model says of itself; models in other forms say nothing, and neither does one that cannot be read:
    /// who compiles it tells why.
    pub fn metadata(&self) -> Metadata {
        let read = match self {
            Source::Bytes(bytes) if !bytes.starts_with(COMPILED) => import::metadata_bytes(bytes),
            Source::Path(path) if path.extension().is_some_and(|e| e == "onnx") => import::metadata(path),
            _ => return Metadata::default(),
        };
        read.unwrap_or_default()
    }
}

/// A compiled model, which sessions share.
#[pyclass(frozen, module = "trine._trine")]
pub struct Program {
    pub program: Arc<trine::Program>,
    pub metadata: Metadata,
}

#[pymethods]
impl Program {
    /// The model in a file or in memory, compiled for this machine unless it is compiled already.
    #[new]
    fn new(py: Python<'_>, source: Source, options: &Bound<'_, PyDict>) -> PyResult<Program> {
        let options = options::read(options)?;
        let (program, metadata) = py.detach(|| {
            let metadata = source.metadata();
            let program = caught(|| match source {
                Source::Bytes(bytes) if bytes.starts_with(COMPILED) => {
                    expect_usual(Path::new("<memory>"), &options)?;
                    let artefact = Artefact::from_bytes(bytes.into(), &OpenOptions::default());
                    loaded(Path::new("<memory>"), artefact)
                }
                Source::Bytes(bytes) => Ok(trine::compile_bytes(bytes, &options)?),
                Source::Path(path) if path.extension().is_some_and(|e| e == "trine") => {
                    expect_usual(&path, &options)?;
                    open(&path)
                }
                Source::Path(path) => Ok(trine::compile(path, &options)?),
            });
            program.map(|program| (program, metadata))
        })?;
        Ok(Program { program: Arc::new(program), metadata })
    }
}

/// The program in the compiled file at `path`.
pub fn open(path: &Path) -> Result<trine::Program, Raised> {
    loaded(path, Artefact::open(path, &OpenOptions::default()))
}

fn loaded(path: &Path, artefact: Result<Artefact, ArtefactError>) -> Result<trine::Program, Raised> {
    // SAFETY: who gives a compiled file to a session wants it run, as who imports a module does; the documentation says so.
    let program = artefact.and_then(|artefact| unsafe { artefact.program() });
    Ok(program.map_err(|source| Error::Artefact { path: path.into(), source })?)
}

/// Of a file that is compiled nothing can be asked that is decided when compiling.
fn expect_usual(path: &Path, options: &Options) -> Result<(), Raised> {
    if *options == Options::default() {
        return Ok(());
    }
    let message = "is compiled, and options say how to compile; give them to `trine.compile`";
    Err(Raised::argument(format!("`{}` {message}", path.display())))
}
