//! Rotated language models: the same function, by the same ops, of other weights.

use std::sync::Arc;

use trine::calibrate::{self, CalibrateError};
use trine::pass::{Driver, Pipeline};
use trine::{Module, Options, Session, SessionOptions, Tensor};
use trine_ir::text;

use crate::command::model;
use crate::numbers::distance;

/// Elements of the table that is the head too.
const TABLE: usize = 512 * 128;

#[test]
fn rotated_models_compute_what_they_did_by_the_same_ops() {
    for name in ["lm_float/f32.onnx", "lm/f32.onnx"] {
        let module = recognized(name);
        let before = logits(&module);
        let mut outputs = vec![];
        for seed in [0, 7] {
            let mut rotated = module.clone();
            assert_eq!(calibrate::rotate(&mut rotated, seed).unwrap(), 4 * TABLE, "{name}");
            assert_eq!(ops(&rotated), ops(&module), "{name}");
            let after = logits(&rotated);
            let off = distance(&after, &before);
            assert!(off < 1e-5, "{name}, seed {seed}: logits are {off} off");
            outputs.push(after);
            // What the norms did is in the weights after them.
            let gains = rotated.consts.iter().filter(|(key, _)| key.ends_with("input_layernorm.weight"));
            assert!(gains.map(|(_, t)| t.values::<f32>().unwrap()).all(|t| t.iter().all(|v| *v == 1.0)));
        }
        assert!(outputs[0] != outputs[1], "{name}: the seed says nothing");
    }
}

#[test]
fn rotation_takes_outliers_out_of_the_weights() {
    let mut module = recognized("lm_float/f32.onnx");
    let largest = |module: &Module| {
        let weights = module.consts["layers.0.mlp.down_proj.weight"].values::<f32>().unwrap().into_owned();
        let mean = weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32;
        (weights.iter().fold(0f32, |m, w| m.max(w.abs())), mean.sqrt())
    };
    let (before, spread) = largest(&module);
    calibrate::rotate(&mut module, 0).unwrap();
    let (after, same) = largest(&module);
    assert!((same / spread - 1.0).abs() < 1e-4, "{spread} {same}");
    assert!(after < before, "{after} of {before}");
}

#[test]
fn models_without_such_a_stream_are_refused_and_stay() {
    let mut module = recognized("digits/mlp.onnx");
    let before = text::print(&module);
    let error = calibrate::rotate(&mut module, 0).unwrap_err();
    assert!(matches!(error, CalibrateError::NoStream), "{error}");

    let source = "\
const @w: f32[2,2] = [0.5, 1, 2, 4]
const @g: f32[2] = [0.5, 3]
graph @main(%x: f32[n,2]) -> (%y: f32[n,2]) {
  %a = matmul %x, @w {trans_b=false} : f32[n,2]
  %sum = add %x, %a : f32[n,2]
  %norm = rms_norm %sum, @g {eps=1e-5} : f32[n,2]
  %y = matmul %norm, @w {trans_b=false} : f32[n,2]
}
";
    let mut stream = text::parse(source).unwrap();
    let written = text::print(&stream);
    let error = calibrate::rotate(&mut stream, 0).unwrap_err();
    assert!(matches!(&error, CalibrateError::Stream { place, .. } if place.value == "a"), "{error}");
    assert_eq!((text::print(&module), text::print(&stream)), (before, written));
}

fn recognized(name: &str) -> Module {
    let mut module = trine::load(model(name)).unwrap();
    let passes: Pipeline = calibrate::PASSES.parse().unwrap();
    Driver::new().run(&passes, &mut module).unwrap();
    module
}

/// The mnemonics of `@main`, in order.
fn ops(module: &Module) -> Vec<&'static str> {
    let graph = &module.main().unwrap().graph;
    graph.order().into_iter().filter_map(|node| graph.kind(node)).map(|kind| kind.mnemonic()).collect()
}

/// Of 48 tokens with nothing before them.
fn logits(module: &Module) -> Vec<f32> {
    let mut module = module.clone();
    trine::optimize(&mut module, &Options::default()).unwrap();
    let program = Arc::new(trine::build_program(module, &Options::default()).unwrap());
    let tokens: Vec<i64> = (0..48).map(|i| i * 37 % 512).collect();
    let given = |name: &str| match name {
        "input_ids" => Tensor::from_vec(vec![1, 48], tokens.clone()).unwrap(),
        "attention_mask" => Tensor::from_vec(vec![1, 48], vec![1i64; 48]).unwrap(),
        "position_ids" => Tensor::from_vec(vec![1, 48], (0..48).collect::<Vec<i64>>()).unwrap(),
        _ => Tensor::from_vec(vec![1, 2, 0, 32], Vec::<f32>::new()).unwrap(),
    };
    let inputs: Vec<Tensor> = program.inputs.iter().map(|p| given(&p.name)).collect();
    let mut session =
        Session::new(program.clone(), &SessionOptions { threads: 2, ..SessionOptions::default() });
    session.run(&inputs).unwrap().remove(0).values::<f32>().unwrap().into_owned()
}
