//! The graphs that exporters write of ternary models, of `tests/models/spellings`: what each becomes, and that it answers as
//! the interpreter does.

use std::path::PathBuf;
use std::sync::Arc;

use trine::{Backend, Options, Session, SessionOptions};
use trine_ir::ops::TernaryMatmul;
use trine_ir::{Elem, Kind, Module, Op, Tensor};
use trine_runtime::{Program, Step, StepKind};

use crate::numbers::distance;

/// What must be found in a model.
struct Found {
    name: &'static str,
    ternary: usize,
    int8: usize,
    attention: usize,
    rotary: usize,
    norms: usize,
}

const LAYERS: [Found; 4] = [
    Found { name: "autobitlinear", ternary: 1, int8: 1, attention: 0, rotary: 0, norms: 0 },
    Found { name: "bitlinear", ternary: 1, int8: 1, attention: 0, rotary: 0, norms: 0 },
    Found { name: "matmul_integer", ternary: 1, int8: 1, attention: 0, rotary: 0, norms: 0 },
    Found { name: "bitnet_masters", ternary: 3, int8: 3, attention: 0, rotary: 0, norms: 2 },
];

const DECODERS: [Found; 11] = [
    Found { name: "dynamo_llama_f32", ternary: 7, int8: 0, attention: 1, rotary: 2, norms: 3 },
    Found { name: "dynamo_llama_f16", ternary: 7, int8: 0, attention: 1, rotary: 2, norms: 3 },
    Found { name: "genai_qwen3_f16", ternary: 8, int8: 0, attention: 1, rotary: 2, norms: 5 },
    Found { name: "dynamo_llama_indexed_mask", ternary: 7, int8: 0, attention: 1, rotary: 2, norms: 3 },
    Found { name: "mobius_llama", ternary: 7, int8: 0, attention: 1, rotary: 2, norms: 3 },
    Found { name: "mobius_llama_window", ternary: 7, int8: 0, attention: 1, rotary: 2, norms: 3 },
    Found { name: "mobius_llama_grouped", ternary: 5, int8: 0, attention: 1, rotary: 2, norms: 3 },
    Found { name: "genai_llama_f32", ternary: 5, int8: 0, attention: 1, rotary: 2, norms: 3 },
    Found { name: "genai_llama_f16", ternary: 7, int8: 0, attention: 1, rotary: 2, norms: 3 },
    Found { name: "optimum_llama_f32", ternary: 7, int8: 0, attention: 1, rotary: 2, norms: 3 },
    Found { name: "optimum_llama_f16", ternary: 7, int8: 0, attention: 1, rotary: 2, norms: 3 },
];

fn model(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/models/spellings/{name}.onnx"))
}

/// The model after all passes that do not lower it.
fn recognized(name: &str, widen: bool) -> Module {
    let first = if widen { "widen," } else { "" };
    let passes = format!(
        "{first}fold-constants,simplify,recognize-norms,recognize-rotary,recognize-attention,recognize-activations,\
         widen-halves,simplify,detect-ternary,detect-integers"
    );
    let mut module = trine::load(model(name)).unwrap();
    trine::optimize(&mut module, &Options { passes: Some(passes.parse().unwrap()), ..Options::default() })
        .unwrap();
    module
}

fn check(found: &Found, widen: bool) {
    let module = recognized(found.name, widen);
    let graph = &module.main().unwrap().graph;
    let ops: Vec<&Op> = graph.order().into_iter().filter_map(|node| graph.op(node)).collect();
    let count = |wanted: &dyn Fn(&Op) -> bool| ops.iter().filter(|op| wanted(op)).count();
    let of = |kind: Kind| count(&|op| op.kind() == kind);
    let int8 = count(&|op| matches!(op, Op::TernaryMatmul(TernaryMatmul { int8: true, .. })));
    let attention = of(Kind::Attention) + of(Kind::CachedAttention);
    let got = (of(Kind::TernaryMatmul), int8, attention, of(Kind::RmsNorm));
    let want = (found.ternary, found.int8, found.attention, found.norms);
    assert_eq!(got, want, "{}: ternary layers, those of int8, attention, norms", found.name);
    assert_eq!(of(Kind::Rotary), found.rotary, "{}: rotary embeddings", found.name);
}

