//! Object files: a C program linked with one gives the bits that the JIT gives.

use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;

use trine::codegen::Target;
use trine::codegen::choice::Choices;
use trine::codegen::image::microkernels;
use trine::codegen::image::object::{Weights, object};
use trine::codegen::image::program::build;
use trine::codegen::plan::form::form;
use trine::codegen::{Kernels, ObjectError};
use trine::pass::{Driver, Pipeline};
use trine_ir::{Elem, Module, Tensor, text, verify};
use trine_runtime::{Session, SessionOptions};

use crate::{c, outside, skips};

const MLP: &str = "\
stage lowered
const @w1: trit[48,64]
const @scale1: f32[48,1]
const @w2: trit[10,48]
const @scale2: f32[10,1]
const @bias: f32[10]
graph @main(%x: f32[batch,64]) -> (%y: f32[batch,10], %copy: f32[batch,64], %z: f32[batch,10]) {
  %q, %s = quantize_rows %x : i8[batch,64], f32[batch,1]
  %p = sign_select %q, @w1 : i8[batch,48,64]
  %t = group_sum %p {group=64} : i32[batch,48,1]
  %o = rescale %t, @scale1, %s : f32[batch,48]
  %h = relu %o : f32[batch,48]
  %p2 = sign_select %h, @w2 : f32[batch,10,48]
  %t2 = group_sum %p2 {group=48} : f32[batch,10,1]
  %y = rescale %t2, @scale2, _, @bias : f32[batch,10]
  %copy = identity %x : f32[batch,64]
  %z = identity %y : f32[batch,10]
}
";

#[test]
fn a_c_program_gives_the_jits_bits() {
    if !outside::asked("a C program gives the JIT's bits") {
        return;
    }
    for cpu in [None, Some("x86-64-v3")] {
        if cpu.is_some() && !is_x86_64_v3() {
            skips::skip("C programs for x86-64-v3", "this machine is older");
            continue;
        }
        let program = link(&parse(MLP), cpu);
        for batch in [1, 5, 0] {
            program.compare(&[batch], &[uniform(&[batch, 64], 7)]);
        }
    }
}

#[test]
fn the_committed_mlp_gives_the_jits_bits() {
    if !outside::asked("a C program of the committed MLP gives the JIT's bits") {
        return;
    }
    let path = outside::root().join("tests/models/digits/mlp.onnx");
    let mut module = trine::import::import(&path).unwrap();
    Driver::new().run(&Pipeline::level(2).unwrap(), &mut module).unwrap();
    let program = link(&module, None);
    for batch in [1, 3] {
        program.compare(&[batch], &[uniform(&[batch, 64], 3)]);
    }
}

/// A C compiler takes the header whatever the model's author called things, and sees no more code in it.
#[test]
fn names_cannot_inject() {
    if !outside::asked("names in models cannot inject C") {
        return;
    }
    let evil = r#"*/\nint evil = 1; /*\n#error \"??/\\"#;
    let text = MLP.replace("%x", &format!("%\"{evil}\"")).replace("%y", &format!("%\"y{evil}\""));
    let program = link(&parse(&text), None);
    program.compare(&[2], &[uniform(&[2, 64], 7)]);
    let header = fs::read_to_string(program.path("model.h")).unwrap();
    // Strings hold no quote of their own.
    let code: String = header.split('"').step_by(2).collect();
    assert!(header.contains("evil") && !code.contains("evil"), "{header}");
}

#[test]
fn dimensions_that_cannot_be_are_a_status() {
    if !outside::asked("dimensions that cannot be are a status in C") {
        return;
    }
    let program = link(&parse(MLP), None);
    for dim in ["-1", "9223372036854775807", "-9223372036854775808"] {
        let output = program.run(&[dim.into(), "x".into()], 3);
        assert_eq!(output.status.code(), Some(5), "{dim}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "arena -1\n");
    }
}

#[test]
fn what_an_object_cannot_hold_is_refused_by_name() {
    let refused = |source: &str, name: &str| {
        let target = target(None);
        let mut module = parse(source);
        form(&mut module, &target);
        object(&planned(&module, &target), name, Weights::Embed).unwrap_err()
    };
    let error = refused(MLP, "2nd");
    assert!(matches!(error, ObjectError::Name { .. }), "{error}");
    assert_eq!(error.to_string(), "`2nd` is not a C identifier");
    let data_dependent = "\
graph @main(%x: f32[4]) -> (%i: i64[1,count]) {
  %i = nonzero %x {count=count} : i64[1,count]
}
";
    let error = refused(data_dependent, "model");
    assert!(matches!(&error, ObjectError::Interpreted { steps } if steps.len() == 1), "{error}");
    assert!(error.to_string().contains("`%i`"), "{error}");
}

