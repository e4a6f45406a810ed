//! Models as files: ONNX in, and IR text with its weights beside it in both directions.
//!
//! `model.ir` goes with `model.safetensors`; both are written to temporary files first and renamed, so that
//! whoever reads them meanwhile sees the old or the new ones, and a full disk leaves the old.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use trine_ir::{Module, Type, sidecar, text, verify};

use crate::error::Error;
use crate::options::Options;
use trine_codegen::WriteError;
use trine_codegen::image::artefact::{self, Variant};
use trine_formats::disk::map::Mapped;
use trine_formats::disk::{FileError, write_atomically};
use trine_formats::import;
use trine_formats::import::{Given, ImportError};

/// Reads a model: `.onnx`, or `.ir` as [`save`] writes it. Weights are mapped, not read.
///
/// ```
/// let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/digits/mlp.onnx");
/// let module = trine::load(model)?;
/// assert_eq!(module.main().unwrap().signature().params.len(), 1);
/// # Ok::<(), trine::Error>(())
/// ```
pub fn load(path: impl AsRef<Path>) -> Result<Module, Error> {
    Ok(load_with_sources(path)?.0)
}

/// Reads a model as [`load`] does, and says which files its weights lie in: whoever makes something lasting of them
/// asks [`Sources::check`] afterwards.
pub fn load_with_sources(path: impl AsRef<Path>) -> Result<(Module, Sources), Error> {
    load_fixed(path, &[])
}

/// Reads an ONNX model from memory, which holds all of its weights, as `options` say it will be run.
pub fn load_bytes(model: impl Into<Bytes>, options: &Options) -> Result<Module, Error> {
    let given = Given { dims: &options.dims, fed: &options.fed };
    import::import_bytes_for(model.into(), None, given)
        .map_err(|source| Error::Import { path: "<memory>".into(), source: Box::new(source) })
}

/// Reads a model as [`load_with_sources`] does, with symbolic sizes of its inputs fixed by name.
pub fn load_fixed(path: impl AsRef<Path>, dims: &[(String, usize)]) -> Result<(Module, Sources), Error> {
    load_given(path.as_ref(), Given { dims, fed: &[] })
}

/// Reads a model as `options` say it will be run: with sizes that are fixed, and inputs that are fed though the model has
/// initializers for them.
pub fn load_for(path: impl AsRef<Path>, options: &Options) -> Result<(Module, Sources), Error> {
    load_given(path.as_ref(), Given { dims: &options.dims, fed: &options.fed })
}

/// Reads IR text whose constants all stand in it, with symbolic sizes of its inputs fixed by name.
pub fn parse(source: &str, dims: &[(String, usize)]) -> Result<Module, Error> {
    let path = Path::new("-");
    let fail = |error| Error::Ir { path: path.into(), error };
    let mut module = text::parse(source).map_err(fail)?;
    verify(&module).map_err(fail)?;
    fix(&mut module, dims).map_err(|e| Error::Import { path: path.into(), source: Box::new(e) })?;
    Ok(module)
}

fn load_given(path: &Path, given: Given) -> Result<(Module, Sources), Error> {
    let start = Instant::now();
    let dims = given.dims;
    let fail = |source| Error::Import { path: path.into(), source: Box::new(source) };
    let (module, files) = match path.extension().and_then(|e| e.to_str()) {
        Some("onnx") => import::import_mapped(path, given).map_err(fail)?,
        Some("ir") => {
            let (mut module, files) = load_ir(path)?;
            if let Some(name) = given.fed.first() {
                return Err(fail(ImportError::NoDefault { name: name.clone() }));
            }
            fix(&mut module, dims).map_err(fail)?;
            (module, files)
        }
        _ => return Err(Error::Format { path: path.into() }),
    };
    let sources = Sources(files);
    let (bytes, constants) = (sources.bytes(), module.consts.len());
    let ms = start.elapsed().as_millis();
    tracing::info!(path = %path.display(), bytes, constants, ms, "read a model");
    Ok((module, sources))
}

/// Fixes sizes of the inputs by name.
fn fix(module: &mut Module, dims: &[(String, usize)]) -> Result<(), ImportError> {
    for (name, size) in dims {
        let types = module.main().map(|main| main.signature().params).unwrap_or_default();
        let has = |ty: &Type| ty.dims.iter().any(|d| d.symbols().iter().any(|s| **s == **name));
        if !types.iter().any(has) {
            let inputs = types.iter().map(|ty| format!("`{ty}`")).collect::<Vec<_>>().join(", ");
            return Err(ImportError::NoDim { name: name.clone(), inputs });
        }
        module.fix_dim(name, *size);
    }
    if dims.is_empty() { Ok(()) } else { Ok(verify(module)?) }
}

