//! Models as shared libraries with their weights in a file, which Python holds by ctypes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use trine::Options;
use trine::generate::Decoder;

use crate::command::{models, succeed};
use crate::outside::{self, root};

#[test]
fn a_decoder_gives_the_jits_tokens_with_its_caches_in_place() {
    if outside::asked("a decoder as a shared library, from Python") {
        compare(&models().join("lm/f32.onnx"), &[5, 17, 42, 300], 40);
        compare(&models().join("lm/qdq.onnx"), &[7], 12);
    }
}

#[test]
fn smollm2_gives_the_jits_tokens_with_its_caches_in_place() {
    if !outside::asked("SmolLM2 as a shared library, from Python") {
        return;
    }
    let folder = root().join("target/models/smollm2");
    let scripts = ["tests/python/env.py", "tests/python/smollm2.py", "--output"];
    outside::success(outside::python().args(scripts).arg(&folder));
    compare(&folder.join("model.onnx"), &[504, 3575, 282, 4649, 314], 24);
}

#[test]
fn states_that_are_full_are_a_status() {
    if !outside::asked("full states of a shared library, from Python") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = shared(&models().join("lm/f32.onnx"), folder.path());
    let script = "import sys; sys.path.insert(0, 'examples/shared'); import decode; from pathlib import Path\n\
                  made = decode.Decoder(Path(sys.argv[1]), 4)\n\
                  assert made.call('state_bytes', 0, made.dims(1), -1) == -1\n\
                  assert made.call('state_bytes', 99, made.dims(1), 4) == -1\n\
                  made.feed([1, 2, 3, 4])\nmade.feed([5])";
    let output = outside::python().args(["tests/python/env.py", "-c", script]).arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.trim() == "the run ends with status -3", "{said}");
}

/// Compiles a model to a library in a folder, and says where it is, without the ends of its files' names.
fn shared(model: &Path, folder: &Path) -> PathBuf {
    let [from, to] = [model, folder].map(|path| path.to_str().unwrap());
    succeed(&[
        "compile",
        from,
        "-o",
        to,
        "--cpu",
        "native",
        "--name",
        "m",
        "--emit",
        "shared",
        "--weights",
        "file",
    ]);
    folder.join("m")
}

/// Decodes greedily, by the example without Trine and by the JIT.
fn compare(model: &Path, prompt: &[u32], count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut python = outside::python();
    python.args(["tests/python/env.py", "examples/shared/decode.py"]).arg(shared(model, folder.path()));
    python.args(["--tokens", &spaced(prompt, ","), "-n", &count.to_string()]);
    let printed = String::from_utf8(outside::success(&mut python).stdout).unwrap();
    let program = Arc::new(trine::compile(model, &Options::default()).unwrap());
    let mut decoder = Decoder::new(program, 1, prompt.len() + count).unwrap();
    let mut made = vec![greedy(decoder.feed(prompt).unwrap())];
    while made.len() < count {
        made.push(greedy(decoder.feed(&made[made.len() - 1..]).unwrap()));
    }
    assert_eq!(printed.lines().last(), Some(&*spaced(&made, " ")), "{}", model.display());
}

fn spaced(tokens: &[u32], by: &str) -> String {
    tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(by)
}

/// The first of the largest.
fn greedy(logits: &[f32]) -> u32 {
    (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32
}
