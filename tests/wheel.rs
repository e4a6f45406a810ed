//! The Python package: it installs with cargo alone into an environment that has nothing, does what its README says, and
//! passes its own tests, type checkers, and ONNX's backend tests.
//!
//! The environment is made again for each run, in `target/wheel-venv`; what cargo builds for it is kept under `target/wheel`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use trine::generate::{Decoder, Sampler};
use trine::npz::{self, Npz};
use trine::{Options, Program, Session, SessionOptions, Tensor, View};

use crate::answers::{argmax, array};
use crate::outside;

/// Cases that pass by the tolerance of `tests/onnx.rs` and not by the runner's, which is 1e-7 beside a thousandth.
const STRICTER: [&str; 3] = [
    // Halves that are two units apart, for the order of sums.
    "test_attention_4d_causal_fp16_expanded",
    // What was expected is off by 2e-7 where zeros are right.
    "test_dft_inverse",
    "test_dft_inverse_opset19",
];

/// Runs that are timed.
const RUNS: usize = 20_000;

#[test]
fn the_wheel_installs_and_does_what_its_readme_says() {
    if !outside::asked("the Python wheel, and the lines of its README") {
        return;
    }
    let readme = std::fs::read_to_string(package().join("README.md")).unwrap();
    let lines = readme.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(lines.lines().count(), 5, "{lines}");
    let main = std::fs::read_to_string(outside::root().join("README.md")).unwrap();
    assert!(main.contains(lines), "the README of the tree says something else than:\n{lines}");
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(model("digits/mlp.onnx"), folder.path().join("model.onnx")).unwrap();
    let said = outside::success(installed().python().current_dir(&folder).args(["-c", lines]));
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.starts_with("(1, 10) [Became(op='ternary_matmul"), "{said}");
    assert!(folder.path().join("model.trine").exists());
}

#[test]
fn the_package_passes_its_own_tests() {
    if !outside::asked("the tests of the Python package") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let reference = folder.path().join("reference.npz");
    write_reference(&reference);
    let mut python = installed().python();
    let output = outside::success(python.env("TRINE_REFERENCE", reference).args([
        "-m",
        "unittest",
        "discover",
        "--verbose",
    ]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("\nRan ") && !said.contains("\nRan 0 "), "there are no tests:\n{said}");
    assert!(!said.contains(" ... skipped "), "all is there that they need:\n{said}");
}

#[test]
fn type_checkers_have_nothing_to_say() {
    if !outside::asked("mypy and pyright on the Python package") {
        return;
    }
    let files = ["tests/typed_use.py", "python/trine"].map(|name| package().join(name));
    let mut mypy = installed().python();
    let cache = target().join("wheel-mypy");
    outside::success(mypy.current_dir(package()).args(["-m", "mypy", "--cache-dir"]).arg(cache).args(&files));
    let mut pyright = installed().python();
    outside::success(pyright.current_dir(package()).args(["-m", "pyright"]).args(&files));
    // What is published is typed whole.
    let mut complete = installed().python();
    outside::success(complete.current_dir(target()).args([
        "-m",
        "pyright",
        "--verifytypes",
        "trine",
        "--ignoreexternal",
    ]));
}

#[test]
fn onnx_own_runner_passes_what_the_command_does() {
    if !outside::asked("ONNX's backend tests, by its own runner") {
        return;
    }
    let mut python = installed().python();
    let home = target().join("wheel-onnx");
    let output = outside::success(python.env("ONNX_HOME", home).arg("onnx_backend.py"));
    let summary = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_string();
    println!("{summary}");
    let passed: BTreeSet<&str> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    // The runner calls `light/light_squeezenet` `test_squeezenet`.
    let name = |case: &str| case.rsplit('/').next().unwrap_or(case).replace("light_", "test_");
    let known: BTreeSet<String> = include_str!("onnx/cases.txt").lines().map(name).collect();
    let manifest = include_str!("onnx/manifest.txt");
    let excused =
        |case: &&String| STRICTER.contains(&case.as_str()) || manifest.contains(&format!("/{case} jit: "));
    let expected: BTreeSet<&str> = known.iter().filter(|case| !excused(case)).map(String::as_str).collect();
    let worse: Vec<&&str> = expected.difference(&passed).collect();
    let better: Vec<&&str> = passed.difference(&expected).collect();
    assert!(worse.is_empty() && better.is_empty(), "{summary}\nworse: {worse:?}\nbetter: {better:?}");
}

#[test]
fn what_a_run_costs_from_python() {
    if !outside::asked("the time of a run from Python") {
        return;
    }
    let output = outside::success(installed().python().arg("overhead.py").arg(RUNS.to_string()));
    let python: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut session = session(&program("digits/mlp.onnx"));
    let x = Tensor::from_vec(vec![1, 64], vec![0.5f32; 64]).unwrap();
    let mut times: Vec<u128> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            session.execute(&[View::from(&x)]).unwrap();
            start.elapsed().as_nanos()
        })
        .collect();
    times.sort();
    let rust = times[RUNS / 2] as f64 / 1000.0;
    println!("a run of a tiny model: {rust:.2} us from Rust, {} us from Python", python["median"]);
    assert!(python["median"].as_f64().unwrap() > 0.0);
}

