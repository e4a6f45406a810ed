//! `.trine` files as the command makes and takes them.

use std::fs;

use crate::command::{digits, fail, json, model, succeed};
use crate::outside;

#[test]
fn every_command_that_runs_a_model_takes_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (mlp, lm) = (path("mlp.trine"), path("lm.trine"));
    assert_eq!(succeed(&["compile", &model("digits/mlp.onnx"), "-o", &mlp]), format!("{mlp}\n"));
    succeed(&["compile", &model("lm/f32.onnx"), "-o", &lm]);
    let input = digits("mlp.x");
    for weights in ["map", "copy"] {
        succeed(&["run", &mlp, "-i", &input, "-o", &path("a.npz"), "--weights", weights]);
        succeed(&["run", &model("digits/mlp.onnx"), "-i", &input, "-o", &path("b.npz")]);
        assert!(fs::read(path("a.npz")).unwrap() == fs::read(path("b.npz")).unwrap());
    }
    let report = json(&["bench", &mlp, "--dim", "batch=2", "--seconds", "0.1"]);
    assert_eq!(report["steps"]["interpreted"], 0);
    let tokenizer = model("lm/tokenizer.json");
    let generate = |of: &str| {
        succeed(&["generate", of, "--tokenizer", &tokenizer, "--prompt", "The", "-n", "12", "--ids"])
    };
    assert_eq!(generate(&lm), generate(&model("lm/f32.onnx")));
    let data = model("digits/rows.npz");
    let accuracy = |of: &str| json(&["accuracy", of, "--data", &data])["accuracy"].clone();
    let rows = path("rows.trine");
    succeed(&["compile", &model("digits/rows_gru.onnx"), "-o", &rows]);
    assert_eq!(accuracy(&rows), accuracy(&model("digits/rows_gru.onnx")));
    let text = path("text");
    fs::write(&text, "The best way to do it is to begin.").unwrap();
    let loss =
        |of: &str| json(&["perplexity", of, "--tokenizer", &tokenizer, "--text", &text])["loss"].clone();
    assert_eq!(loss(&lm), loss(&model("lm/f32.onnx")));
}

#[test]
fn inspect_says_what_is_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mlp.trine").display().to_string();
    let cpus = "native,v3,aarch64+dotprod";
    succeed(&["compile", &model("digits/mlp.onnx"), "-o", &path, "--cpu", cpus]);
    let text = succeed(&["inspect", &path, "--full"]);
    for part in
        ["compiled by Trine ", "identity ", "x: f32[batch,64]", "runs here", "0 interpreted", "weights:"]
    {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let report = json(&["inspect", &path]);
    let cpu = |target: &serde_json::Value| target["cpu"].as_str().unwrap().to_string();
    let targets: Vec<_> = report["targets"].as_array().unwrap().iter().map(cpu).collect();
    assert_eq!(targets.join(","), cpus);
    assert_eq!(report["bytes"], fs::metadata(&path).unwrap().len());
    let ir = succeed(&["inspect", &path, "--ir"]);
    assert!(ir.starts_with("stage kernel\n") && ir.contains("graph @main("), "{ir}");
}

#[test]
fn mistakes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mlp = path("mlp.trine");
    succeed(&["compile", &model("digits/mlp.onnx"), "-o", &mlp]);
    let input = digits("mlp.x");
    for given in [["--ternarize", "twn"], ["--dim", "batch=3"], ["--backend", "interpret"], ["-O", "0"]] {
        let message = fail(2, &[&["run", &mlp, "-i", &input], &given[..]].concat());
        assert!(message.contains("is compiled, and options say how to compile"), "{message}");
    }
    for command in ["opt", "explain", "compile"] {
        let message =
            fail(2, &[command, &mlp, "-o", &path("x.trine")][..if command == "explain" { 2 } else { 4 }]);
        assert!(message.contains("is compiled already"), "{message}");
    }
    let mut bytes = fs::read(&mlp).unwrap();
    bytes.truncate(5000);
    fs::write(path("cut.trine"), bytes).unwrap();
    let message = fail(1, &["run", &path("cut.trine"), "-i", &input]);
    assert!(message.contains("cut.trine`: it is 5000 bytes long, not "), "{message}");
    fs::copy(model("digits/mlp.onnx"), path("onnx.trine")).unwrap();
    let message = fail(1, &["inspect", &path("onnx.trine")]);
    assert!(message.contains("it is not a `.trine` file"), "{message}");
    let message = fail(2, &["compile", &model("digits/mlp.onnx"), "--emit", "trine"]);
    assert!(message.contains("needs a name"), "{message}");
    let message =
        fail(2, &["compile", &model("digits/mlp.onnx"), "-o", &path("o"), "--cpu", "native,native"]);
    assert!(message.contains("only a .trine file is for several CPUs"), "{message}");
    let message = fail(2, &["inspect", &model("digits/mlp.onnx"), "--ir"]);
    assert!(message.contains("only a .trine file holds IR"), "{message}");
    let message = fail(1, &["compile", &model("digits/mlp.onnx"), "-o", "/proc/none/x.trine"]);
    assert!(message.contains("cannot write"), "{message}");
}

#[test]
fn files_for_named_cpus_are_the_same_wherever_they_are_made() {
    if cfg!(not(target_arch = "x86_64")) || !outside::asked("compiling on emulated processors") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here.trine"), folder.path().join("there.trine"));
    for name in ["digits/cnn.onnx", "lm/nbits.onnx", "lm_float/f32.onnx"] {
        let of = model(name);
        let args = ["compile", &of, "--cpu", "v2,v3,v4,sapphirerapids,aarch64,aarch64+dotprod", "-o"];
        succeed(&[&args[..], &[here.to_str().unwrap()]].concat());
        // One that has no vectors of 256 bits, and one with them.
        for processor in ["Nehalem", "Haswell"] {
            let mut compile = outside::program("qemu-x86_64");
            compile.args(["-cpu", processor, env!("CARGO_BIN_EXE_trine")]).args(args).arg(&there);
            outside::success(&mut compile);
            assert!(fs::read(&here).unwrap() == fs::read(&there).unwrap(), "{name} on {processor}");
        }
    }
}
