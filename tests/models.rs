//! The committed models, compiled as a user would: right answers, ternary layers found, spellings agreeing.

use std::path::PathBuf;
use std::sync::Arc;

use trine::generate::Decoder;
use trine::npz::Npz;
use trine::{Options, Session, SessionOptions};
use trine_ir::text;

use crate::answers::{argmax, array};
use crate::numbers::distance;

const SPELLINGS: [&str; 4] = ["f32", "nbits", "opset23", "qdq"];

fn model(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name)
}

#[test]
fn every_spelling_of_the_language_model_is_ternary_and_gives_the_same_tokens() {
    for spelling in SPELLINGS {
        let path = model(&format!("lm/{spelling}.onnx"));
        let mut module = trine::load(&path).unwrap();
        trine::optimize(&mut module, &Options::default()).unwrap();
        let ir = text::print(&module);
        assert!(
            !ir.contains("= matmul %x0, %x1 {trans_b=false} : f32[batch,seq,128]"),
            "{spelling}: a projection is dense"
        );
        let trits = module.consts.iter().filter(|(_, t)| t.elem() == trine_ir::Elem::Trit);
        let weights: usize = trits.map(|(_, t)| t.len()).sum();
        assert_eq!(weights, 4 * (128 * 256 + 128 * 128 + 3 * 128 * 288), "{spelling}: ternary weights");
        let program = Arc::new(trine::build_program(module, &Options::default()).unwrap());
        let mut decoder = Decoder::new(program, 1, 128).unwrap();
        let mut expected = Npz::open(model("lm/expected.npz")).unwrap();
        for i in 0..4 {
            decoder.reset();
            let prompt = array(&mut expected, &format!("{i}.prompt"));
            let prompt: Vec<u32> = prompt.values::<i64>().unwrap().iter().map(|t| *t as u32).collect();
            let logits = array(&mut expected, &format!("{i}.logits"));
            let logits = logits.values::<f32>().unwrap().into_owned();
            let greedy = array(&mut expected, &format!("{i}.greedy"));
            let got = decoder.feed(&prompt).unwrap();
            let off = distance(got, &logits[logits.len() - got.len()..]);
            assert!(off < 1e-3, "{spelling}, prompt {i}: logits are {off} off");
            let mut next = argmax(got);
            for (step, want) in greedy.values::<i64>().unwrap().iter().enumerate() {
                assert_eq!(i64::from(next), *want, "{spelling}, prompt {i}, token {step}");
                next = argmax(decoder.feed(&[next]).unwrap());
            }
        }
    }
}

#[test]
fn digits_are_recognised_as_they_were_trained() {
    let mut data = Npz::open(model("digits/data.npz")).unwrap();
    let labels = array(&mut data, "labels");
    let labels = labels.values::<i64>().unwrap();
    for (name, accuracy) in [("mlp", 0.98), ("cnn", 0.97)] {
        let program = trine::compile(model(&format!("digits/{name}.onnx")), &Options::default()).unwrap();
        let mut session =
            Session::new(Arc::new(program), &SessionOptions { threads: 2, ..SessionOptions::default() });
        let x = array(&mut data, &format!("{name}.x"));
        let want = array(&mut data, &format!("{name}.logits"));
        let got = session.run(&[x]).unwrap().remove(0);
        let (got, want) = (got.values::<f32>().unwrap(), want.values::<f32>().unwrap());
        assert!(distance(&got, &want) < 1e-3, "{name}");
        let right = got.chunks(10).zip(labels.iter());
        let right = right.filter(|(logits, label)| i64::from(argmax(logits)) == **label).count();
        assert!(right as f64 >= accuracy * labels.len() as f64, "{name}: {right} of {}", labels.len());
    }
}

#[test]
fn printed_kernels_parse_back_and_give_the_same_bits() {
    let path = model("lm/f32.onnx");
    let mut module = trine::load(&path).unwrap();
    trine::optimize(&mut module, &Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("lm.ir");
    trine::save(&module, &saved).unwrap();
    let mut decoders = [&path, &saved].map(|p| {
        let program = trine::compile(p, &Options::default()).unwrap();
        Decoder::new(Arc::new(program), 1, 64).unwrap()
    });
    for tokens in [[0u32, 33, 424].as_slice(), &[80], &[318]] {
        let [a, b] = &mut decoders;
        let (a, b) = (a.feed(tokens).unwrap(), b.feed(tokens).unwrap());
        assert!(a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}