/// A linked C program and the JIT's session of the same module.
struct Linked {
    folder: tempfile::TempDir,
    module: Module,
}

impl Linked {
    fn run(&self, args: &[String], outputs: usize) -> Output {
        let outputs = (0..outputs).flat_map(|i| [self.path(&format!("out{i}")), "0".into()]);
        let args = args.iter().cloned().chain(outputs);
        Command::new(self.folder.path().join("main")).args(args).output().unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn compare(&self, dims: &[usize], inputs: &[Tensor]) {
        let target = Target::host().unwrap();
        let program = Arc::new(build(self.module.clone(), &target).unwrap());
        let mut session = Session::new(program, &SessionOptions::default());
        let want = session.run(inputs).unwrap();
        let mut command = Command::new(self.folder.path().join("main"));
        command.args(dims.iter().map(usize::to_string));
        for (i, input) in inputs.iter().enumerate() {
            fs::write(self.path(&format!("in{i}")), input.bytes()).unwrap();
            command.arg(self.path(&format!("in{i}")));
        }
        for (i, output) in want.iter().enumerate() {
            command.arg(self.path(&format!("out{i}"))).arg(output.bytes().len().to_string());
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        for (i, output) in want.iter().enumerate() {
            let got = fs::read(self.path(&format!("out{i}"))).unwrap();
            assert!(got == *output.bytes(), "output {i} of {dims:?} differs");
        }
    }
}

/// Compiles to an object, and links it.
fn link(module: &Module, cpu: Option<&str>) -> Linked {
    let folder = tempfile::tempdir().unwrap();
    let target = target(cpu);
    let mut formed = module.clone();
    form(&mut formed, &target);
    let object = object(&planned(&formed, &target), "model", Weights::Embed).unwrap();
    fs::write(folder.path().join("model.o"), object.bytes).unwrap();
    fs::write(folder.path().join("model.h"), object.header).unwrap();
    c::link(folder.path(), &folder.path().join("main"));
    let mut module = module.clone();
    form(&mut module, &Target::host().unwrap());
    Linked { folder, module }
}

/// A function that a closure or an iterator calls has not the instructions of its caller unless it is inlined, and is then a
/// call for each intrinsic: right, and many times slower.
#[test]
#[cfg(target_arch = "x86_64")]
fn microkernels_call_no_intrinsics() {
    const MODULE: &[u8] = b"core_arch3x86";
    let bytes = microkernels::of("x86_64").unwrap();
    let symbols = bytes.windows(MODULE.len()).enumerate().filter(|(_, window)| *window == MODULE);
    let rest = symbols.map(|(at, _)| String::from_utf8_lossy(&bytes[at + MODULE.len()..][..40]).into_owned());
    // The libraries beneath have some of what every machine has.
    let is_of_a_variant = |name: &String| {
        let feature = name.trim_start_matches(|c: char| c.is_ascii_digit());
        ["avx", "fma", "f16c"].iter().any(|family| feature.starts_with(family))
    };
    let called: Vec<String> = rest.filter(is_of_a_variant).collect();
    assert!(called.is_empty(), "intrinsics that are called, by the ends of their names: {called:?}");
}

fn planned<'m>(module: &'m Module, target: &'m Target) -> Kernels<'m> {
    Kernels::plan(module, &Choices::new(target, module)).unwrap()
}

fn target(cpu: Option<&str>) -> Target {
    Target::object(&Target::host().unwrap().isa.triple().to_string(), cpu).unwrap()
}

#[cfg(target_arch = "x86_64")]
fn is_x86_64_v3() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}

#[cfg(not(target_arch = "x86_64"))]
fn is_x86_64_v3() -> bool {
    false
}

fn parse(source: &str) -> Module {
    let module = text::parse_with(source, &|name, ty| {
        let dims = ty.static_dims()?;
        let seed = name.bytes().fold(1, |h: u64, b| h.wrapping_mul(31) + u64::from(b));
        match ty.elem {
            Elem::F32 => Some(uniform(&dims, seed)),
            elem => {
                let count = dims.iter().product();
                let trits: Vec<u8> = random(seed).take(count).map(|r| (r % 3) as u8).collect();
                let signed: Vec<u8> = trits.iter().map(|t| t.wrapping_sub(1)).collect();
                Tensor::pack(elem, dims, &signed).ok()
            }
        }
    })
    .unwrap();
    verify(&module).unwrap();
    module
}

fn uniform(dims: &[usize], seed: u64) -> Tensor {
    let count = dims.iter().product();
    let values = random(seed).take(count).map(|r| (r % 4001) as f32 / 1000.0 - 2.0).collect();
    Tensor::from_vec::<f32>(dims.to_vec(), values).unwrap()
}

/// Xorshift.
fn random(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 33
    })
}
