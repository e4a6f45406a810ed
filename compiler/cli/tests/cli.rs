//! The command as its users meet it: results, messages and exit codes.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tokenizers::Tokenizer;
use trine::Tensor;
use trine::npz::{Npz, write_npz};

use crate::command::{command, digits, fail, json, model, models, succeed};
use crate::numbers::distance;
use crate::outside;

fn array(path: &Path, name: &str) -> Tensor {
    Npz::open(path).unwrap().get(name).unwrap().unwrap()
}

fn assert_close(got: &Tensor, want: &Tensor) {
    assert_eq!(got.dims(), want.dims());
    let (got, want) = (got.values::<f32>().unwrap(), want.values::<f32>().unwrap());
    let off = distance(&got, &want);
    assert!(off <= 1e-4, "{off} off");
}

#[test]
fn run_gives_what_onnxruntime_gave() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.npz");
    for name in ["mlp", "cnn"] {
        let (model, input) = (model(&format!("digits/{name}.onnx")), digits(&format!("{name}.x")));
        succeed(&["run", &model, "-i", &input, "-o", out.to_str().unwrap()]);
        let want = array(&models().join("digits/data.npz"), &format!("{name}.logits"));
        assert_close(&array(&out, "logits"), &want);
    }
}

#[test]
fn run_sums_up_outputs_and_tells_json() {
    let (model, input) = (model("digits/mlp.onnx"), digits("mlp.x"));
    let text = succeed(&["run", &model, "-i", &input]);
    assert!(text.starts_with("logits: f32[450,10], from "), "{text}");
    let report = json(&["run", &model, "-i", &input, "--threads", "1", "--backend", "interpret"]);
    assert_eq!(report["outputs"][0]["shape"], serde_json::json!([450, 10]));
    assert_eq!(report["steps"]["compiled"], 0);
    assert_eq!(report["threads"], 1);
}

#[test]
fn ir_that_opt_wrote_runs_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let input = digits("mlp.x");
    for level in ["-O0", "-O1", "-O2"] {
        for backend in ["interpret", "auto"] {
            let run = |model: &str, out: &str, extra: &str| {
                succeed(&["run", model, "-i", &input, "-o", &path(out), "--backend", backend, extra]);
                array(&folder.path().join(out), "logits")
            };
            let expected = run(&model("digits/mlp.onnx"), "a.npz", level);
            succeed(&["opt", &model("digits/mlp.onnx"), level, "-o", &path("mlp.ir")]);
            assert!(run(&path("mlp.ir"), "b.npz", level) == expected, "{level} {backend}");
        }
    }
}

