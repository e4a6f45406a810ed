//! What the command tells of layers: each by the name that the model gives it, with what it became or why not.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models").join(name)
}

fn trine(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_trine")).args(args).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn explain(model: &Path, args: &[&str]) -> String {
    let args = [&["explain", model.to_str().unwrap()], args].concat();
    let (code, text) = trine(&args);
    assert_eq!(code, Some(0), "{text}");
    text
}

#[test]
fn layers_that_differ_in_numbers_are_one_line() {
    let text = explain(&model("lm/f32.onnx"), &[]);
    assert!(
        text.starts_with("linear layers: 28 of 29 ternary\n  4 times `/layers.*/self_attn/q_proj/MatMul`"),
        "{text}"
    );
    for line in [
        "  `/lm_head/MatMul` (MatMul), weights f32[512,128]: stays as it is\n",
        "      detect-ternary does not apply: the weights are not ternary\n",
        "norms: 17 of 17 recognised\n",
        "  `/norm/Mul_1` (Mul): rms_norm {eps=1e-5}, by recognize-norms\n",
        "attention and rotary positions: 12 of 12 recognised\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // What became a part of attention is not told by itself.
    assert!(!text.contains("Softmax"), "{text}");
}

#[test]
fn one_layer_is_told_by_its_name() {
    let model = model("lm/nbits.onnx");
    let text = explain(&model, &["layers.2/self_attn/k_proj"]);
    let line =
        "  `/layers.2/self_attn/k_proj/MatMulNBits` (MatMulNBits), weights u8[64,2,16]: ternary_matmul";
    assert!(text.contains(line) && text.lines().count() == 2, "{text}");
    let (code, text) = trine(&["explain", model.to_str().unwrap(), "layers.9"]);
    assert!(code == Some(1) && text.contains("no layer has `layers.9` in its name"), "{text}");
}

#[test]
fn reasons_are_told_as_json() {
    let fates: Value = serde_json::from_str(&explain(&model("lm/f32.onnx"), &["--json"])).unwrap();
    let of = |node: &str| fates.as_array().unwrap().iter().find(|f| f["node"] == node).unwrap();
    let head = of("/lm_head/MatMul");
    assert_eq!(head["became"], Value::Null);
    assert_eq!(head["misses"][0]["reason"], "the weights are not ternary");
    let layer = of("/layers.0/mlp/up_proj/MatMul");
    assert_eq!((&layer["family"], &layer["became"]["pass"]), (&"linear".into(), &"detect-ternary".into()));
    assert_eq!(layer["ternary"]["group"], 128);
    assert_eq!(layer["weights"]["type"], "f32[128,288]");
}

#[test]
fn near_misses_are_counted_where_passes_are() {
    let lm = model("lm/f32.onnx");
    let told = "near misses of rules: `trine explain` tells them";
    for args in [["inspect", lm.to_str().unwrap(), "--full"], ["opt", lm.to_str().unwrap(), "--timing"]] {
        let (code, text) = trine(&args);
        assert!(code == Some(0) && text.contains(told), "{text}");
    }
}

#[test]
fn inspect_folds_what_differs_in_numbers() {
    let lm = model("lm/f32.onnx");
    let (_, text) = trine(&["inspect", lm.to_str().unwrap()]);
    assert!(text.contains("  4 times past_key_values.*.key: f32["), "{text}");
    assert!(text.contains("  4 times `@layers.*"), "{text}");
    let (_, full) = trine(&["inspect", lm.to_str().unwrap(), "--full"]);
    assert!(full.contains("  past_key_values.3.key: f32[") && !full.contains(" times "), "{full}");
}

#[test]
fn what_is_not_given_can_be_made_up() {
    let lm = model("lm/f32.onnx");
    let (code, text) = trine(&["run", lm.to_str().unwrap(), "--random"]);
    assert!(code == Some(0) && text.starts_with("logits: f32[1,1,512]"), "{text}");
    let (code, text) = trine(&["run", lm.to_str().unwrap(), "--random", "--dim", "batch=2"]);
    assert!(code == Some(0) && text.starts_with("logits: f32[2,1,512]"), "{text}");
}
