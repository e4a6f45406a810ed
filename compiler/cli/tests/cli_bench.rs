//! What `trine bench` reports.

use crate::command::{digits, fail, json, model};

#[test]
fn bench_reports_speeds() {
    let mlp = json(&["bench", &model("digits/mlp.onnx"), "--seconds", "0.1", "--dim", "batch=4"]);
    assert_eq!(mlp["dims"]["batch"], 4);
    assert!(mlp["min_s"].as_f64().unwrap() <= mlp["median_s"].as_f64().unwrap());
    assert!(mlp["median_s"].as_f64().unwrap() <= mlp["p95_s"].as_f64().unwrap());
    assert!(mlp.get("decode_tokens_per_s").is_none());
    let given = json(&["bench", &model("digits/mlp.onnx"), "--seconds", "0.1", "-i", &digits("mlp.x")]);
    assert!(given["dims"].is_null() && given["median_s"].as_f64().unwrap() > 0.0, "{given}");
    let missing = fail(2, &["bench", &model("lm/f32.onnx"), "-i", &digits("mlp.x")]);
    assert!(missing.contains("`x`"), "{missing}");
    let lm = json(&["bench", &model("lm/f32.onnx"), "--seconds", "0.1", "--dim", "seq=16"]);
    assert!(lm["prompt_tokens_per_s"].as_f64().unwrap() > 0.0);
    assert!(lm["decode_tokens_per_s"].as_f64().unwrap() > 0.0);
}

/// Its rotary tables have 64 rows.
#[test]
fn bench_stops_where_the_model_does() {
    let bench = ["bench", &model("spellings/genai_qwen3_f16.onnx"), "--seconds", "0.05", "--dim"];
    let report = json(&[&bench[..], &["sequence_length=40"]].concat());
    assert_eq!(report["decoded_tokens"], 24);
    let message = fail(1, &[&bench[..], &["sequence_length=65"]].concat());
    assert!(message.contains("--dim sequence_length=N reads fewer than 65 tokens"), "{message}");
}
