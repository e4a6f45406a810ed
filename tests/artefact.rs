//! `.trine` files: they give the JIT's bits, are the same each time, and one that is not what was written is refused.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use trine::artefact::container::{FORMAT, Head};
use trine::artefact::{Artefact, ArtefactError, Kind, OpenOptions, Weights, proto};
use trine::codegen::Target;
use trine::codegen::image::artefact::write;
use trine::{Compiler, Options, Program, Session, SessionOptions};
use trine_ir::{DimEnv, Elem, Module, Tensor, text, verify};

use crate::graphs::choices::Choices;
use crate::graphs::data::{Draw, tensor};
use crate::graphs::shipped::{load, program};
use crate::numbers::distance;
use crate::sections::replaced;
use crate::{outside, skips};

/// Two branches, one of which reads a constant that is too large to stand in the text.
const BRANCHES: &str = "\
const @w: f32[300,2]
graph @scaled(%x: f32[n,300]) -> (%y: f32[n,2]) {
  %y = matmul %x, @w {trans_b=false} : f32[n,2]
}
graph @summed(%x: f32[n,300]) -> (%y: f32[n,2]) {
  %s = reduce_sum %x {axes=[1], keepdims=true} : f32[n,1]
  %y = concat %s, %s {axis=1} : f32[n,2]
}
graph @main(%c: bool[], %x: f32[n,300]) -> (%y: f32[n,2]) {
  %r = relu %x : f32[n,300]
  %y = if %c, %r, %r {then_body=@scaled, else_body=@summed, then_args=1, results=[f32[n,2]]} : f32[n,2]
}
";

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models")
}

fn optimized(path: &Path) -> Module {
    let mut module = trine::load(path).unwrap();
    trine::optimize(&mut module, &Options::default()).unwrap();
    module
}

fn file(module: &Module, cpus: &[&str]) -> Vec<u8> {
    let variant = |cpu: &&str| {
        let target = Target::named(cpu).unwrap();
        Compiler::for_target(target, Options::default()).unwrap().variant(module.clone(), cpu).unwrap()
    };
    let variants: Vec<_> = cpus.iter().map(variant).collect();
    let mut file = Cursor::new(vec![]);
    write(&variants, &mut file).unwrap();
    file.into_inner()
}

fn compiled(module: &Module, cpu: &str) -> Program {
    let target = Target::named(cpu).unwrap();
    Compiler::for_target(target, Options::default()).unwrap().program(module.clone()).unwrap()
}

/// What a program gives for made-up inputs, whose open sizes are 3.
fn run(program: Program) -> Result<Vec<Tensor>, String> {
    let mut env = DimEnv::default();
    for symbol in program.inputs.iter().flat_map(|port| &port.ty.dims).flat_map(|d| d.symbols()) {
        env.set(symbol, 3);
    }
    let inputs: Vec<_> = (1..)
        .zip(&program.inputs)
        .map(|(seed, port)| {
            let draw = if port.ty.elem.is_float() { Draw::Reals } else { Draw::Whole(0, 1) };
            tensor(port.ty.elem, &port.ty.eval_dims(&env).unwrap(), draw, seed)
        })
        .collect();
    let mut session = Session::new(Arc::new(program), &SessionOptions::default());
    session.run(&inputs).map_err(|e| e.to_string())
}

fn refused(file: Vec<u8>) -> String {
    load(file).err().expect("it is refused")
}

fn mlp() -> Vec<u8> {
    file(&optimized(&models().join("digits/mlp.onnx")), &["native"])
}

#[test]
fn committed_models_give_the_jits_bits() {
    for folder in ["digits", "lm", "spellings"] {
        let mut paths: Vec<_> =
            fs::read_dir(models().join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|e| e == "onnx"));
        paths.sort();
        assert!(!paths.is_empty());
        for path in paths {
            let module = optimized(&path);
            let want = run(compiled(&module, "native"));
            assert_eq!(run(load(file(&module, &["native"])).unwrap()), want, "{}", path.display());
        }
    }
}

