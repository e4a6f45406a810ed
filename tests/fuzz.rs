//! A smoke of the fuzz targets: inputs that are good, and what is left of them when bytes change, go or come again.
//!
//! What is tried is always the same. `tests/fuzz/` has the same functions as targets of cargo-fuzz, for inputs that
//! find their own way; with `TRINE_FUZZ_CORPUS=FOLDER` the good inputs are written there, a folder a target, for it to
//! start from.

#[path = "fuzz/entry.rs"]
mod entry;

use std::fs;
use std::path::Path;

use prost::Message;
use trine::artefact::container::Head;
use trine_ir::{sidecar, text};

use crate::caught;
use crate::graphs;
use crate::graphs::choices::Choices;

/// Changed inputs a target gets.
const COUNT: u64 = 300;

#[test]
fn onnx() {
    let models: Vec<Vec<u8>> = (0..60).filter_map(model).collect();
    survives("onnx", entry::onnx, &models, COUNT);
}

#[test]
fn ir() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ir/text");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).collect();
    files.sort();
    let texts = files
        .iter()
        .map(|f| fs::read_to_string(f).unwrap().split("---\n").next().unwrap().as_bytes().to_vec());
    survives("ir", entry::ir, &texts.collect::<Vec<_>>(), COUNT);
}

#[test]
fn npz() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    let tensors: Vec<_> = trine_ir::Elem::ALL
        .into_iter()
        .filter(|e| *e != trine_ir::Elem::Trit)
        .map(|e| (e.name(), graphs::data::tensor(e, &[2, 3], graphs::data::Draw::Whole(0, 1), 1)))
        .collect();
    trine::npz::write_npz(&path, tensors.iter().map(|(name, t)| (*name, t))).unwrap();
    let array = folder.path().join("a.npy");
    trine::npz::write_npy(&array, &tensors[0].1).unwrap();
    survives("npz", entry::npz, &[fs::read(path).unwrap(), fs::read(array).unwrap()], COUNT);
}

#[test]
fn safetensors() {
    let data = |_: &str, ty: &trine_ir::Type| {
        Some(graphs::data::tensor(ty.elem, &ty.static_dims()?, graphs::data::Draw::Whole(0, 1), 1))
    };
    let module = text::parse_with(entry::WEIGHED, &data).unwrap();
    let mut weights = vec![];
    sidecar::write(&module, &mut weights).unwrap();
    survives("safetensors", entry::safetensors, &[weights], COUNT);
}

#[test]
fn artefact() {
    let good = entry::shipped();
    let head = Head::read(good).unwrap();
    let mut inputs = vec![good.to_vec()];
    for (i, section) in head.sections.iter().enumerate() {
        let bytes = &good[section.start as usize..(section.start + section.len) as usize];
        inputs.push([&[i as u8], bytes].concat());
    }
    survives("artefact", entry::artefact, &inputs, COUNT);
}

#[test]
fn graphs_of_bytes() {
    let bytes = |seed: u64| {
        let mut random = Choices::of_seed(seed);
        (0..200).map(|_| random.number() as u8).collect::<Vec<u8>>()
    };
    let inputs: Vec<_> = (0..12).map(bytes).collect();
    survives("graphs", entry::graphs, &inputs, 48);
}

/// The target takes all inputs, and `count` of them changed.
fn survives(name: &str, target: fn(&[u8]), inputs: &[Vec<u8>], count: u64) {
    if let Some(folder) = std::env::var_os("TRINE_FUZZ_CORPUS") {
        let folder = Path::new(&folder).join(name);
        fs::create_dir_all(&folder).unwrap();
        for (i, input) in inputs.iter().enumerate() {
            fs::write(folder.join(i.to_string()), input).unwrap();
        }
    }
    let mut failures = vec![];
    let mut attempt = |what: String, bytes: &[u8]| {
        let run = || {
            target(bytes);
            Ok(())
        };
        if let Err(message) = caught::caught(run) {
            failures.push(format!("{what}: {message}\n{}", String::from_utf8_lossy(bytes).escape_debug()));
        }
    };
    for (i, input) in inputs.iter().enumerate() {
        attempt(format!("input {i}"), input);
    }
    for seed in 0..count {
        let input = seed as usize % inputs.len();
        attempt(format!("input {input} changed by {seed}"), &changed(&inputs[input], seed));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// The bytes with a few of them flipped, set to what is special, taken out, or said twice.
fn changed(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Choices::of_seed(seed);
    let mut out = bytes.to_vec();
    for _ in 0..random.between(1, 4) {
        if out.is_empty() {
            break;
        }
        let at = random.below(out.len());
        let end = (at + random.below(24)).min(out.len());
        match random.below(6) {
            0 => out[at] ^= 1 << random.below(8),
            1 => out[at] = random.pick(&[0, 1, 0x7f, 0x80, 0xff, b'0', b'9', b'-', b'[']),
            2 => drop(out.drain(at..end)),
            3 => {
                let part = out[at..end].to_vec();
                out.splice(at..at, part);
            }
            4 => out.truncate(at.max(1)),
            _ => out[at..end].iter_mut().for_each(|b| *b = random.number() as u8),
        }
    }
    out
}

fn model(seed: u64) -> Option<Vec<u8>> {
    Some(graphs::generate(&mut Choices::of_seed(seed), 4, false)?.model.encode_to_vec())
}
