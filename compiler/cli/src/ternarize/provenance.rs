//! All that is needed to make the same model again: what was read, by what, and what every option was.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use serde_json::{Value, json};
use trine::Sources;
use trine::calibrate::CalibrateOptions;
use trine::codegen::CRANELIFT;
use trine_ukernel::Features;
use xxhash_rust::xxh3::Xxh3;

use super::Args;
use super::data::Given;
use super::format::Format;
use crate::failure::Failure;
use crate::progress::Spinner;

/// What a run was, for its report. `arguments` are those of the command, the first of which is its name.
pub fn of_run(
    args: &Args,
    arguments: &[OsString],
    options: &CalibrateOptions,
    format: Format,
    given: &Given,
    sources: &Sources,
) -> Result<Value, Failure> {
    let _progress = Spinner::of_phase("reading once more what the report names");
    let arguments: Vec<_> = arguments.iter().skip(1).map(|a| a.to_string_lossy()).collect();
    let files: Vec<Value> = sources.paths().map(file).collect::<Result<_, _>>()?;
    let data = &given.data;
    let calibration = args.calib.as_deref().map(|path| {
        let mut told = file(path)?;
        told["batches"] = json!({ "fitted": data.calibration(), "held_out": data.held_out });
        Ok::<Value, Failure>(told)
    });
    Ok(json!({
        "arguments": arguments,
        "folder": std::env::current_dir().ok(),
        "versions": {
            "trine": env!("CARGO_PKG_VERSION"),
            "commit": env!("TRINE_COMMIT"),
            "target": env!("TRINE_TARGET"),
            "cpu_features": Features::detect().to_string(),
            "cranelift": CRANELIFT,
            "compiler": env!("TRINE_RUSTC"),
        },
        "model_files": files,
        "calibration": calibration.transpose()?,
        "tokenizer": given.tokenizer.as_deref().map(file).transpose()?,
        "options": {
            "recipe": options.recipe.to_string(),
            "bits": options.bits,
            "keep": options.keep,
            "tokens": args.tokens,
            "context": args.context,
            "seed": options.seed,
            "rotate": args.rotate,
            "activations": args.activations,
            "format": format.name(),
            "dims": args.dims.dims.iter().map(|(name, size)| (name.clone(), json!(size)))
                .collect::<serde_json::Map<String, Value>>(),
            "threads": options.threads,
            "max_memory": options.max_memory,
            "max_error": options.max_error,
            "max_loss": args.max_loss,
        },
    }))
}

/// A file by its name, its bytes, and their XXH3 of 128 bits.
fn file(path: &Path) -> Result<Value, Failure> {
    let (bytes, hash) = hashed(path).map_err(|e| trine::FileError::read(path, e))?;
    Ok(json!({ "path": path, "bytes": bytes, "xxh3_128": format!("{hash:032x}") }))
}

fn hashed(path: &Path) -> io::Result<(u64, u128)> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut hash = Xxh3::new();
    let bytes = io::copy(&mut file, &mut Hasher(&mut hash))?;
    Ok((bytes, hash.digest128()))
}

struct Hasher<'h>(&'h mut Xxh3);

impl io::Write for Hasher<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
