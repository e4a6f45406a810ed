//! Objects of the committed models: which there are, shared libraries, and several models in one program.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use trine::codegen::image::object::{Object, Weights};
use trine::codegen::{ObjectError, Target};
use trine::{Compiler, Module, Options, Session, SessionOptions};
use trine_ir::{DimEnv, Elem, Tensor};

use crate::graphs::data::{Draw, tensor};
use crate::outside;

/// What every machine of the tests has, and few of its numbers are summed by scalar code.
const CPU: &str = if cfg!(target_arch = "x86_64") { "x86-64-v3" } else { "baseline" };

fn optimized(name: &str) -> Module {
    let mut module =
        trine::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name)).unwrap();
    trine::optimize(&mut module, &Options::default()).unwrap();
    module
}

fn compiler() -> Compiler<'static> {
    Compiler::for_target(Target::named(CPU).unwrap(), Options::default()).unwrap()
}

fn object(name: &str, prefix: &str, weights: Weights) -> Result<Object, ObjectError> {
    compiler().object(optimized(name), prefix, weights)
}

#[test]
fn every_model_whose_steps_are_kernels_is_an_object() {
    for name in ["digits/mlp.onnx", "lm/f32.onnx", "lm/nbits.onnx", "lm/qdq.onnx", "lm_float/f32.onnx"] {
        let object = object(name, "model", Weights::Embed).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(object.weights.is_none() && object.bytes.len() > 1000);
    }
    for (name, op) in
        [("digits/cnn.onnx", "conv"), ("digits/rows_lstm.onnx", "lstm"), ("digits/rows_gru.onnx", "gru")]
    {
        let message = object(name, "model", Weights::Embed).unwrap_err().to_string();
        assert!(message.lines().skip(1).all(|line| line.contains(&format!("(`{op}`)"))), "{message}");
    }
}

#[test]
fn a_language_model_is_a_library_and_weights() {
    if !outside::asked("a language model as a shared library, loaded by Python") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let object = object("lm/f32.onnx", "lm", Weights::File).unwrap();
    fs::write(path("lm.o"), &object.bytes).unwrap();
    fs::write(path("lm.weights"), object.weights.as_ref().unwrap()).unwrap();
    let link = ["-shared", "-nostdlib", "-Wl,-z,text", "-o", &path("lm.so"), &path("lm.o")];
    outside::success(outside::program("cc").args(link));
    let dynamic = outside::success(outside::program("readelf").args(["-d", &path("lm.so")])).stdout;
    assert!(!String::from_utf8(dynamic).unwrap().contains("NEEDED"));

    let program = Arc::new(compiler().program(optimized("lm/f32.onnx")).unwrap());
    let mut env = DimEnv::default();
    for symbol in &program.symbols[..program.plain_symbols()] {
        env.set(symbol.clone(), if **symbol == *"batch" { 1 } else { 5 });
    }
    let inputs: Vec<Tensor> = (1..)
        .zip(&program.inputs)
        .map(|(seed, port)| {
            let draw = if port.ty.elem == Elem::I64 { Draw::Whole(0, 3) } else { Draw::Reals };
            tensor(port.ty.elem, &port.ty.eval_dims(&env).unwrap(), draw, seed)
        })
        .collect();
    let want = Session::new(program.clone(), &SessionOptions::default()).run(&inputs).unwrap();
    let files =
        |kind: &str, count: usize| (0..count).map(|i| path(&format!("{kind}{i}"))).collect::<Vec<_>>();
    let (given, made) = (files("in", inputs.len()), files("out", want.len()));
    for (path, input) in given.iter().zip(&inputs) {
        fs::write(path, input.bytes()).unwrap();
    }
    let dims: Vec<_> =
        program.symbols[..program.plain_symbols()].iter().map(|s| env.get(s).unwrap().to_string()).collect();
    outside::success(
        outside::python()
            .args(["tests/aot/load.py", "lm", &path("lm.so"), &path("lm.weights"), &dims.join(",")])
            .args([given.join(","), made.join(",")]),
    );
    for (i, (path, want)) in made.iter().zip(&want).enumerate() {
        assert!(fs::read(path).unwrap() == *want.bytes(), "output {i} differs");
    }
}

#[test]
fn two_models_are_in_one_program() {
    if !outside::asked("two models in one C program") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, prefix) in [("digits/mlp.onnx", "mlp"), ("lm/f32.onnx", "lm")] {
        let object = object(name, prefix, Weights::Embed).unwrap();
        fs::write(path(&format!("{prefix}.o")), object.bytes).unwrap();
        fs::write(path(&format!("{prefix}.h")), object.header).unwrap();
    }
    let source = "\
#include <string.h>
#include \"lm.h\"
#include \"mlp.h\"
int main(void) {
    int64_t dims[MLP_DIMS] = {3}, bad[LM_DIMS] = {-1};
    if (strcmp(MLP_INPUT_0, \"x\") || strcmp(lm_status_text(LM_STATUS_DIMS), mlp_status_text(MLP_STATUS_DIMS))) return 1;
    if (lm_check_cpu() || mlp_check_cpu()) return 2;
    if (mlp_input_bytes(0, dims) != 3 * 64 * 4 || mlp_input_bytes(1, dims) != MLP_STATUS_DIMS) return 3;
    return lm_arena_size(bad) == LM_STATUS_DIMS && mlp_arena_size(dims) >= 0 ? 0 : 4;
}
";
    fs::write(path("main.c"), source).unwrap();
    for (compiler, language) in [("cc", "-std=c99"), ("c++", "-std=c++17")] {
        let source = if compiler == "cc" {
            vec![path("main.c")]
        } else {
            vec!["-xc++".into(), path("main.c"), "-xnone".into()]
        };
        let mut cc = outside::program(compiler);
        cc.args([language, "-Wall", "-Wextra", "-Werror", "-o", &path("main")]).args(source);
        outside::success(cc.args([path("lm.o"), path("mlp.o")]));
        assert_eq!(outside::success(&mut outside::program(path("main"))).status.code(), Some(0));
    }
}
