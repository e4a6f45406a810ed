//! Recurrent layers against onnxruntime: as they are, opened into loops, and with their steps compiled.
//!
//! `tests/python/recurrent.py` makes the models and the answers once, under `target/models`.

use std::path::PathBuf;
use std::sync::Arc;

use trine::codegen::BuildError;
use trine::npz::Npz;
use trine::{Backend, Options, Session, SessionOptions, Tensor};

use crate::numbers::distance;
use crate::outside;

/// Pipelines, and what runs them.
const WAYS: [(&str, Backend); 4] = [
    ("", Backend::Interpret),
    ("fold-constants,simplify,open-recurrent,simplify", Backend::Interpret),
    ("fold-constants,simplify,open-recurrent,lower-ternary,unroll-scans", Backend::Auto),
    ("fold-constants,simplify,recognize-norms,simplify,lower-ternary", Backend::Auto),
];

/// Ops that move data, as places name them.
const MOVES: [&str; 4] = ["`expand`", "`reshape`", "`split`", "`concat`"];

#[test]
fn layers_answer_as_onnxruntime_within_a_hundred_thousandth() {
    if !outside::asked("recurrent layers against onnxruntime") {
        return;
    }
    let folder = made();
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().flatten().map(|e| e.path()).collect();
    cases.retain(|path| path.extension().is_some_and(|e| e == "onnx"));
    cases.sort();
    assert_eq!(cases.len(), 15);
    let mut worst = 0f32;
    for case in cases {
        for (passes, backend) in WAYS {
            let options = Options { passes: Some(passes.parse().unwrap()), backend, ..Options::default() };
            let program = Arc::new(trine::compile(&case, &options).unwrap());
            // Lengths that come as an input keep a layer closed; else nothing is left to interpret but what moves data.
            if passes.contains("unroll") && !case.to_string_lossy().contains("lengths") {
                let strict = Options { backend: Backend::Cranelift, ..options.clone() };
                let places = match trine::compile(&case, &strict) {
                    Err(trine::Error::Build(BuildError::Interpreted(places))) => places,
                    Err(error) => panic!("{error}"),
                    Ok(_) => vec![],
                };
                let moves = |place: &String| MOVES.iter().any(|op| place.contains(op));
                assert!(places.iter().all(moves), "{} {places:?}", case.display());
            }
            let mut inputs = Npz::open(case.with_extension("in.npz")).unwrap();
            let mut expected = Npz::open(case.with_extension("out.npz")).unwrap();
            let inputs: Vec<Tensor> =
                program.inputs.iter().map(|p| inputs.get(&p.name).unwrap().unwrap()).collect();
            let mut session = Session::guarded(program.clone(), &SessionOptions::default());
            let outputs = session.run(&inputs).unwrap();
            assert_eq!(outputs.len(), program.outputs.len());
            for (port, got) in program.outputs.iter().zip(&outputs) {
                let want = expected.get(&port.name).unwrap().unwrap();
                assert_eq!(got.dims(), want.dims());
                let (got, want) = (got.values::<f32>().unwrap(), want.values::<f32>().unwrap());
                let off = distance(&got, &want);
                assert!(off < 1e-5, "{} {passes}: `{}` is {off} off", case.display(), port.name);
                worst = worst.max(off);
            }
        }
    }
    eprintln!("the largest difference is {worst:.1e}");
}

/// The folder of the models and of what onnxruntime answers, made if need be.
fn made() -> PathBuf {
    let folder = outside::root().join("target/models/recurrent");
    outside::success(
        outside::python().args(["tests/python/env.py", "tests/python/recurrent.py"]).arg(&folder),
    );
    folder
}