#[test]
fn layers_are_ternary_and_round_as_the_model_does() {
    for found in &LAYERS {
        check(found, false);
        let x: Vec<f32> = (0..4 * 64).map(|i| ((i * 37 % 101) as f32 - 50.0) / 17.0).collect();
        let x = [x, vec![0.0; 64]].concat();
        let inputs = [Tensor::from_vec(vec![5, 64], x).unwrap()];
        let (got, want) = (run(found.name, &Options::default(), &inputs), interpreted(found.name, &inputs));
        let off = distance(&floats(&got[0]), &floats(&want[0]));
        assert!(off < 1e-6, "{}: {off} off", found.name);
    }
}

#[test]
fn decoders_are_found_whole() {
    for found in &DECODERS {
        check(found, true);
        check(found, false);
    }
}

/// A prompt and a token after it: as interpreted, and without a step that is.
#[test]
fn decoders_run_compiled() {
    for found in &DECODERS {
        for widen in [false, true] {
            let options = Options { widen, ..Options::default() };
            let program = Arc::new(trine::compile(model(found.name), &options).unwrap());
            let interpreted_step = |step: &&Step| matches!(step.kind, StepKind::Interpret(_));
            let steps: Vec<_> =
                program.steps.iter().filter(interpreted_step).map(|step| &step.place).collect();
            assert!(steps.is_empty(), "{}: {steps:?} are interpreted", found.name);
            assert_eq!(program.states.len(), 2 * found.attention, "{}: caches that are held", found.name);
            let mut past: Vec<Tensor> = vec![];
            for (before, count) in [(0, 5), (5, 1)] {
                let inputs = given(&program, before, count, &past);
                let want = interpreted(found.name, &inputs);
                let got = Session::new(
                    program.clone(),
                    &SessionOptions { threads: 1, ..SessionOptions::default() },
                )
                .run(&inputs)
                .unwrap();
                for (got, want) in got.iter().zip(&want) {
                    assert_eq!(got.ty(), want.ty());
                    let off = distance(&floats(got), &floats(want));
                    let room = if found.name.ends_with("f16") { 5e-3 } else { 1e-5 };
                    assert!(off < room, "{}, widened: {widen}: {off} off", found.name);
                }
                past = want[1..].to_vec();
            }
        }
    }
}

/// Tokens `before..before + count`, and the caches of those before.
fn given(program: &Program, before: usize, count: usize, past: &[Tensor]) -> Vec<Tensor> {
    let ids = |n: usize, of: &dyn Fn(usize) -> i64| {
        Tensor::from_vec(vec![1, n], (0..n).map(of).collect::<Vec<i64>>()).unwrap()
    };
    let mut caches = 0;
    let inputs = program.inputs.iter().map(|port| match port.name.as_str() {
        "input_ids" => ids(count, &|i| ((before + i) * 7 % 40) as i64),
        "attention_mask" => ids(before + count, &|_| 1),
        "position_ids" => ids(count, &|i| (before + i) as i64),
        _ => {
            caches += 1;
            let dims: Vec<usize> = port
                .ty
                .dims
                .iter()
                .enumerate()
                .map(|(i, d)| match d.as_symbol().map(|s| &**s) {
                    Some("kv_cache_dim") => 16,
                    _ => d.as_const().unwrap_or(usize::from(i == 0)),
                })
                .collect();
            let empty = || Tensor::new(port.ty.elem, dims, Vec::new().into()).unwrap();
            past.get(caches - 1).cloned().unwrap_or_else(empty)
        }
    });
    inputs.collect()
}

fn run(name: &str, options: &Options, inputs: &[Tensor]) -> Vec<Tensor> {
    let program = Arc::new(trine::compile(model(name), options).unwrap());
    Session::new(program, &SessionOptions { threads: 1, ..SessionOptions::default() }).run(inputs).unwrap()
}

/// What the model gives as it was imported.
fn interpreted(name: &str, inputs: &[Tensor]) -> Vec<Tensor> {
    let options = Options { level: trine::Level::O0, backend: Backend::Interpret, ..Options::default() };
    run(name, &options, inputs)
}

fn floats(t: &Tensor) -> Vec<f32> {
    match t.elem() {
        Elem::F16 => t.values::<half::f16>().unwrap().iter().map(|v| v.to_f32()).collect(),
        _ => t.values::<f32>().unwrap().to_vec(),
    }
}
