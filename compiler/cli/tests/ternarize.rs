//! `trine ternarize` as its users meet it, on a small language model that was not trained ternary.

use std::path::{Path, PathBuf};
use std::process::Output;

use prost::Message;
use serde_json::Value;
use trine::import;
use trine::import::proto::TensorProto;
use trine::npz::{Npz, write_npz};
use trine::{Options, Tensor};

use crate::command::{command, fail, failed, json, models, printed, succeed};

/// Prose enough to fit to and to measure with: what `trine generate` drew from `tests/models/lm` at a temperature of 0.7.
/// The bounds below hold for this text, so that it must not change.
const TEXT: &str = include_str!("data/samples.txt");

/// The norms of a layer, and the projections that each is the input of.
const NORMS: [(&str, &[&str]); 4] = [
    ("input_layernorm", &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    ("self_attn.attn_sub_norm", &["self_attn.o_proj"]),
    ("post_attention_layernorm", &["mlp.gate_proj", "mlp.up_proj"]),
    ("mlp.ffn_sub_norm", &["mlp.down_proj"]),
];

/// Multiplies the elements of a tensor by a function of their place and of the tensor's width.
fn rescale(tensors: &mut [TensorProto], name: &str, factor: impl Fn(usize, usize) -> f32) {
    let tensor = tensors.iter_mut().find(|t| t.name() == name).unwrap();
    let old = import::tensor(tensor).unwrap();
    let width = *old.dims().last().unwrap();
    let values = old.values::<f32>().unwrap().into_owned();
    let scaled = values.iter().enumerate().flat_map(|(i, v)| (v * factor(i, width)).to_le_bytes());
    tensor.raw_data = Some(scaled.collect::<Vec<u8>>().into());
    tensor.float_data.clear();
}

/// A folder with a model, its tokenizer and a text.
struct Setting(tempfile::TempDir);

impl Setting {
    /// The committed ternary model with the columns of its projections scaled and the gains of the norms before them
    /// scaled back: the same function, of weights that are ternary no more.
    fn new() -> Setting {
        let folder = tempfile::tempdir().unwrap();
        let lm = models().join("lm");
        let mut model = import::read(lm.join("f32.onnx")).unwrap();
        let tensors = &mut model.graph.as_mut().unwrap().initializer;
        let mut state = 1u64;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            2.4 * ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5)
        };
        for (norm, projections) in NORMS {
            for layer in 0..4 {
                let name = |part: &str| format!("layers.{layer}.{part}.weight");
                let scales: Vec<f32> = (0..288).map(|_| draw().exp()).collect();
                rescale(tensors, &name(norm), |i, _| scales[i]);
                for projection in projections {
                    rescale(tensors, &name(projection), |i, width| 1.0 / scales[i / width]);
                }
            }
        }
        std::fs::write(folder.path().join("model.onnx"), model.encode_to_vec()).unwrap();
        std::fs::copy(lm.join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
        std::fs::write(folder.path().join("text.txt"), TEXT).unwrap();
        Setting(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// `trine ternarize` of the model into `out`, fitted to the text.
    fn run(&self, out: &str, extra: &[&str]) -> Output {
        let (model, text, out) = (self.path("model.onnx"), self.path("text.txt"), self.path(out));
        let args = ["ternarize", &model, "--calib", &text, "-o", &out, "--json", "--threads", "2"];
        let sizes = [["--tokens", "2048"], ["--context", "64"]].into_iter();
        let sizes = sizes.filter(|size| !extra.contains(&size[0])).flatten();
        command(&[&args[..], &sizes.collect::<Vec<_>>(), extra].concat()).output().unwrap()
    }

    fn report(&self, out: &str, extra: &[&str]) -> Value {
        let [report, said] = printed(self.run(out, extra));
        assert!(said.contains("28 layers are approximations now: held-out loss"), "{said}");
        serde_json::from_str(&report).unwrap()
    }
}

fn loss(report: &Value, at: &str) -> f64 {
    report[at]["loss"].as_f64().unwrap()
}

fn bytes(path: String) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn calibration_costs_less_than_rounding_and_two_planes_next_to_nothing() {
    let setting = Setting::new();
    let one = setting.report("one", &["--planes", "1"]);
    let (before, after) = (loss(&one, "before"), loss(&one, "after"));
    let plain = &one["points"][1];
    assert_eq!(plain["name"], "by the weights alone");
    let plain = plain["quality"]["loss"].as_f64().unwrap();
    assert!(before < after && after < plain, "{before} {after} {plain}");
    let bits = one["bits"].as_f64().unwrap();
    assert!((1.6..1.9).contains(&bits), "{bits}");
    for layer in one["layers"].as_array().unwrap() {
        let (fitted, held_out) = (layer["relX"].as_f64().unwrap(), layer["relX_held_out"].as_f64().unwrap());
        assert!(0.0 < fitted && fitted < 0.5 && held_out < 0.6, "{layer}");
    }
    let two = setting.report("two", &[]);
    let (rise, of_two) = (after - before, loss(&two, "after") - before);
    assert!(of_two < 0.1 && of_two < 0.5 * rise, "{before}: {rise} {of_two}");
    assert!(two["bits"].as_f64().unwrap() < 3.5, "{}", two["bits"]);
    let html = String::from_utf8(bytes(setting.path("two/report.html"))).unwrap();
    assert_eq!(html.matches("<svg").count(), 5);
    assert!(!html.contains("http"), "the page needs other files");
    let (head, rest) = html.split_once("The worst layers").unwrap();
    let (worst, rest) = rest.split_once("</table>").unwrap();
    let mut layers: Vec<&Value> = two["layers"].as_array().unwrap().iter().collect();
    layers.sort_by(|a, b| {
        b["relX_held_out"].as_f64().unwrap().total_cmp(&a["relX_held_out"].as_f64().unwrap())
    });
    let named = |layer: &&Value| format!("<tr><td>{}</td>", layer["weights"].as_str().unwrap());
    let at: Vec<usize> = layers[..10].iter().map(|layer| worst.find(&named(layer)).unwrap()).collect();
    assert!(at.is_sorted() && !head.contains("<tr>") && !worst.contains(&named(&layers[10])), "{at:?}");
    let (_, all) = rest.split_once("<table class='sortable'>").unwrap();
    assert!(layers.iter().all(|layer| all.contains(&named(layer))) && all.contains("aria-sort"));
}

#[test]
fn the_default_is_the_smallest_that_says_all() {
    let setting = Setting::new();
    let exact = ["--method", "exact", "--planes", "2"];
    let written = |out: &str, extra: &[&str]| {
        let report = setting.report(out, &[&exact[..], extra].concat());
        (report["format"].as_str().unwrap().to_string(), report["bytes"]["after"].as_f64().unwrap())
    };
    let (format, small) = written("small", &[]);
    let (_, named) = written("named", &["--format", "nbits"]);
    let (_, large) = written("large", &["--format", "onnx"]);
    assert_eq!((format.as_str(), small), ("nbits", named));
    assert!(small < 0.3 * large, "{small} of {large} bytes");
    // What a scale serves, or what the layers sum, is nothing that ONNX can say.
    assert_eq!(written("groups", &["--group", "50"]).0, "ir");
    assert_eq!(written("integers", &["--activations", "i8"]).0, "ir");
    let (model, out) = (setting.path("model.onnx"), setting.path("told"));
    let told = succeed(&[&["ternarize", &model, "-o", &out], &exact[..]].concat());
    assert!(told.contains("written as ONNX with 2-bit MatMulNBits (nbits): files of "), "{told}");
}

#[test]
fn a_report_says_how_to_make_the_same_again() {
    let setting = Setting::new();
    let report = setting.report("out", &["--method", "gptq{group=32}", "--seed", "3"]);
    let run = &report["run"];
    assert_eq!(run["arguments"][0], "ternarize");
    assert_eq!(run["versions"]["trine"], env!("CARGO_PKG_VERSION"));
    assert_eq!(run["calibration"]["path"], setting.path("text.txt"));
    assert_eq!(run["calibration"]["bytes"], TEXT.len());
    let hash = run["calibration"]["xxh3_128"].as_str().unwrap();
    assert!(hash.len() == 32 && hash != run["tokenizer"]["xxh3_128"].as_str().unwrap(), "{run}");
    let files = run["model_files"].as_array().unwrap();
    let bytes: u64 = files.iter().map(|file| file["bytes"].as_u64().unwrap()).sum();
    assert_eq!(report["bytes"]["before"], bytes);
    let options = &run["options"];
    assert_eq!(
        (&options["seed"], &options["threads"], &options["context"]),
        (&3.into(), &2.into(), &64.into())
    );
    assert_eq!((&options["recipe"], &options["format"]), (&report["recipe"], &"nbits".into()));
    let on_disk: Value = serde_json::from_slice(&self::bytes(setting.path("out/report.json"))).unwrap();
    assert_eq!(on_disk, report);
}

#[test]
fn phases_are_named_where_nobody_watches() {
    let setting = Setting::new();
    let [_, said] = printed(setting.run("out", &["--method", "gptq"]));
    let phases = [
        "reading ",
        "finding linear layers",
        "reading ",
        "measuring the model as it was",
        "calibrating",
        "measuring the model as it is now",
        "rounding by the weights alone, to compare",
        "measuring that",
        "writing ",
    ];
    let mut lines = said.lines();
    for phase in phases {
        assert!(lines.any(|line| line.starts_with(phase)), "`{phase}` in {said}");
    }
}

#[test]
fn rows_of_unit_length_change_no_loss() {
    let setting = Setting::new();
    let method = ["--method", "exact", "--planes", "2"];
    let plain = setting.report("plain", &method);
    let unit = setting.report("unit", &[&method[..], &["--normalize-rows"]].concat());
    assert_eq!(unit["recipe"], "exact{planes=2,normalize_rows=true}");
    let (plain, unit) = (loss(&plain, "after"), loss(&unit, "after"));
    assert!((plain - unit).abs() < 1e-6, "{plain} {unit}");
    let error = failed(2, setting.run("absmean", &["--method", "absmean", "--normalize-rows"]));
    assert!(
        error.contains("rows cannot be normalized before `absmean`: it gives all rows one scale"),
        "{error}"
    );
}

#[test]
fn what_is_written_is_found_ternary_again_compiles_and_keeps_its_loss() {
    let setting = Setting::new();
    let interpreted = |path: String| trine::compile(path, &Options::default()).unwrap().step_counts().1;
    let before = interpreted(setting.path("model.onnx"));
    let mut losses = vec![];
    for (format, file, layers) in
        [("onnx", "model.onnx", 56), ("nbits", "model.onnx", 56), ("ir", "model.ir", 0)]
    {
        let report = setting.report(format, &["--format", format]);
        let tokenizer = bytes(setting.path(&format!("{format}/tokenizer.json")));
        assert!(tokenizer == bytes(setting.path("tokenizer.json")));
        let written = std::fs::read_dir(setting.path(format)).unwrap().map(|entry| entry.unwrap());
        let written = written.filter(|e| e.file_name().to_string_lossy().starts_with("model."));
        let written: u64 = written.map(|e| e.metadata().unwrap().len()).sum();
        assert_eq!(report["bytes"]["after"], written);
        assert_eq!(report["run"]["arguments"][0], "ternarize");
        let folder: Vec<_> = std::fs::read_dir(setting.path(format)).unwrap().flatten().collect();
        assert!(folder.iter().all(|f| f.file_name() != "partial"), "{folder:?}");
        let path = setting.path(&format!("{format}/{file}"));
        let found = json(&["inspect", &path]);
        assert_eq!(found["ternary"].as_array().unwrap().len(), layers, "{format}");
        assert_eq!(interpreted(path.clone()), before, "{format}");
        let tokenizer = setting.path("tokenizer.json");
        let text = setting.path("text.txt");
        let measured =
            json(&["perplexity", &path, "--tokenizer", &tokenizer, "--text", &text, "--tokens", "500"]);
        losses.push((measured["loss"].as_f64().unwrap(), loss(&report, "after")));
    }
    for (measured, reported) in &losses {
        assert!((measured - losses[0].0).abs() < 1e-4 && (reported - losses[0].1).abs() < 1e-6, "{losses:?}");
    }
}

#[test]
fn rotated_models_are_judged_by_what_they_were_and_written_as_ir() {
    let setting = Setting::new();
    let plain = setting.report("plain", &["--format", "ir"]);
    let rotated = setting.report("rotated", &["--rotate", "--seed", "0"]);
    assert_eq!(plain["rotated"], Value::Null);
    // The table of the embedding is the head no more.
    assert_eq!(rotated["rotated"], serde_json::json!({ "seed": 0, "more_bytes": 4 * 512 * 128 }));
    assert_eq!(loss(&rotated, "before"), loss(&plain, "before"));
    assert!(loss(&rotated, "after") < loss(&rotated, "before") + 0.2, "{rotated}");
    let ops = |out: &str| {
        let text = std::fs::read_to_string(setting.path(&format!("{out}/model.ir"))).unwrap();
        text.lines().filter(|line| line.contains(" = ")).count()
    };
    assert_eq!(ops("rotated"), ops("plain"));
    assert!(!Path::new(&setting.path("rotated/model.onnx")).exists());
}

#[test]
fn a_run_that_was_cut_short_goes_on_to_the_same_bits() {
    let setting = Setting::new();
    let extra = ["--planes", "1", "--method", "gptq", "--seed", "5"];
    setting.report("whole", &extra);
    let refused = failed(1, setting.run("cut", &[&extra[..], &["--max-loss", "0"]].concat()));
    assert!(refused.contains("the held-out loss rises by"), "{refused}");
    let partial = PathBuf::from(setting.path("cut/partial"));
    assert!(!Path::new(&setting.path("cut/model.onnx")).exists() && partial.is_dir());
    // The last ones were not reached.
    for i in 20..28 {
        std::fs::remove_file(partial.join(format!("{i:04}.npz"))).unwrap();
    }
    let other = failed(1, setting.run("cut", &["--planes", "1", "--method", "gptq", "--seed", "6"]));
    assert!(other.contains("holds another run"), "{other}");
    setting.report("cut", &extra);
    for file in ["model.onnx", "model.onnx.data"] {
        assert!(
            bytes(setting.path(&format!("whole/{file}"))) == bytes(setting.path(&format!("cut/{file}"))),
            "{file}"
        );
    }
}

#[test]
fn budgets_choose_depths() {
    let setting = Setting::new();
    let mut last = f64::INFINITY;
    for budget in ["1.6", "2.5", "4"] {
        let report = setting.report(budget, &["--bits", budget, "--method", "gptq"]);
        assert!(
            report["bits"].as_f64().unwrap() <= budget.parse::<f64>().unwrap() + 0.01,
            "{}",
            report["bits"]
        );
        let now = loss(&report, "after");
        assert!(now < last, "{budget} bits: {now} after {last}");
        last = now;
    }
    let refused = failed(2, setting.run("none", &["--bits", "0.5"]));
    assert!(refused.contains("0.5 bits a weight cannot be had"), "{refused}");
}

#[test]
fn classifiers_are_fitted_to_arrays_and_judged_by_labels() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut model = import::read(models().join("digits/mlp.onnx")).unwrap();
    let tensors = &mut model.graph.as_mut().unwrap().initializer;
    for name in ["fc0_weight", "fc1_weight"] {
        // No two columns alike, and what they were within a fifth.
        rescale(tensors, name, |i, width| 1.0 + 0.2 * ((i % width) as f32 * 0.7).sin());
    }
    std::fs::write(path("mlp.onnx"), model.encode_to_vec()).unwrap();
    let mut data = Npz::open(models().join("digits/data.npz")).unwrap();
    let mut array = |name: &str| data.get(name).unwrap().unwrap();
    let arrays = [("x", &array("mlp.x")), ("y", &array("labels"))];
    write_npz(path("d.npz"), arrays).unwrap();
    let report = json(&["ternarize", &path("mlp.onnx"), "--calib", &path("d.npz"), "-o", &path("out")]);
    assert_eq!(report["layers"].as_array().unwrap().len(), 2);
    assert_eq!(report["kept"][0]["weights"], "fc2_weight");
    let accuracy = |report: &Value| report["accuracy"].as_f64().unwrap();
    assert!(accuracy(&report["after"]) >= accuracy(&report["before"]) - 0.02, "{report}");
    let written = json(&["accuracy", &path("out/model.onnx"), "--data", &path("d.npz")]);
    assert!(accuracy(&written) > 0.95);
}

#[test]
fn mistakes_are_told_and_leave_nothing() {
    let setting = Setting::new();
    let (model, out) = (setting.path("model.onnx"), setting.path("out"));
    let text = fail(2, &["ternarize", &model, "-o", &out]);
    assert!(text.contains("needs data to fit to") && text.contains("--method exact"), "{text}");
    let text = fail(2, &["ternarize", &model, "-o", &out, "--method", "gtpq"]);
    assert!(text.contains("no method `gtpq`"), "{text}");
    let text = fail(2, &["ternarize", &model, "-o", &out, "--method", "exact+twn"]);
    assert!(text.contains("cannot be with"), "{text}");
    let text = failed(2, setting.run("out", &["--keep", "nothing*"]));
    assert!(text.contains("`nothing*` is the name of no layer's weights"), "{text}");
    let text = failed(2, setting.run("out", &["--group", "50", "--format", "nbits"]));
    assert!(text.contains("groups of 50 weights"), "{text}");
    let text = failed(2, setting.run("out", &["--rotate", "--format", "onnx"]));
    assert!(text.contains("rotated cannot be written as ONNX"), "{text}");
    let text = failed(1, setting.run("few", &["--tokens", "64", "--context", "32"]));
    assert!(text.contains("calibration rows are too few for 288 inputs"), "{text}");
    let text = failed(1, setting.run("out", &["--context", "9999"]));
    assert!(text.contains("tokens are too few"), "{text}");
    let text = failed(1, setting.run("out", &["--max-memory", "1"]));
    assert!(text.contains("1 MB are allowed"), "{text}");
    let text = failed(1, setting.run("error", &["--max-error", "1e-9"]));
    assert!(text.contains("on held-out data, more than the 0.000000001 allowed"), "{text}");
    assert!(!Path::new(&setting.path("error/model.onnx")).exists());

    let arrays = setting.path("arrays.npz");
    let mlp = models().join("digits/mlp.onnx").display().to_string();
    let with = |name: &str, tensor: Tensor| {
        write_npz(&arrays, [(name, &tensor)]).unwrap();
        fail(1, &["ternarize", &mlp, "--calib", &arrays, "-o", &out])
    };
    let images =
        |n: usize, width: usize, v: f32| Tensor::from_vec(vec![n, width], vec![v; n * width]).unwrap();
    assert!(with("z", images(64, 64, 0.5)).contains("has no array for input `x`: f32[batch,64]"));
    assert!(with("x", images(64, 65, 0.5)).contains("axis 1 has 65 elements"));
    assert!(with("x", images(64, 64, f32::NAN)).contains("array `x` holds a value that is not finite"));
    assert!(with("x", images(1, 64, 0.5)).contains("1 examples are too few"));
    assert!(with("x", images(0, 64, 0.5)).contains("0 examples are too few"));
    assert!(with("x", Tensor::vector(vec![1f32; 64])).contains("f32[batch,64]"));
    assert!(with("x", images(64, 64, 0.5)).contains("no linear layer is left to round"));
    let unrotated = setting.path("unrotated");
    let text = fail(1, &["ternarize", &mlp, "--method", "exact", "--rotate", "-o", &unrotated]);
    assert!(text.contains("no residual stream") && !Path::new(&unrotated).exists(), "{text}");
    let listed = succeed(&["ternarize", "--list"]);
    assert!(listed.contains("gptq") && listed.contains("arXiv") && listed.contains("training"), "{listed}");
}