#[test]
fn branches_find_their_constants() {
    let w = tensor(Elem::F32, &[300, 2], Draw::Reals, 5);
    let module = text::parse_with(BRANCHES, &|_, _| Some(w.clone())).unwrap();
    verify(&module).unwrap();
    let bytes = file(&module, &["native"]);
    let x = tensor(Elem::F32, &[2, 300], Draw::Reals, 6);
    for condition in [true, false] {
        let inputs = [Tensor::from_bools(vec![], [condition]).unwrap(), x.clone()];
        let outputs = |program: Program| {
            Session::new(Arc::new(program), &SessionOptions::default()).run(&inputs).unwrap()
        };
        assert_eq!(outputs(load(bytes.clone()).unwrap()), outputs(compiled(&module, "native")));
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let path = models().join("lm/f32.onnx");
    let cpus = if cfg!(target_arch = "x86_64") { vec!["native", "v2", "v3", "v4"] } else { vec!["native"] };
    assert!(file(&optimized(&path), &cpus) == file(&optimized(&path), &cpus));
}

#[test]
fn a_file_for_several_machines_has_shared_weights_once() {
    if !cfg!(target_arch = "x86_64") {
        skips::skip("files for x86-64 levels", "this machine is another");
        return;
    }
    let module = optimized(&models().join("lm/f32.onnx"));
    let levels = ["v2", "v3", "v4"];
    let all = file(&module, &levels);
    let sum: usize = levels.iter().map(|level| file(&module, &[level]).len()).sum();
    // Each level reads ternary weights in a layout of its own.
    assert!(all.len() < sum * 9 / 10, "{} bytes, {sum} apart", all.len());
    let (one, two) = (file(&module, &["v3"]).len(), file(&module, &["v3", "haswell"]).len());
    assert!(two < one * 5 / 4, "{two} bytes for two, {one} for one");
    let opened = Artefact::from_bytes(all.into(), &OpenOptions::default()).unwrap();
    assert_eq!(opened.targets().iter().map(|t| t.cpu.as_str()).collect::<Vec<_>>(), levels);
    let mut best = None;
    for level in levels {
        if Target::named(level).unwrap().expect_here().is_err() {
            skips::skip(&format!("a file for {level}"), "this machine is older");
            continue;
        }
        assert_eq!(run(load(file(&module, &[level])).unwrap()), run(compiled(&module, level)), "{level}");
        best = Some(level);
    }
    assert_eq!(opened.target().ok().map(|t| t.cpu.as_str()), best);
    assert_eq!(run(program(&opened).unwrap()), run(compiled(&module, best.unwrap())));
}

#[test]
fn what_was_changed_is_refused() {
    let good = mlp();
    for len in (0..good.len()).step_by(4096).chain([good.len() - 1]) {
        let message = refused(good[..len].to_vec());
        assert!(
            message.contains("bytes long") || message.contains("not a `.trine` file"),
            "{len}: {message}"
        );
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(refused(longer).contains("bytes long"));
    let mut random = Choices::of_seed(1);
    for _ in 0..2000 {
        let (byte, bit) = (random.below(good.len()), random.below(8));
        let mut changed = good.clone();
        changed[byte] ^= 1 << bit;
        assert!(load(changed).is_err(), "bit {bit} of byte {byte}");
    }
}

/// Sections whose checksums are right and which are not what others say they are.
#[test]
fn sections_that_do_not_fit_are_refused() {
    let good = mlp();
    let head = Head::read(&good).unwrap();
    let number = |kind| head.sections.iter().position(|s| s.kind == kind).unwrap();
    let bytes = |kind| {
        let section = &head.sections[number(kind)];
        &good[section.start as usize..(section.start + section.len) as usize]
    };
    for kind in [Kind::Target, Kind::Plan, Kind::Code, Kind::Weights] {
        assert!(load(replaced(&good, number(kind), &[])).is_err(), "no {kind}");
        let half = &bytes(kind)[..bytes(kind).len() / 2];
        let loaded = load(replaced(&good, number(kind), half));
        assert!(loaded.is_err(), "half of {kind}");
    }
    let with_target = |change: fn(&mut proto::Target)| {
        let mut target = proto::Target::decode(bytes(Kind::Target)).unwrap();
        change(&mut target);
        refused(replaced(&good, number(Kind::Target), &target.encode_to_vec()))
    };
    let message = with_target(|t| t.features.push("telepathy".into()));
    assert_eq!(
        message,
        "none of its targets runs here: `native` needs `telepathy`, which this machine lacks"
    );
    let message = with_target(|t| t.triple = "z80-unknown-none".into());
    assert!(message.contains("`native` is for z80, not "), "{message}");
    assert!(with_target(|t| std::mem::swap(&mut t.plan, &mut t.code)).contains("which is not of kind plan"));
    assert!(with_target(|t| t.weights.clear()).contains("lies in no section of weights"));
    assert!(with_target(|t| t.imports.insert(0, "system".into())).contains("`system`"));
    let with_plan = |change: fn(&mut proto::Plan)| {
        let mut plan = proto::Plan::decode(bytes(Kind::Plan)).unwrap();
        change(&mut plan);
        refused(replaced(&good, number(Kind::Plan), &plan.encode_to_vec()))
    };
    assert!(with_plan(|p| p.kernels[0].start = 1 << 40).contains("outside of the code"));
    assert!(with_plan(|p| p.constants[0].length = u64::MAX).contains("lies in no section of weights"));
    assert!(with_plan(|p| p.constants[0].start = 1 << 30).contains("lies in no section of weights"));
    assert!(with_plan(|p| p.slots = u32::MAX).contains("slots"));
    assert!(with_plan(|p| p.types.clear()).contains("there is no type"));
    assert!(with_plan(|p| p.steps[0].runs = None).contains("it runs nothing"));
    assert!(with_plan(|p| p.steps.reverse()).contains("before it is made"));
    assert!(with_plan(|p| p.inputs.clear()).contains("needs `batch`, which has no value"));
}

#[test]
fn a_file_of_another_format_is_refused_with_both_versions() {
    let mut other = mlp();
    other[8] = 77;
    let message = refused(other);
    assert!(message.contains("format 77") && message.contains("reads format 1"), "{message}");
}

#[test]
fn requirements_are_said_as_the_jit_says_them() {
    let source = "\
require n == m
graph @main(%x: f32[2,n], %y: f32[m,2]) -> (%z: f32[2,2]) {
  %z = matmul %x, %y {trans_b=false} : f32[2,2]
}
";
    let module = text::parse(source).unwrap();
    verify(&module).unwrap();
    let message = |program: Program| {
        let inputs = [[2, 2], [3, 2]].map(|dims| tensor(Elem::F32, &dims, Draw::Reals, 1));
        Session::new(Arc::new(program), &SessionOptions::default()).run(&inputs).unwrap_err().to_string()
    };
    let want = message(compiled(&module, "native"));
    assert!(want.contains("axis 1 of input `x`"), "{want}");
    assert_eq!(message(load(file(&module, &["native"])).unwrap()), want);
}

/// Files of formats that were released: they run, or are refused by name once there is another format.
#[test]
fn files_of_released_formats_run_or_are_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/artefacts");
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        skips::skip("files of released formats", "they are for x86-64 and Linux");
        return;
    }
    let w = tensor(Elem::F32, &[300, 2], Draw::Reals, 5);
    let branches = text::parse_with(BRANCHES, &|_, _| Some(w.clone())).unwrap();
    for (name, module) in [("mlp", optimized(&models().join("digits/mlp.onnx"))), ("branches", branches)] {
        let path = folder.join(format!("format{FORMAT}_{name}.trine"));
        if std::env::var_os("BLESS").is_some_and(|v| v == "1") && !path.exists() {
            fs::write(&path, file(&module, &["baseline"])).unwrap();
        }
        assert!(path.exists(), "BLESS=1 writes the files of a new format");
        let want = run(compiled(&module, "baseline")).unwrap();
        for format in 1..=FORMAT {
            let bytes = fs::read(folder.join(format!("format{format}_{name}.trine"))).unwrap();
            if format != FORMAT {
                assert!(refused(bytes).contains(&format!("format {format}")));
                continue;
            }
            let got = run(load(bytes).expect("what changed needs another format")).unwrap();
            for (got, want) in got.iter().zip(&want) {
                let off = distance(&got.values::<f32>().unwrap(), &want.values::<f32>().unwrap());
                assert!(off < 1e-5, "{name} is {off} off");
            }
        }
    }
}

