//! `trine ternarize` on recurrent layers: both products are fitted, that with the state on the states of every step.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const MODELS: [(&str, &[&str]); 2] = [
    ("rows_lstm", &["w.forward", "r.forward"]),
    // The candidate of a GRU reads `r⊙h`, not `h`.
    ("rows_gru", &["w.forward", "r.forward.zr", "r.forward.n"]),
];

#[test]
fn weights_that_are_fitted_read_digits_better_than_weights_that_are_cut_off() {
    for (model, layers) in MODELS {
        let folder = tempfile::tempdir().unwrap();
        let share = |out: &str, method: &str, planes: &str| {
            let report =
                ternarize(model, &folder.path().join(out), &["--method", method, "--planes", planes]);
            let rows = report["layers"].as_array().unwrap();
            let names: Vec<&str> = rows.iter().map(|l| l["weights"].as_str().unwrap()).collect();
            assert_eq!(names, layers, "{model} {method}");
            assert_eq!(report["kept"][0]["weights"], "head");
            let fitted = rows.iter().map(|l| l["relX"].as_f64().unwrap());
            (accuracy(&folder.path().join(out)), fitted.sum::<f64>())
        };
        let twn = share("twn", "twn", "1");
        let refit = share("refit", "twn+refit", "1");
        let descent = share("descent", "gptq+cd+compensate", "1");
        let planes = share("planes", "gptq+cd+compensate", "2");
        eprintln!(
            "{model}: twn {twn:.4?}, refit {refit:.4?}, gptq+cd+compensate {descent:.4?}, 2 planes {planes:.4?}"
        );
        assert!(refit.1 < twn.1 && descent.1 < refit.1 && planes.1 < descent.1, "{model}");
        assert!(descent.0 >= twn.0 && planes.0 > 0.95, "{model}");
    }
}

#[test]
fn the_same_arguments_give_the_same_bits() {
    for (model, _) in MODELS {
        let folder = tempfile::tempdir().unwrap();
        let bits = |out: &str| {
            let out = folder.path().join(out);
            ternarize(model, &out, &["--planes", "1", "--group", "16"]);
            ["model.ir", "model.safetensors"].map(|file| std::fs::read(out.join(file)).unwrap())
        };
        assert!(bits("one") == bits("two"), "{model}");
    }
}

#[test]
fn onnx_is_refused_where_a_recurrent_layer_is_rounded_and_written_where_none_is() {
    let folder = tempfile::tempdir().unwrap();
    let run = |extra: &[&str]| {
        let out = folder.path().join("out");
        command("rows_lstm", &out, &[&["--format", "onnx", "--keep", "none"], extra].concat())
            .output()
            .unwrap()
    };
    let refused = run(&[]);
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(
        message.contains("(LSTM) cannot be written") && message.contains("write IR instead"),
        "{message}"
    );
    assert!(!folder.path().join("out/model.onnx").exists());
    std::fs::remove_dir_all(folder.path().join("out")).unwrap();
    let written = run(&["--keep", "w.*", "--keep", "r.*"]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    assert!(folder.path().join("out/model.onnx").exists());
}

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/digits")
}

fn command(model: &str, out: &Path, extra: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trine"));
    command.arg("ternarize").arg(digits().join(format!("{model}.onnx")));
    command.arg("--calib").arg(digits().join("rows.npz")).arg("-o").arg(out).args(["--json"]).args(extra);
    command
}

fn ternarize(model: &str, out: &Path, extra: &[&str]) -> Value {
    let output = command(model, out, extra).output().unwrap();
    assert!(output.status.success(), "{extra:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Of what was written, as its users run it.
fn accuracy(folder: &Path) -> f64 {
    let output = Command::new(env!("CARGO_BIN_EXE_trine"))
        .arg("accuracy")
        .arg(folder.join("model.ir"))
        .arg("--data")
        .arg(digits().join("rows.npz"))
        .arg("--json")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["accuracy"].as_f64().unwrap()
}
