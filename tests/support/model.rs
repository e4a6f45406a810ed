//! ONNX models written in lines of text: `y, z = Split(x) {axis: 1}`, ops of onnxruntime as `ms.FastGelu`.
//!
//! An absent input or output is `_`. Attributes are integers, floats (with a point), words and `[1 2]`.

use bytes::Bytes;
use prost::Message;
use trine::import::import_bytes;
use trine::import::proto::attribute_proto::AttributeType;
use trine::import::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use trine_ir::{Elem, Tensor};

/// A named tensor of a model.
pub type Named<'a> = (&'a str, Tensor);

/// The model of `lines`, whose last says the outputs: `-> y, z`.
pub fn proto(inputs: &[Named], constants: &[Named], lines: &str) -> ModelProto {
    let (mut nodes, mut outputs) = (vec![], vec![]);
    for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
        match line.strip_prefix("->") {
            Some(names) => outputs = list(names),
            None => nodes.push(node(line)),
        }
    }
    let graph = GraphProto {
        name: Some("test".into()),
        input: inputs.iter().map(value_info).collect(),
        initializer: constants.iter().map(initializer).collect(),
        output: outputs
            .into_iter()
            .map(|name| ValueInfoProto { name: Some(name), ..Default::default() })
            .collect(),
        node: nodes,
        ..Default::default()
    };
    let opset =
        |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    ModelProto {
        ir_version: Some(10),
        opset_import: vec![opset("", 24), opset("com.microsoft", 1)],
        graph: Some(graph),
        ..Default::default()
    }
}

/// What the model of `lines` gives for `inputs`.
pub fn run(inputs: &[Named], constants: &[Named], lines: &str) -> Vec<Tensor> {
    let model = proto(inputs, constants, lines).encode_to_vec();
    let module = import_bytes(model.into(), None).unwrap_or_else(|e| panic!("{e}\n{lines}"));
    trine_ir::verify(&module).unwrap_or_else(|e| panic!("{e}"));
    let tensors = inputs.iter().map(|(_, t)| t.clone()).collect();
    trine_ir::eval::run(&module, tensors).unwrap_or_else(|e| panic!("{e}\n{lines}"))
}

/// Numbers between -1 and 1 that look like no pattern, other ones for each `seed`.
pub fn noise(dims: &[usize], seed: u32) -> Tensor {
    let mut state = seed.wrapping_mul(2654435761).wrapping_add(1);
    let value = |_| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    Tensor::from_vec(dims.to_vec(), (0..dims.iter().product()).map(value).collect())
        .expect("as many as there are")
}

/// `value_info: name = Op(inputs) {attributes}`.
fn node(line: &str) -> NodeProto {
    let (outputs, call) = line.split_once(" = ").unwrap_or_else(|| panic!("no ` = ` in {line}"));
    let (op, rest) = call.split_once('(').unwrap_or_else(|| panic!("no inputs in {line}"));
    let (inputs, attributes) = rest.split_once(')').unwrap_or_else(|| panic!("no `)` in {line}"));
    let (domain, op) = op.split_once('.').map_or(("", op), |(_, op)| ("com.microsoft", op));
    let attributes = attributes.trim().trim_start_matches('{').trim_end_matches('}');
    NodeProto {
        op_type: Some(op.into()),
        domain: Some(domain.into()),
        input: list(inputs),
        output: list(outputs),
        attribute: attributes.split(',').filter(|a| !a.trim().is_empty()).map(attribute).collect(),
        ..Default::default()
    }
}

fn list(names: &str) -> Vec<String> {
    let name = |n: &str| if n.trim() == "_" { String::new() } else { n.trim().into() };
    if names.trim().is_empty() { vec![] } else { names.split(',').map(name).collect() }
}

fn attribute(text: &str) -> AttributeProto {
    let (name, value) = text.split_once(':').unwrap_or_else(|| panic!("no `:` in {text}"));
    let value = value.trim();
    let mut a = AttributeProto { name: Some(name.trim().into()), ..Default::default() };
    let ty = if let Some(ints) = value.strip_prefix('[') {
        a.ints =
            ints.trim_end_matches(']').split_whitespace().map(|i| i.parse().expect("an integer")).collect();
        AttributeType::Ints
    } else if let Ok(i) = value.parse() {
        a.i = Some(i);
        AttributeType::Int
    } else if let Ok(f) = value.parse() {
        a.f = Some(f);
        AttributeType::Float
    } else {
        a.s = Some(Bytes::copy_from_slice(value.as_bytes()));
        AttributeType::String
    };
    a.r#type = Some(ty as i32);
    a
}

fn value_info((name, tensor): &Named) -> ValueInfoProto {
    let dim = |d: &usize| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(*d as i64)),
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: tensor.dims().iter().map(dim).collect() };
    let ty = type_proto::Tensor { elem_type: Some(data_type(tensor.elem())), shape: Some(shape) };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(ty)), ..Default::default() };
    ValueInfoProto { name: Some((*name).into()), r#type: Some(ty), ..Default::default() }
}

fn initializer((name, tensor): &Named) -> TensorProto {
    TensorProto {
        name: Some((*name).into()),
        dims: tensor.dims().iter().map(|d| *d as i64).collect(),
        data_type: Some(data_type(tensor.elem())),
        raw_data: Some(tensor.bytes().clone()),
        ..Default::default()
    }
}

/// ONNX's number of an element type.
fn data_type(elem: Elem) -> i32 {
    (1..64).find(|n| trine::import::elem(*n).is_ok_and(|e| e == elem)).expect("ONNX has the type")
}