#[test]
fn a_program_without_the_compiler_is_small() {
    if !outside::asked("a program that only loads compiled models is small") {
        return;
    }
    let cargo = || {
        let mut cargo = outside::program(env!("CARGO"));
        cargo.current_dir(outside::root());
        cargo
    };
    let tree = ["tree", "-p", "trine-runtime", "-e", "normal", "--prefix", "none", "--format", "{p}"];
    let tree = String::from_utf8(outside::success(cargo().args(tree)).stdout).unwrap();
    let of_compiler =
        |line: &&str| ["cranelift", "trine-formats", "trine-codegen"].iter().any(|c| line.starts_with(c));
    assert_eq!(tree.lines().filter(of_compiler).collect::<Vec<_>>(), [""; 0]);
    let built = outside::root().join("target/small");
    let how = ["--example", "load", "--no-default-features", "--profile", "small", "--quiet", "--target-dir"];
    outside::success(cargo().args(["build", "-p", "trine-runtime"]).args(how).arg(&built));
    let program = built.join("small/examples/load");
    let bytes = fs::metadata(&program).unwrap().len();
    assert!(bytes <= 2 << 20, "{bytes} bytes");

    let folder = tempfile::tempdir().unwrap();
    let (model, input) = (folder.path().join("mlp.trine"), folder.path().join("x"));
    fs::write(&model, mlp()).unwrap();
    let x = tensor(Elem::F32, &[3, 64], Draw::Reals, 1);
    fs::write(&input, x.bytes()).unwrap();
    let output = outside::success(outside::program(&program).arg(&model).arg("batch=3").arg(&input));
    let mut session = Session::new(Arc::new(load(mlp()).unwrap()), &SessionOptions::default());
    assert!(output.stdout == *session.run(&[x]).unwrap()[0].bytes());
}

#[test]
fn copied_weights_need_the_file_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mlp.trine");
    trine::compile_to(models().join("digits/mlp.onnx"), &path, &["native"], &Options::default()).unwrap();
    let how = OpenOptions { weights: Weights::Copy, ..OpenOptions::default() };
    let loaded = program(&Artefact::open(&path, &how).unwrap()).unwrap();
    fs::write(&path, b"nothing").unwrap();
    assert_eq!(run(loaded), run(load(mlp()).unwrap()));
}

#[test]
fn mistakes_with_files_are_named() {
    let open = |path: &Path| Artefact::open(path, &OpenOptions::default()).err().unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(open(&folder.path().join("none.trine")), ArtefactError::Read(_)));
    assert!(open(folder.path()).to_string().contains("not a regular file"));
    let onnx = models().join("digits/mlp.onnx");
    assert_eq!(open(&onnx).to_string(), "it is not a `.trine` file");
    let empty = folder.path().join("empty.trine");
    fs::write(&empty, b"").unwrap();
    assert!(!open(&empty).to_string().is_empty());
}