#[test]
fn opt_prints_ir_that_names_its_passes() {
    let model = model("digits/mlp.onnx");
    assert!(succeed(&["opt", &model, "-O0"]).contains("graph @main(%x: f32[batch,64])"));
    assert!(succeed(&["opt", &model, "-O0", "--locs"]).contains("loc(\"fc0\", \"Gemm\")"));
    let dumps = |when: &str| {
        let output = command(&["opt", &model, "--print-ir-after", when, "--timing"]).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let (all, changed, one) = (dumps("all"), dumps("changed"), dumps("detect-ternary"));
    assert!(all.matches("// after ").count() >= changed.matches("// after ").count());
    assert_eq!(one.matches("// after detect-ternary").count(), 1);
    assert!(one.contains("ternary_matmul") && one.contains(" ms\n"));
    assert_eq!(one.matches("// after ").count(), 1);
}

#[test]
fn inspect_finds_the_ternary_layers_of_every_spelling() {
    for (name, layers) in
        [("digits/mlp", 3), ("lm/f32", 28), ("lm/nbits", 28), ("lm/qdq", 28), ("lm/opset23", 28)]
    {
        let report = json(&["inspect", &model(&format!("{name}.onnx"))]);
        let ternary = report["ternary"].as_array().unwrap();
        assert_eq!(ternary.len(), layers, "{name}");
        assert!(ternary.iter().all(|l| l["found"].is_string() && l["zeros"].as_f64().unwrap() < 1.0));
        assert_eq!(report["unsupported"], serde_json::json!([]));
    }
    let text = succeed(&["inspect", &model("digits/mlp.onnx")]);
    assert!(text.contains("ONNX, opset ai.onnx 17") && text.contains("ternary layers: 3 of 3"), "{text}");
    assert!(text.contains("  x: f32[batch,64]\n"), "{text}");
    let text = succeed(&["inspect", &model("digits/cnn.onnx")]);
    assert!(text.contains("ternary layers: 1 of 4"), "{text}");
}

#[test]
fn compile_writes_what_c_links_and_runs() {
    if !outside::asked("`trine compile` writes what C links and runs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mlp = model("digits/mlp.onnx");
    succeed(&["run", &mlp, "-i", &digits("mlp.x"), "-o", &path("want.npz")]);
    let want = array(&folder.path().join("want.npz"), "logits");
    let images = array(&models().join("digits/data.npz"), "mlp.x");
    std::fs::write(path("in"), images.bytes()).unwrap();
    for target in [&[][..], &["--target", "native", "--verify-kernels"]] {
        let args = ["compile", &mlp, "--emit", "obj", "-o", &path("build"), "--name", "model"];
        let said = succeed(&[&args[..], target].concat());
        // What it says is what links.
        let line = said.lines().last().unwrap().replace("main.c", &path("build/main.c"));
        std::fs::copy(crate::command::root().join("tests/aot/main.c"), path("build/main.c")).unwrap();
        let mut words = line.split(' ');
        let mut cc = outside::program(words.next().unwrap());
        outside::success(cc.args(words).args(["-o", &path("main")]));
        let bytes = want.bytes().len().to_string();
        let ran =
            Command::new(path("main")).args(["450", &path("in"), &path("out"), &bytes]).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        assert!(std::fs::read(path("out")).unwrap() == *want.bytes(), "{target:?}");
    }
    let files: Vec<_> = std::fs::read_dir(path("build")).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    let header = std::fs::read_to_string(path("build/model.h")).unwrap();
    for line in ["INPUT_0 \"x\"", "INPUT_0_ELEM \"f32\"", "INPUT_0_SHAPE \"batch,64\"", "DIM_0 \"batch\""] {
        assert!(header.contains(&format!("#define MODEL_{line}\n")), "{line} in {header}");
    }
}

#[test]
fn compile_shows_kernels_in_the_languages_of_their_readers() {
    let mlp = model("digits/mlp.onnx");
    let show = |emit: &str, more: &[&str]| {
        succeed(&[&["compile", &mlp, "--target", "x86-64-v3", "--emit", emit], more].concat())
    };
    let ir = show("ir", &[]);
    assert!(ir.starts_with("stage kernel\n") && ir.contains("graph @main("), "{ir}");
    let name = ir.split("\nkernel @").nth(1).unwrap().split('(').next().unwrap();
    let one = show("ir", &["--kernel", name]);
    assert!(one.contains(&format!("kernel @{name}(")) && !one.contains("graph @main"), "{one}");
    assert!(show("dot", &[]).starts_with("digraph \"main\" {"));
    let clif = show("clif", &["--kernel", name]);
    assert!(clif.starts_with(&format!("kernel @{name}\nfunction")) && clif.contains("load.i64"), "{clif}");
    assert!(show("asm", &[]).contains("ret"));
    let message = fail(2, &["compile", &mlp, "--emit", "asm", "--kernel", "nothing"]);
    assert!(message.contains("no kernel is called `nothing`; there are `"), "{message}");
    let message = fail(2, &["compile", &mlp]);
    assert!(message.contains("--output FOLDER"), "{message}");
}

#[test]
fn compile_says_what_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let mlp = model("digits/mlp.onnx");
    let message = fail(2, &["compile", &mlp, "-o", &out, "--target", "zx81"]);
    assert!(message.contains("`zx81` is not a target"), "{message}");
    let message = fail(2, &["compile", &mlp, "-o", &out, "--name", "2nd"]);
    assert!(message.contains("`2nd` is not a C identifier"), "{message}");
    let message = fail(2, &["compile", &mlp, "-o", &out, "--backend", "interpret"]);
    assert!(message.contains("no interpreter"), "{message}");
    let source = "\
graph @main(%x: f32[4,4]) -> (%i: i64[2,n], %j: i64[2,m]) {
  %i = nonzero %x {count=n} : i64[2,n]
  %y = relu %x : f32[4,4]
  %j = nonzero %y {count=m} : i64[2,m]
}
";
    let path = folder.path().join("odd.ir");
    std::fs::write(&path, source).unwrap();
    let message = fail(1, &["compile", path.to_str().unwrap(), "-o", &out]);
    assert!(message.contains("`%i`") && message.contains("`%j`"), "{message}");
    assert!(!Path::new(&out).exists());
    let blocked = path.display().to_string();
    let message = fail(1, &["compile", &mlp, "-o", &blocked]);
    assert!(message.contains("there can be no folder"), "{message}");
}

