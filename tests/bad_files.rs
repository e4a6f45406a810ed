//! Files that were cut off, or in which bytes changed: models, IR text and weights. Each is read in bounded time, to a
//! module that verifies or an error.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use trine::import::{ImportError, import, import_bytes};
use trine::{Options, Session, SessionOptions};
use trine_ir::{Error, Module, Tensor, eval, sidecar, text, verify};

use crate::caught::caught;
use crate::feed;

/// Changes that are made to each file.
const CHANGES: usize = 150;

/// Longer modules are changed less often.
const MAX_LINES: usize = 70;

/// What numbers in text are replaced by.
const NUMBERS: [&str; 7] = ["0", "-1", "1", "7", "1e999", "9223372036854775807", "99999999999999999999"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// All files below a folder with an extension, in order.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Numbers that look like no pattern.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

/// The bytes cut off, or with some changed: mostly near either end, where what is not data stands.
fn damaged(bytes: &[u8], noise: &mut Noise) -> Vec<u8> {
    let place = |noise: &mut Noise| match noise.below(5) {
        0 => noise.below(bytes.len()),
        1 | 2 => noise.below(bytes.len().min(20_000)),
        _ => bytes.len() - 1 - noise.below(bytes.len().min(2_000)),
    };
    let mut bytes_now = bytes.to_vec();
    match noise.below(4) {
        0 => bytes_now.truncate(place(noise)),
        1 => {
            let at = place(noise);
            bytes_now.drain(at..(at + 1 + noise.below(9)).min(bytes.len()));
        }
        _ => {
            for _ in 0..=noise.below(3) {
                bytes_now[place(noise)] ^= 1 << noise.below(8);
            }
        }
    }
    bytes_now
}

#[test]
fn models() {
    for path in files(&root().join("models"), "onnx") {
        let bytes = fs::read(&path).unwrap();
        let mut noise = Noise(bytes.len() as u64);
        for i in 0..CHANGES {
            let damaged = Bytes::from(damaged(&bytes, &mut noise));
            let read = caught(|| match import_bytes(damaged, None) {
                Err(ImportError::Verify(error)) => Err(error.to_string()),
                _ => Ok(()),
            });
            read.unwrap_or_else(|e| panic!("change {i} of {}: {e}", path.display()));
        }
    }
}

#[test]
fn weights() {
    let module = import(root().join("models/digits/mlp.onnx")).unwrap();
    let mut weights = vec![];
    sidecar::write(&module, &mut weights).unwrap();
    let printed = text::print(&module);
    sidecar::parse(&printed, &Bytes::from(weights.clone())).unwrap();
    let mut noise = Noise(1);
    for i in 0..4 * CHANGES {
        let damaged = damaged(&weights, &mut noise);
        let read = caught(|| match sidecar::parse(&printed, &damaged.into()) {
            Ok(module) => verify(&module).map_err(|e| e.to_string()),
            Err(Error::Sidecar(_) | Error::Parse { .. }) => Ok(()),
            Err(other) => Err(other.to_string()),
        });
        read.unwrap_or_else(|e| panic!("change {i}: {e}"));
    }
    // The weights of another model.
    let other = import(root().join("models/digits/cnn.onnx")).unwrap();
    let error = sidecar::parse(&text::print(&other), &weights.into()).unwrap_err().to_string();
    assert!(error.contains("no data for `@"), "{error}");
}

#[test]
fn ir_text() {
    for path in files(&root().join("ir"), "ir") {
        let file = fs::read_to_string(&path).unwrap();
        let source = file.split("---\n").next().unwrap_or_default();
        let mut noise = Noise(source.len() as u64);
        // Kernels of many ops take as long to compile as all others, and hold no other ops.
        let changes = if source.lines().count() > MAX_LINES { CHANGES / 50 } else { CHANGES };
        for _ in 0..changes {
            let changed = rewritten(source, &mut noise);
            caught(|| read_and_run(&changed))
                .unwrap_or_else(|e| panic!("{}: {e} in\n{changed}", path.display()));
        }
    }
}

/// The text cut off, or with a word, a number, a character or a line changed.
fn rewritten(source: &str, noise: &mut Noise) -> String {
    let words: Vec<&str> = source.split_inclusive(|c: char| !c.is_ascii_alphanumeric()).collect();
    let is_number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    let numbers: Vec<usize> = (0..words.len()).filter(|i| is_number(&words[*i])).collect();
    let mut now: Vec<String> = words.iter().map(|w| w.to_string()).collect();
    match noise.below(6) {
        0 => now.truncate(noise.below(words.len())),
        1 => {
            let word = words[noise.below(words.len())].to_string();
            now[noise.below(words.len())] = word;
        }
        2 => drop(now.remove(noise.below(words.len()))),
        3 => {
            let mut lines: Vec<_> = source.lines().collect();
            let (from, to) = (noise.below(lines.len()), noise.below(lines.len()));
            lines.insert(to, lines[from]);
            return lines.join("\n");
        }
        _ => {
            if let Some(at) = numbers.get(noise.below(numbers.len())) {
                let word = words[*at];
                let number = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                now[*at] = format!("{}{}", NUMBERS[noise.below(NUMBERS.len())], &word[number.len()..]);
            }
        }
    }
    now.concat()
}

/// What a user does with text: check it, run it by its meaning, and compiled.
fn read_and_run(source: &str) -> Result<(), String> {
    let zeros = |_: &str, ty: &trine_ir::Type| {
        let bytes = ty.elem.bytes(trine_ir::tensor::count(&ty.static_dims()?).filter(|n| *n < 1 << 20)?)?;
        Tensor::new(ty.elem, ty.static_dims()?, vec![0; bytes].into()).ok()
    };
    let Ok(module) = text::parse_with(source, &zeros) else { return Ok(()) };
    if verify(&module).is_err() {
        return Ok(());
    }
    let printed = text::print(&module);
    let again = text::parse_with(&printed, &zeros).map_err(|e| format!("{e} when read back"))?;
    if text::print(&again) != printed {
        return Err(format!("reads back otherwise:\n{printed}"));
    }
    let Some(inputs) = feed::inputs(&module, false) else { return Ok(()) };
    let _ = eval::run(&module, inputs.clone());
    compile_and_run(module, &inputs)
}

fn compile_and_run(mut module: Module, inputs: &[Tensor]) -> Result<(), String> {
    let options = Options::default();
    let compiled = trine::optimize(&mut module, &options)
        .map_err(trine::Error::from)
        .and_then(|_| Ok(trine::build_program(module, &options)?));
    let program = match compiled {
        Ok(program) => program,
        Err(error) if error.fault() == trine::Fault::Trine => return Err(error.to_string()),
        Err(_) => return Ok(()),
    };
    let _ = Session::new(program.into(), &SessionOptions::default()).run(inputs);
    Ok(())
}
