//! `trine ternarize` on recurrent layers: both products are fitted, that with the state on the states of every step.

use std::path::Path;
use std::process::Output;

use prost::Message;
use serde_json::Value;
use trine::import::proto::attribute_proto::AttributeType;
use trine::import::proto::tensor_proto::DataType;
use trine::import::proto::tensor_shape_proto::{Dimension, dimension};
use trine::import::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};

use crate::command::{command, failed, json, model, printed};

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
        fit("rows_lstm", &out, &[&["--format", "onnx", "--keep", "none"], extra].concat())
    };
    let message = failed(1, run(&[]));
    assert!(
        message.contains("(LSTM) cannot be written") && message.contains("write IR instead"),
        "{message}"
    );
    assert!(!folder.path().join("out").exists(), "it is told before anything is fitted");
    printed(run(&["--keep", "w.*", "--keep", "r.*"]));
    assert!(folder.path().join("out/model.onnx").exists());
}

/// A product within a loop that is not a recurrent layer: ONNX could only say it within the loop's body.
#[test]
fn products_in_other_loops_are_written_as_ir() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("scan.onnx"), scan().encode_to_vec()).unwrap();
    let run = |out: &str, extra: &[&str]| {
        let (model, out) = (path("scan.onnx"), path(out));
        let args = ["ternarize", &model, "--method", "exact", "--keep", "none", "-o", &out];
        command(&[&args[..], extra].concat()).output().unwrap()
    };
    printed(run("out", &[]));
    assert!(std::fs::read_to_string(path("out/model.ir")).unwrap().contains("w.trits"));
    let message = failed(1, run("onnx", &["--format", "onnx"]));
    assert!(message.contains("node `product` (MatMul), which is none of the graph's own"), "{message}");
    assert!(!folder.path().join("onnx").exists());
}

/// `h ← h·W + x` over the rows of `x`.
fn scan() -> ModelProto {
    let value = |name: &str, dims: &[i64]| {
        let dim = |n: &i64| Dimension { value: Some(dimension::Value::DimValue(*n)), ..Default::default() };
        let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
        let tensor = type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape };
        let r#type =
            Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() });
        ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
    };
    let node = |name: &str, op_type: &str, inputs: &[&str], outputs: &[&str]| NodeProto {
        name: Some(name.into()),
        op_type: Some(op_type.into()),
        input: inputs.iter().map(|i| i.to_string()).collect(),
        output: outputs.iter().map(|o| o.to_string()).collect(),
        ..Default::default()
    };
    let body = GraphProto {
        name: Some("step".into()),
        input: vec![value("h", &[1, 4]), value("x", &[1, 4])],
        node: vec![
            node("product", "MatMul", &["h", "w"], &["hw"]),
            node("sum", "Add", &["hw", "x"], &["next"]),
            node("out", "Identity", &["next"], &["y"]),
        ],
        output: vec![value("next", &[1, 4]), value("y", &[1, 4])],
        ..Default::default()
    };
    let scan = NodeProto {
        attribute: vec![
            AttributeProto {
                name: Some("body".into()),
                g: Some(body),
                r#type: Some(AttributeType::Graph as i32),
                ..Default::default()
            },
            AttributeProto {
                name: Some("num_scan_inputs".into()),
                i: Some(1),
                r#type: Some(AttributeType::Int as i32),
                ..Default::default()
            },
        ],
        ..node("loop", "Scan", &["first", "rows"], &["last", "all"])
    };
    let weights = (0..16).flat_map(|i| ((i * 7 % 16) as f32 * 0.1 - 0.7).to_le_bytes());
    let weights = TensorProto {
        name: Some("w".into()),
        data_type: Some(DataType::Float as i32),
        dims: vec![4, 4],
        raw_data: Some(weights.collect::<Vec<u8>>().into()),
        ..Default::default()
    };
    let graph = GraphProto {
        name: Some("g".into()),
        input: vec![value("first", &[1, 4]), value("rows", &[5, 1, 4])],
        node: vec![scan],
        output: vec![value("last", &[1, 4]), value("all", &[5, 1, 4])],
        initializer: vec![weights],
        ..Default::default()
    };
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(21) };
    ModelProto { ir_version: Some(10), opset_import: vec![opset], graph: Some(graph), ..Default::default() }
}

fn rows() -> String {
    model("digits/rows.npz")
}

fn fit(name: &str, out: &Path, extra: &[&str]) -> Output {
    let (model, rows) = (model(&format!("digits/{name}.onnx")), rows());
    let args = ["ternarize", &model, "--calib", &rows, "-o", out.to_str().unwrap(), "--json"];
    command(&[&args[..], extra].concat()).output().unwrap()
}

fn ternarize(model: &str, out: &Path, extra: &[&str]) -> Value {
    let [report, _] = printed(fit(model, out, extra));
    serde_json::from_str(&report).unwrap()
}

/// The accuracy of what was written, as its users run it.
fn accuracy(folder: &Path) -> f64 {
    let model = folder.join("model.ir").display().to_string();
    json(&["accuracy", &model, "--data", &rows()])["accuracy"].as_f64().unwrap()
}