#[test]
fn generate_says_what_onnxruntime_said() {
    let expected = models().join("lm/expected.npz");
    let tokenizer = Tokenizer::from_file(models().join("lm/tokenizer.json")).unwrap();
    let ids = |name: &str| -> Vec<u32> {
        array(&expected, name).values::<i64>().unwrap().iter().map(|id| *id as u32).collect()
    };
    let prompt = tokenizer.decode(&ids("1.prompt"), true).unwrap();
    for name in ["f32", "nbits"] {
        let model = model(&format!("lm/{name}.onnx"));
        let text = succeed(&["generate", &model, "--prompt", &prompt, "-n", "64", "--ids"]);
        let got: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        let want: Vec<u32> = ids("1.greedy").into_iter().take_while(|id| *id != 0).collect();
        assert_eq!(got, want, "{name}");
    }
    let model = model("lm/f32.onnx");
    let draw = |seed: &str| {
        let args = ["generate", &model, "-p", &prompt, "-n", "16", "--temperature", "1", "--seed", seed];
        succeed(&[&args[..], &["--top-p", "0.9"]].concat())
    };
    let text = draw("1");
    assert!(text.starts_with(&prompt));
    assert_eq!(text, draw("1"));
    assert_ne!(text, draw("2"));
}

#[test]
fn perplexity_is_what_onnxruntime_measured() {
    let oracle: Value =
        serde_json::from_slice(&std::fs::read(models().join("lm/loss.json")).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.txt");
    std::fs::write(&text, oracle["text"].as_str().unwrap()).unwrap();
    let text = text.to_str().unwrap();
    let context = oracle["context"].to_string();
    for name in ["f32", "nbits", "opset23", "qdq"] {
        let model = model(&format!("lm/{name}.onnx"));
        let got = json(&["perplexity", &model, "--text", text, "--context", &context]);
        assert_eq!(got["tokens"], oracle["tokens"], "{name}");
        let (loss, want) = (got["loss"].as_f64().unwrap(), oracle["loss"].as_f64().unwrap());
        assert!((loss - want).abs() < 1e-3, "{name}: {loss} nats, onnxruntime {want}");
        assert!((got["perplexity"].as_f64().unwrap() / loss.exp() - 1.0).abs() < 1e-12, "{name}");
    }
    let f32 = model("lm/f32.onnx");
    let first = succeed(&["perplexity", &f32, "--text", text, "--tokens", "10"]);
    assert!(first.contains("10 tokens in windows of 512"), "{first}");
    std::fs::write(folder.path().join("empty.txt"), "\n").unwrap();
    let empty = folder.path().join("empty.txt");
    let message = fail(1, &["perplexity", &f32, "--text", empty.to_str().unwrap()]);
    assert!(message.contains("holds no text"), "{message}");
    let message = fail(1, &["perplexity", &f32, "--text", "none.txt"]);
    assert!(message.contains("cannot read `none.txt`"), "{message}");
    let mlp = model("digits/mlp.onnx");
    let tokenizer = model("lm/tokenizer.json");
    let message = fail(1, &["perplexity", &mlp, "--text", text, "--tokenizer", &tokenizer]);
    assert!(message.contains("the model is not a decoder"), "{message}");
}

#[test]
fn accuracy_counts_what_onnxruntime_got_right() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("d.npz");
    let given = models().join("digits/data.npz");
    let labels = array(&given, "labels");
    let wanted = labels.values::<i64>().unwrap();
    for name in ["mlp", "cnn"] {
        let x = array(&given, &format!("{name}.x"));
        write_npz(&data, [("x", &x), ("y", &labels)]).unwrap();
        let logits = array(&given, &format!("{name}.logits"));
        let logits = logits.values::<f32>().unwrap();
        let best = |row: &[f32]| (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as i64;
        let right = logits.chunks(10).zip(wanted.iter()).filter(|(row, y)| best(row) == **y).count();
        let model = model(&format!("digits/{name}.onnx"));
        let report = json(&["accuracy", &model, "--data", data.to_str().unwrap()]);
        assert_eq!((report["right"].as_u64(), report["examples"].as_u64()), (Some(right as u64), Some(450)));
        assert!((report["accuracy"].as_f64().unwrap() - right as f64 / 450.0).abs() < 1e-12);
    }
    let mlp = model("digits/mlp.onnx");
    let message = |arrays: &[(&str, &Tensor)], labels: &str| {
        write_npz(&data, arrays.iter().copied()).unwrap();
        fail(1, &["accuracy", &mlp, "--data", data.to_str().unwrap(), "--labels", labels])
    };
    let x = array(&given, "mlp.x");
    let short = Tensor::vector(vec![1i64; 449]);
    assert!(message(&[("x", &x), ("y", &short)], "y").contains("449 labels do not go with scores"));
    let wrong = Tensor::vector(vec![10i64; 450]);
    assert!(message(&[("x", &x), ("y", &wrong)], "y").contains("label 10 is none of the 10 classes"));
    assert!(message(&[("x", &x), ("y", &x)], "y").contains("labels are integers"));
    assert!(message(&[("x", &x), ("y", &labels)], "z").contains("has no array `z` of labels"));
    assert!(message(&[("z", &x), ("y", &labels)], "y").contains("has no array for input `x`"));
}

#[test]
fn shells_and_man_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeed(&["completions", shell]);
        assert!(script.contains("ternarize") && script.contains("activations"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    let man = folder.path().join("man1");
    succeed(&["man", man.to_str().unwrap()]);
    let page = std::fs::read_to_string(man.join("trine-run.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("\\-\\-input"), "{page}");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let message = fail(1, &["man", file.to_str().unwrap()]);
    assert!(message.contains("cannot write"), "{message}");
}

#[test]
fn list_shows_what_there_is() {
    assert!(succeed(&["list", "passes"]).contains("detect-ternary"));
    assert!(succeed(&["list", "methods"]).contains("absmean"));
    assert!(succeed(&["list", "ops"]).contains("rms_norm (x, gain) {eps}"));
    assert!(succeed(&["list", "kernels"]).contains("signsum_i8_scalar_trits"));
    assert!(succeed(&["list", "onnx"]).contains(" MatMul "));
    for what in ["passes", "methods", "ops", "kernels", "onnx"] {
        assert!(json(&["list", what])[what].as_array().unwrap().len() > 1, "{what}");
    }
    assert_eq!(succeed(&["ternarize", "--list"]), succeed(&["list", "methods"]));
    assert!(succeed(&["--help"]).contains("Exit codes"));
}

/// Every microkernel that this machine has is right and gives the same output; others are refused by name.
#[test]
fn microkernels_can_be_named() {
    let listed = succeed(&["list", "kernels"]);
    let (_, names) = listed.split_once("TRINE_UKERNEL can name").unwrap();
    let names: Vec<&str> = names.split_whitespace().filter(|w| w.starts_with("signsum_")).collect();
    assert!(names.contains(&"signsum_i8_scalar_trits"), "{listed}");
    let folder = tempfile::tempdir().unwrap();
    let (model, input) = (model("digits/mlp.onnx"), digits("mlp.x"));
    let run = |name: &str| {
        let out = folder.path().join("out.npz");
        let args = ["run", &model, "-i", &input, "-o", out.to_str().unwrap(), "--verify-kernels"];
        let result = command(&args).env("TRINE_UKERNEL", name).output().unwrap();
        (result, out)
    };
    let logits = |name: &str| {
        let (result, out) = run(name);
        assert!(result.status.success(), "{name}: {}", String::from_utf8_lossy(&result.stderr));
        array(&out, "logits").bytes().to_vec()
    };
    let scalar = logits("signsum_i8_scalar_trits,signsum_f32_scalar_trits");
    for name in names {
        assert_eq!(logits(name), scalar, "{name}");
    }
    let (result, _) = run("signsum_i8_mmx");
    let message = String::from_utf8(result.stderr).unwrap();
    assert_eq!(result.status.code(), Some(2), "{message}");
    assert!(message.contains("signsum_i8_mmx") && message.contains("signsum_i8_scalar_trits"), "{message}");
}

/// What was measured is said, remembered and said again; bytes that are not ours are replaced.
#[test]
fn autotuning_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("autotune.json");
    let out = folder.path().join("out.npz");
    let (model, input) = (model("digits/mlp.onnx"), digits("mlp.x"));
    let tune = || {
        let args = ["run", &model, "-i", &input, "-o", out.to_str().unwrap(), "--autotune"];
        let mut command = command(&args);
        let result = command.env("TRINE_CACHE", folder.path()).env_remove("TRINE_UKERNEL").output().unwrap();
        let message = String::from_utf8(result.stderr).unwrap();
        assert!(result.status.success(), "{message}");
        message
    };
    let first = tune();
    let shapes = first.lines().filter(|l| l.starts_with("autotune: trits f32, ")).count();
    if shapes == 0 {
        // A machine with the oracle alone.
        return;
    }
    let remembered = std::fs::read_to_string(&file).unwrap();
    assert_eq!(remembered.matches("signsum_f32_").count(), shapes, "{remembered}");
    assert_eq!(tune(), first);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), remembered);
    std::fs::write(&file, "{").unwrap();
    assert!(tune().contains("is not what autotuning wrote"));
    let again: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(again.as_object().unwrap().len(), 1);
    let build = folder.path().join("build");
    let args = ["compile", &model, "-o", build.to_str().unwrap(), "--target", "native", "--autotune"];
    let result = command(&args).env("TRINE_CACHE", folder.path()).output().unwrap();
    assert!(result.status.success() && build.join("mlp.o").is_file(), "{result:?}");
}

#[test]
fn mistakes_on_the_command_line_end_with_2() {
    let mlp = model("digits/mlp.onnx");
    let message = fail(2, &["opt", &mlp, "--passes", "simplfy"]);
    assert!(
        message.contains("no pass `simplfy`") && message.contains("did you mean `simplify`?"),
        "{message}"
    );
    let message = fail(2, &["run", &mlp, "--ternarize", "absmaen"]);
    assert!(message.contains("did you mean `absmean`?"), "{message}");
    let message = fail(2, &["opt", &mlp, "--print-ir-after", "simplfy"]);
    assert!(message.contains("'simplify'"), "{message}");
    let message = fail(2, &["run", &mlp]);
    assert!(message.contains("an input is missing: `x`: f32[batch,64]"), "{message}");
    let message = fail(2, &["run", &mlp, "-i", &digits("mlp.x").replace("x=", "y=")]);
    assert!(message.contains("the model has no input `y`"), "{message}");
    let message = fail(2, &["bench", &mlp, "--dim", "bach=2"]);
    assert!(message.contains("did you mean `batch`?"), "{message}");
    let message = fail(2, &["run", &model("lm/tokenizer.json")]);
    assert!(message.contains("is not a model"), "{message}");
    fail(2, &["opt", &mlp, "-o", "mlp.txt"]);
    fail(2, &["run", &mlp, "-i", &digits("mlp.x"), "-o", "out.csv"]);
    fail(2, &["fly"]);
    fail(2, &[]);
}

#[test]
fn wrong_models_and_inputs_end_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let mlp = model("digits/mlp.onnx");
    let message = fail(1, &["inspect", "none.onnx"]);
    assert!(message.contains("cannot read `none.onnx`: No such file"), "{message}");
    let message = fail(1, &["inspect", &file("noise.onnx", &[0xff; 99])]);
    assert!(message.contains("noise.onnx`: not an ONNX model"), "{message}");
    let source = "graph @main(%x: f32[2]) -> (%y: f32[2]) {\n  %y = nop %x : f32[2]\n}\n";
    let message = fail(1, &["run", &file("bad.ir", source.as_bytes())]);
    assert!(message.contains("line 2, column 8") && message.contains("%y = nop %x"), "{message}");
    let message = fail(1, &["run", &mlp, "-i", &digits("labels")]);
    assert!(message.contains("input `x` is f32[batch,64], got i64[450]"), "{message}");
    assert!(message.contains(".astype(\"float32\")"), "{message}");
    let wide = folder.path().join("wide.npz");
    write_npz(&wide, [("x", &Tensor::from_vec(vec![1, 65], vec![0f32; 65]).unwrap())]).unwrap();
    let message = fail(1, &["run", &mlp, "-i", wide.to_str().unwrap()]);
    assert!(message.contains("input `x`: axis 1 has 65 elements, not `64`"), "{message}");
    let message = fail(1, &["run", &mlp, "-i", &model("digits/data.npz")]);
    assert!(message.contains("the file has `labels`"), "{message}");
    let message = fail(1, &["run", &mlp, "-i", &digits("mlp.y")]);
    assert!(message.contains("has no array `mlp.y`"), "{message}");
    let message = fail(1, &["run", &mlp, "-i", &file("no.npz", b"zip?")]);
    assert!(message.contains("not an .npz file"), "{message}");
    let message = fail(1, &["generate", &mlp, "--prompt", "x"]);
    assert!(message.contains("there is no tokenizer") && message.contains("--tokenizer FILE"), "{message}");
    let message = fail(1, &["generate", &mlp, "--prompt", "x", "--tokenizer", &model("lm/tokenizer.json")]);
    assert!(message.contains("the model is not a decoder: its input `x`"), "{message}");
}

/// A limit on the size of files stands for the full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let lm = model("lm/f32.onnx");
    for (arguments, output) in [
        (format!("opt {lm} -O0 -o model.ir"), "model.safetensors"),
        (format!("run {} -i {} -o out.npz", model("digits/mlp.onnx"), digits("mlp.x")), "out.npz"),
        (format!("compile {} -o .", model("digits/mlp.onnx")), "mlp.o"),
    ] {
        // Past the limit a write fails, once the signal that comes first is ignored.
        let script = format!("trap '' XFSZ; ulimit -f 4; exec '{}' {arguments}", env!("CARGO_BIN_EXE_trine"));
        let Output { status, stderr, .. } =
            Command::new("sh").args(["-c", &script]).current_dir(&folder).output().unwrap();
        let message = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{arguments}: {message}");
        assert!(
            message.contains(&format!("cannot write `./{output}`: "))
                || message.contains(&format!("cannot write `{output}`: ")),
            "{message}"
        );
        let left: Vec<_> = folder.path().read_dir().unwrap().map(|f| f.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{arguments}: {left:?}");
    }
}
