//! SmolLM2-135M, a language model people use, against what onnxruntime answers.
//!
//! `tests/python/` makes the model and the answers once, under `target/models`: our own export in primitive
//! operators of opset 17, and with `TRINE_MOBIUS=1` the exporter's, in Attention and RotaryEmbedding of opset 24.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokenizers::Tokenizer;
use trine::generate::Decoder;
use trine::npz::Npz;
use trine::{Options, Program, Session, SessionOptions, Tensor};

use crate::answers::{argmax, array};
use crate::numbers::distance;
use crate::{outside, skips};

#[test]
fn our_export_answers_as_onnxruntime() {
    if outside::asked("SmolLM2 against onnxruntime") {
        check("smollm2");
    }
}

#[test]
fn the_exporters_export_answers_as_onnxruntime() {
    if !outside::asked("the exporter's SmolLM2 against onnxruntime") {
        return;
    }
    match std::env::var_os("TRINE_MOBIUS").is_some_and(|v| v == "1") {
        true => check("smollm2-mobius"),
        false => {
            skips::skip(
                "smollm2-mobius",
                "TRINE_MOBIUS=1 checks the exporter's SmolLM2 too (it installs torch)",
            );
        }
    }
}

fn check(name: &str) {
    let folder = made(name);
    let program = Arc::new(trine::compile(folder.join("model.onnx"), &Options::default()).unwrap());
    let oracle = std::fs::read(folder.join("oracle/oracle.json")).unwrap();
    let oracle: serde_json::Value = serde_json::from_slice(&oracle).unwrap();
    for case in oracle["cases"].as_array().unwrap() {
        let masked = case["masked"].as_u64().unwrap() as usize;
        check_case(&program, &folder.join("oracle"), case["name"].as_str().unwrap(), masked);
    }
    check_greedy(program, &folder, &oracle["greedy"]);
}

/// Every output of a run, but for what comes of the first `masked` tokens of row 0, which see nothing: engines
/// differ in what they make of that.
fn check_case(program: &Arc<Program>, oracle: &Path, case: &str, masked: usize) {
    let mut inputs = Npz::open(oracle.join(format!("{case}.in.npz"))).unwrap();
    let mut expected = Npz::open(oracle.join(format!("{case}.out.npz"))).unwrap();
    let inputs: Vec<Tensor> = program.inputs.iter().map(|port| array(&mut inputs, &port.name)).collect();
    let mut session =
        Session::new(program.clone(), &SessionOptions { threads: 2, ..SessionOptions::default() });
    let outputs = session.run(&inputs).unwrap();
    for (port, got) in program.outputs.iter().zip(&outputs) {
        let want = array(&mut expected, &port.name);
        assert_eq!(got.dims(), want.dims(), "{case}: `{}`", port.name);
        let (seen, compared) = (seen(got, masked), seen(&want, masked));
        let off = distance(&seen, &compared);
        assert!(off < 1e-3, "{case}: `{}` is {off} off", port.name);
    }
}

/// Logits `[batch, tokens, vocabulary]` or a cache `[batch, heads, tokens, head]` without those tokens.
fn seen(output: &Tensor, masked: usize) -> Vec<f32> {
    let &[.., tokens, size] = output.dims() else { panic!("an output of {:?}", output.dims()) };
    let row = output.len() / output.dims()[0] / size;
    let values = output.values::<f32>().unwrap();
    let vectors = values.chunks(size).enumerate();
    vectors.filter(|(i, _)| *i >= row || i % tokens >= masked).flat_map(|(_, v)| v.iter().copied()).collect()
}

/// The tokens taken one by one, past the end of the text.
fn check_greedy(program: Arc<Program>, folder: &Path, greedy: &serde_json::Value) {
    let ids = |key: &str| -> Vec<u32> {
        greedy[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    let tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
    let prompt = tokenizer.encode("The capital of France is", false).unwrap();
    assert_eq!(prompt.get_ids(), ids("prompt_ids"));
    let expected = ids("ids");
    assert_eq!(expected.len(), 64);
    let mut decoder = Decoder::new(program, 2, 128).unwrap();
    let mut got = vec![argmax(decoder.feed(prompt.get_ids()).unwrap())];
    while got.len() < expected.len() {
        let next = argmax(decoder.feed(&[got[got.len() - 1]]).unwrap());
        got.push(next);
    }
    let text = tokenizer.decode(&got, false).unwrap();
    assert!(text.starts_with(" Paris"), "{text}");
    assert_eq!(got, expected, "{text}");
}

/// The folder of the model and of what onnxruntime answers, made if need be.
fn made(name: &str) -> PathBuf {
    let folder = outside::root().join("target/models").join(name);
    let script = format!("tests/python/{}.py", name.replace('-', "_"));
    for arguments in [[&script, "--output"], ["tests/python/oracle_smollm2.py", "--model"]] {
        outside::success(outside::python().arg("tests/python/env.py").args(arguments).arg(&folder));
    }
    folder
}
