//! Code for another machine than this: `.trine` files and objects for aarch64 give the bits that this machine's JIT gives,
//! emulated on a processor with dot products and on one that lacks them; and what is made for a named CPU is the same
//! wherever it is made.
#![cfg(not(target_arch = "aarch64"))]

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use trine::codegen::Target;
use trine::codegen::image::artefact;
use trine::codegen::image::object::Weights;
use trine::{Compiler, Module, Options, Program, Session, SessionOptions};
use trine_ir::{DimEnv, Elem, Tensor};

use crate::graphs::data::{Draw, tensor};
use crate::{aarch64, c, outside};

/// What code is made for, and a processor that has no more.
const MACHINES: [(&str, &str); 2] = [("aarch64+dotprod", "cortex-a76"), ("aarch64", "cortex-a53")];

fn optimized(name: &str) -> Module {
    let mut module = trine::load(outside::root().join("tests/models").join(name)).unwrap();
    trine::optimize(&mut module, &Options::default()).unwrap();
    module
}

fn compiler(cpu: &str) -> Compiler<'static> {
    Compiler::for_target(Target::named(cpu).unwrap(), Options::default()).unwrap()
}

/// A model with inputs, and what this machine makes of them.
struct Case {
    program: Arc<Program>,
    sizes: DimEnv,
    inputs: Vec<Tensor>,
    want: Vec<Tensor>,
}

impl Case {
    fn of(module: &Module) -> Case {
        let program = Arc::new(compiler("native").program(module.clone()).unwrap());
        let mut sizes = DimEnv::default();
        for symbol in &program.symbols[..program.plain_symbols()] {
            sizes.set(symbol.clone(), if **symbol == *"batch" { 1 } else { 5 });
        }
        let made_up = |(seed, port): (u64, &trine_runtime::Port)| {
            let draw = if port.ty.elem == Elem::I64 { Draw::Whole(0, 3) } else { Draw::Reals };
            tensor(port.ty.elem, &port.ty.eval_dims(&sizes).unwrap(), draw, seed)
        };
        let inputs: Vec<Tensor> = (1..).zip(&program.inputs).map(made_up).collect();
        let want = Session::new(program.clone(), &SessionOptions::default()).run(&inputs).unwrap();
        Case { program, sizes, inputs, want }
    }

    /// Sizes of the model that are open.
    fn open(&self) -> impl Iterator<Item = (&str, usize)> {
        let symbols = &self.program.symbols[..self.program.plain_symbols()];
        symbols.iter().map(|symbol| (&**symbol, self.sizes.get(symbol).unwrap()))
    }

    /// The inputs as files of a folder.
    fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let file = |(i, input): (usize, &Tensor)| {
            let path = folder.join(format!("in{i}"));
            fs::write(&path, input.bytes()).unwrap();
            path
        };
        self.inputs.iter().enumerate().map(file).collect()
    }
}

#[test]
fn files_for_aarch64_give_this_machines_bits() {
    if !outside::asked("compiled models for aarch64, emulated") {
        return;
    }
    let mut cargo = aarch64::cargo("build", MACHINES[0].1);
    outside::success(cargo.args(["--package", "trine-runtime", "--example", "load"]));
    let load = aarch64::built("debug/examples/load");
    for name in [
        "digits/mlp.onnx",
        "digits/cnn.onnx",
        "digits/rows_lstm.onnx",
        "digits/rows_gru.onnx",
        "lm/f32.onnx",
        "lm/nbits.onnx",
        "lm/qdq.onnx",
        "lm_float/f32.onnx",
    ] {
        let module = optimized(name);
        let case = Case::of(&module);
        let variants = MACHINES.map(|(cpu, _)| compiler(cpu).variant(module.clone(), cpu).unwrap());
        let mut file = Cursor::new(vec![]);
        artefact::write(&variants, &mut file).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.trine");
        fs::write(&path, file.into_inner()).unwrap();
        for (_, processor) in MACHINES {
            let mut program = aarch64::emulated(&load, processor);
            program.arg(&path).args(case.open().map(|(symbol, n)| format!("{symbol}={n}")));
            let got = outside::success(program.args(case.files(folder.path()))).stdout;
            let want: Vec<u8> = case.want.iter().flat_map(|t| t.bytes().to_vec()).collect();
            assert!(got == want, "{name} on {processor} differs");
        }
    }
}

#[test]
fn objects_for_aarch64_give_this_machines_bits() {
    if !outside::asked("objects for aarch64, emulated") {
        return;
    }
    for name in ["digits/mlp.onnx", "lm/f32.onnx", "lm/nbits.onnx", "lm/qdq.onnx", "lm_float/f32.onnx"] {
        let module = optimized(name);
        let case = Case::of(&module);
        for (cpu, processor) in MACHINES {
            let object = compiler(cpu).object(module.clone(), "model", Weights::Embed).unwrap();
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("model.o"), object.bytes).unwrap();
            fs::write(folder.path().join("model.h"), object.header).unwrap();
            let program = folder.path().join("main");
            c::link_with(aarch64::COMPILER, &["-static"], folder.path(), &program);
            let mut run: Command = aarch64::emulated(&program, processor);
            run.args(case.open().map(|(_, n)| n.to_string())).args(case.files(folder.path()));
            let outputs: Vec<PathBuf> =
                (0..case.want.len()).map(|i| folder.path().join(format!("out{i}"))).collect();
            for (path, want) in outputs.iter().zip(&case.want) {
                run.arg(path).arg(want.bytes().len().to_string());
            }
            outside::success(&mut run);
            for (i, (path, want)) in outputs.iter().zip(&case.want).enumerate() {
                assert!(fs::read(path).unwrap() == *want.bytes(), "output {i} of {name} on {processor}");
            }
        }
    }
}