/// What the library gives, for the tests of the package to compare with.
fn write_reference(path: &Path) {
    let mut data = Npz::open(model("digits/data.npz")).unwrap();
    let x = array(&mut data, "mlp.x");
    let y = session(&program("digits/mlp.onnx")).run(std::slice::from_ref(&x)).unwrap().remove(0);
    let mut expected = Npz::open(model("lm/expected.npz")).unwrap();
    let prompt = array(&mut expected, "0.prompt");
    let ids: Vec<u32> = prompt.values::<i64>().unwrap().iter().map(|id| *id as u32).collect();
    let mut decoder = Decoder::new(program("lm/f32.onnx"), 1, 64).unwrap();
    let logits = decoder.feed(&ids).unwrap().to_vec();
    let mut go_on = |pick: &dyn Fn(&[f32], u64) -> u32| {
        decoder.reset();
        let mut tokens = vec![pick(decoder.feed(&ids).unwrap(), 0)];
        while tokens.len() < 12 {
            let last = tokens[tokens.len() - 1];
            tokens.push(pick(decoder.feed(&[last]).unwrap(), tokens.len() as u64));
        }
        row(tokens.into_iter().map(i64::from).collect())
    };
    let greedy = go_on(&|logits, _| argmax(logits));
    let sampler = Sampler { temperature: 0.9, top_p: 0.95, seed: 3 };
    let drawn = go_on(&|logits, step| sampler.pick(logits, step).unwrap());
    let (prompt, logits) = (row(prompt.values::<i64>().unwrap().to_vec()), row(logits));
    let arrays = [
        ("mlp.x", &x),
        ("mlp.y", &y),
        ("lm.prompt", &prompt),
        ("lm.logits", &logits),
        ("lm.greedy", &greedy),
        ("lm.drawn", &drawn),
    ];
    npz::write_npz(path, arrays).unwrap();
}

fn row<T: trine_ir::tensor::Element>(values: Vec<T>) -> Tensor {
    Tensor::from_vec(vec![values.len()], values).unwrap()
}

fn program(name: &str) -> Arc<Program> {
    Arc::new(trine::compile(model(name), &Options::default()).unwrap())
}

fn session(program: &Arc<Program>) -> Session {
    Session::new(program.clone(), &SessionOptions::default())
}

/// An environment that has the package, and what its tests need.
pub struct Environment(pub PathBuf);

impl Environment {
    /// Its interpreter, in the folder of the package's tests.
    pub fn python(&self) -> Command {
        let bin = self.0.join("bin");
        let mut python = outside::program(bin.join("python"));
        python.current_dir(package().join("tests")).env("PYTHONDONTWRITEBYTECODE", "1");
        // Where pyright looks for the interpreter whose packages it reads.
        let others = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(bin).chain(std::env::split_paths(&others));
        python.env("PATH", std::env::join_paths(paths).unwrap());
        python
    }

    /// Installs into it what `arguments` name, from the root of the tree.
    pub fn pip(&self, arguments: &[&str]) -> Output {
        let mut python = self.python();
        // The package is built by cargo alone, into a folder that is kept.
        python.current_dir(outside::root()).env("CARGO_TARGET_DIR", target().join("wheel"));
        python.args(["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]);
        outside::success(python.args(arguments))
    }
}

/// The environment, made when it is first asked for.
pub fn installed() -> &'static Environment {
    static MADE: OnceLock<Environment> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = target().join("wheel-venv");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        outside::success(outside::python().args(["-m", "venv"]).arg(&folder));
        let environment = Environment(folder);
        environment.pip(&["./compiler/python"]);
        environment.pip(&["--requirement", "compiler/python/tests/requirements.txt"]);
        environment
    })
}

fn package() -> PathBuf {
    outside::root().join("compiler/python")
}

fn model(name: &str) -> PathBuf {
    outside::root().join("tests/models").join(name)
}

/// Cargo's target folder.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}
