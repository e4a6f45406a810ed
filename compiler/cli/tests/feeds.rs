//! What the command feeds a model: inputs that have a value otherwise take what is given for them, and arrays that no input
//! takes are reported.

use std::path::Path;

use prost::Message;
use trine::Tensor;
use trine::import::proto::tensor_shape_proto::{Dimension, dimension};
use trine::import::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use trine::npz::{Npz, write_npz};

use crate::command::both;

fn value(name: &str) -> ValueInfoProto {
    let dim = Dimension { value: Some(dimension::Value::DimValue(2)), ..Default::default() };
    let shape = Some(TensorShapeProto { dim: vec![dim] });
    let tensor = type_proto::Value::TensorType(type_proto::Tensor { elem_type: Some(1), shape });
    let r#type = Some(TypeProto { value: Some(tensor), ..Default::default() });
    ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
}

/// `y = x + w` with `w` 10 and 20 unless it is fed, and `x` itself.
fn write_model(path: &Path) {
    let graph = GraphProto {
        name: Some("g".into()),
        input: vec![value("x"), value("w")],
        output: vec![value("y"), value("x")],
        node: vec![NodeProto {
            op_type: Some("Add".into()),
            input: vec!["x".into(), "w".into()],
            output: vec!["y".into()],
            ..Default::default()
        }],
        initializer: vec![TensorProto {
            name: Some("w".into()),
            dims: vec![2],
            data_type: Some(1),
            float_data: vec![10.0, 20.0],
            ..Default::default()
        }],
        ..Default::default()
    };
    let model = ModelProto {
        ir_version: Some(10),
        opset_import: vec![OperatorSetIdProto { version: Some(21), ..Default::default() }],
        graph: Some(graph),
        ..Default::default()
    };
    std::fs::write(path, model.encode_to_vec()).unwrap();
}

#[test]
fn arrays_go_to_inputs_that_have_a_value_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    write_model(&path("model.onnx"));
    let [x, w] = [[1f32, 2.0], [-1.0, 1.0]].map(|v| Tensor::vector(v.to_vec()));
    write_npz(path("x.npz"), [("x", &x)]).unwrap();
    write_npz(path("both.npz"), [("x", &x), ("w", &w), ("labels", &w)]).unwrap();
    let run = |inputs: &[&str]| {
        let mut args = vec!["run".to_string(), text("model.onnx"), "-o".into(), text("out.npz")];
        inputs.iter().for_each(|i| args.extend(["-i".into(), i.to_string()]));
        let [_, said] = both(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let mut out = Npz::open(path("out.npz")).unwrap();
        let mut array = |name: &str| out.get(name).unwrap().unwrap().values::<f32>().unwrap().to_vec();
        assert_eq!(array("x"), [1.0, 2.0]);
        (array("y"), said)
    };
    assert_eq!(run(&[&text("x.npz")]), (vec![11.0, 22.0], String::new()));
    let (y, said) = run(&[&text("both.npz")]);
    assert_eq!(y, [0.0, 3.0]);
    assert!(said.contains("both.npz` has an array that is not an input of the model: `labels`"), "{said}");
    let one = format!("w={}:w", text("both.npz"));
    assert_eq!(run(&[&text("x.npz"), &one]), (vec![0.0, 3.0], String::new()));
    let [_, said] = both(&["bench", &text("model.onnx"), "-i", &text("both.npz"), "--seconds", "0.01"]);
    assert!(said.contains("`labels`"), "{said}");
}