/// The files that the weights of a module are mapped from.
pub struct Sources(Vec<Mapped>);

impl Sources {
    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|file| file.bytes.len()).sum()
    }

    /// Where they are.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|file| file.path())
    }

    /// An error if a file is no longer what was mapped, by length and time of change: what was computed from it
    /// may be neither the old model nor the new.
    pub fn check(&self) -> Result<(), Error> {
        import::unchanged(&self.0).map_err(|source| Error::Import {
            path: self.0.first().map(|file| file.path().into()).unwrap_or_default(),
            source: Box::new(source),
        })
    }
}

/// Writes a module as IR text to `path`, which ends in `.ir`, and its constants beside it.
pub fn save(module: &Module, path: impl AsRef<Path>) -> Result<(), Error> {
    let path = path.as_ref();
    if path.extension().is_none_or(|e| e != "ir") {
        return Err(Error::NoIr { path: path.into() });
    }
    let weights = weights_path(path);
    write_atomically(&weights, |file| sidecar::write(module, file))?;
    Ok(write_atomically(path, |file| file.write_all(text::print(module).as_bytes()))?)
}

/// Writes what [`Compiler::variant`](crate::Compiler::variant) made to `path`, for
/// [`trine_runtime::artefact`] to load.
pub fn save_artefact(variants: &[Variant], path: impl AsRef<Path>) -> Result<(), Error> {
    let mut built = Ok(());
    let written = write_atomically(path.as_ref(), |file| match artefact::write(variants, file) {
        Err(WriteError::Io(error)) => Err(error),
        Err(WriteError::Build(error)) => {
            built = Err(error);
            Err(std::io::ErrorKind::Other.into())
        }
        Ok(()) => Ok(()),
    });
    built?;
    Ok(written?)
}

fn load_ir(path: &Path) -> Result<(Module, Vec<Mapped>), Error> {
    let open = |path: &Path| Mapped::open(path).map_err(|e| FileError::read(path, e));
    let bytes = open(path)?.bytes;
    let source = std::str::from_utf8(&bytes).map_err(|_| Error::NotText { path: path.into() })?;
    let fail = |error| Error::Ir { path: path.into(), error };
    let weights = weights_path(path);
    let (module, files) = if weights.exists() {
        let file = open(&weights)?;
        (sidecar::parse(source, &file.bytes).map_err(fail)?, vec![file])
    } else {
        let module = text::parse(source)
            .map_err(|error| Error::Ir { path: path.into(), error: without(error, &weights) })?;
        (module, vec![])
    };
    verify(&module).map_err(fail)?;
    Ok((module, files))
}

/// Names the file that is not there in an error about a constant without data.
fn without(error: trine_ir::Error, weights: &Path) -> trine_ir::Error {
    match error {
        trine_ir::Error::Parse { line, column, message } if message.starts_with("no data for") => {
            let message = format!("{message}; the weights belong into `{}`", weights.display());
            trine_ir::Error::Parse { line, column, message }
        }
        error => error,
    }
}

fn weights_path(path: &Path) -> PathBuf {
    path.with_extension("safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;
    use trine_ir::Tensor;

    const SOURCE: &str = "\
const @w: f32[2,64]

graph @main(%x: f32[b,2]) -> (%y: f32[b,64]) {
  %y = matmul %x, @w {trans_b=false} : f32[b,64]
}
";

    #[test]
    fn what_is_saved_loads_and_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.ir");
        let w = Tensor::from_vec(vec![2, 64], (0..128).map(|i| i as f32).collect()).unwrap();
        let module = text::parse_with(SOURCE, &|_, _| Some(w.clone())).unwrap();
        save(&module, &path).unwrap();
        let loaded = load(&path).unwrap();
        assert_eq!(text::print(&loaded), SOURCE);
        assert_eq!(loaded.consts["w"], w);
        let names: Vec<_> = folder.path().read_dir().unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.ir");
        std::fs::write(&path, SOURCE).unwrap();
        let message = load(&path).unwrap_err().to_string();
        assert!(message.contains("no data for `@w`; the weights belong into `"), "{message}");
        assert!(load(folder.path().join("none.ir")).unwrap_err().to_string().starts_with("cannot read `"));
        assert!(matches!(load("model.pt"), Err(Error::Format { .. })));
        assert!(matches!(save(&Module::default(), "model.txt"), Err(Error::NoIr { .. })));
    }
}
