//! The committed models as the passes see them: what `--print-ir-after` shows is part of what users rely on.
//!
//! `INSTA_UPDATE=always cargo test --test library dumps` takes new dumps; read what `git diff tests/snapshots` says then.

use std::path::Path;

use trine::pass::{Driver, Dump, Pipeline};
use trine::passes::LEVELS;

/// The default pipeline.
fn pipeline() -> Pipeline {
    LEVELS[2].parse().unwrap()
}

fn dump(model: &str, after: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(model);
    let mut module = trine::load(path).unwrap();
    let mut dumps = vec![];
    let mut driver = Driver::new().print_after(after, |dump: Dump| dumps.push(dump.text()));
    let report = driver.run(&pipeline(), &mut module).unwrap();
    drop(driver);
    for step in &report.steps {
        dumps.extend(step.layers.iter().map(|layer| format!("// {}: {layer}", step.pass)));
        dumps.extend(
            step.near_misses.iter().map(|m| format!("// {} refused at {}: {}", m.rule, m.place, m.reason)),
        );
    }
    dumps.join("\n")
}

#[test]
fn every_stage_of_a_small_model() {
    insta::assert_snapshot!("mlp_stages", dump("digits/mlp.onnx", "changed"));
}

#[test]
fn every_model_lowered() {
    for model in ["digits/cnn", "lm/f32", "lm/nbits", "lm/opset23", "lm/qdq"] {
        let name = model.replace('/', "_");
        insta::assert_snapshot!(name, dump(&format!("{model}.onnx"), "lower-ternary"));
    }
}
