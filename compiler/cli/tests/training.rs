//! The trainers of `examples/train`: what they print is what the compiled models do.
//!
//! `examples/train/test_train.py` trains every variant for a few steps, in an environment that is made once under
//! `target/`. Of the models that longer trainings left in `tests/models`, those that `tests/models.rs` does not run are
//! checked here.

use std::sync::Arc;

use serde_json::Value;
use tokenizers::Tokenizer;
use trine::npz::Npz;
use trine::{Module, Options, evaluate};

use crate::command::model;
use crate::outside;

#[test]
fn every_method_compiles_to_the_loss_it_was_trained_to() {
    if !outside::asked("trainers of examples/train, whose losses the compiled models have") {
        return;
    }
    let script = ["examples/train/run.py", "test_train.py", "--trine", env!("CARGO_BIN_EXE_trine")];
    outside::success(outside::python().args(script));
}

#[test]
fn the_recurrent_network_is_ternary_and_reads_digits() {
    let module = optimized(&model("digits/hitnet.onnx"));
    assert_eq!(trits(&module), 3 * 64 * (8 + 64) + 10 * 64);
    let mut data = Npz::open(model("digits/data.npz")).unwrap();
    let [x, labels] = ["mlp.x", "labels"].map(|name| data.get(name).unwrap().unwrap());
    let program = Arc::new(trine::build_program(module, &Options::default()).unwrap());
    let found = evaluate::accuracy(program, &[x], &labels.values::<i64>().unwrap(), 1).unwrap();
    assert!(found.share() >= 0.98, "{found:?}");
}

#[test]
fn the_float_model_is_not_ternary_and_loses_what_onnxruntime_measured() {
    let module = optimized(&model("lm_float/f32.onnx"));
    assert_eq!(trits(&module), 0);
    let oracle: Value = serde_json::from_slice(&std::fs::read(model("lm_float/loss.json")).unwrap()).unwrap();
    let tokenizer = Tokenizer::from_file(model("lm_float/tokenizer.json")).unwrap();
    let tokens = tokenizer.encode(oracle["text"].as_str().unwrap(), true).unwrap();
    let context = oracle["context"].as_u64().unwrap() as usize;
    let program = Arc::new(trine::build_program(module, &Options::default()).unwrap());
    let loss = evaluate::loss(program, &[tokens.get_ids()], context, 1, &mut ()).unwrap();
    assert_eq!(Some(loss.tokens as u64), oracle["tokens"].as_u64());
    let want = oracle["loss"].as_f64().unwrap();
    assert!((loss.mean() - want).abs() < 1e-3, "{} nats, onnxruntime {want}", loss.mean());
}

fn optimized(path: &str) -> Module {
    let mut module = trine::load(path).unwrap();
    trine::optimize(&mut module, &Options::default()).unwrap();
    module
}

/// Ternary weights that the module holds.
fn trits(module: &Module) -> usize {
    let constants = module.consts.iter().filter(|(_, t)| t.elem() == trine_ir::Elem::Trit);
    constants.map(|(_, t)| t.len()).sum()
}
