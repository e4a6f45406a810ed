//! What the command tells of layers: each by the name that the model gives it, with what it became or why not.

use crate::command::{both, command, fail, json, model, printed, succeed};

#[test]
fn layers_that_differ_in_numbers_are_one_line() {
    let text = succeed(&["explain", &model("lm/f32.onnx")]);
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
    let text = succeed(&["explain", &model, "layers.2/self_attn/k_proj"]);
    let line =
        "  `/layers.2/self_attn/k_proj/MatMulNBits` (MatMulNBits), weights u8[64,2,16]: ternary_matmul";
    assert!(text.contains(line) && text.lines().count() == 2, "{text}");
    let message = fail(1, &["explain", &model, "layers.9"]);
    assert!(message.contains("no layer has `layers.9` in its name"), "{message}");
}

#[test]
fn reasons_are_told_as_json() {
    let told = json(&["explain", &model("lm/f32.onnx")]);
    let of = |node: &str| told["layers"].as_array().unwrap().iter().find(|f| f["node"] == node).unwrap();
    let head = of("/lm_head/MatMul");
    assert!(head["became"].is_null());
    assert_eq!(head["misses"][0]["reason"], "the weights are not ternary");
    let layer = of("/layers.0/mlp/up_proj/MatMul");
    assert_eq!((&layer["family"], &layer["became"]["pass"]), (&"linear".into(), &"detect-ternary".into()));
    assert_eq!(layer["ternary"]["group"], 128);
    assert_eq!(layer["weights"]["type"], "f32[128,288]");
}

#[test]
fn kernels_are_told_with_the_reasons_of_their_choices() {
    let lm = model("lm/f32.onnx");
    let text = succeed(&["explain", &lm]);
    let (_, kernels) = text.split_once("\nkernels: ").unwrap();
    assert!(kernels.contains("the cheapest that the target can run"), "{kernels}");
    let asked = "signsum_f32_scalar_trits";
    let output = command(&["explain", &lm, "--json"]).env("TRINE_UKERNEL", asked).output().unwrap();
    let [told, _] = printed(output);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let sums = told["kernels"].as_array().unwrap().iter().map(|k| &k["sums"]).filter(|s| !s.is_null());
    let sums: Vec<_> =
        sums.map(|s| (s["microkernel"].as_str().unwrap(), s["why"].as_str().unwrap())).collect();
    assert!(!sums.is_empty());
    assert!(sums.iter().all(|s| *s == (asked, "which was asked for by name")), "{sums:?}");
}

#[test]
fn near_misses_are_counted_where_passes_are() {
    let lm = model("lm/f32.onnx");
    let told = "near misses of rules: `trine explain` tells them";
    for args in [["inspect", &lm, "--full"], ["opt", &lm, "--timing"]] {
        let text = both(&args).concat();
        assert!(text.contains(told), "{text}");
    }
}

#[test]
fn inspect_folds_what_differs_in_numbers() {
    let lm = model("lm/f32.onnx");
    let text = succeed(&["inspect", &lm]);
    assert!(text.contains("  4 times past_key_values.*.key: f32["), "{text}");
    assert!(text.contains("  4 times `@layers.*"), "{text}");
    let full = succeed(&["inspect", &lm, "--full"]);
    assert!(full.contains("  past_key_values.3.key: f32[") && !full.contains(" times "), "{full}");
}

#[test]
fn what_is_not_given_can_be_made_up() {
    let lm = model("lm/f32.onnx");
    let text = succeed(&["run", &lm, "--random"]);
    assert!(text.starts_with("logits: f32[1,1,512]"), "{text}");
    let text = succeed(&["run", &lm, "--random", "--dim", "batch=2"]);
    assert!(text.starts_with("logits: f32[2,1,512]"), "{text}");
}
