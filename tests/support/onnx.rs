//! ONNX models written in code, for tests of what no exporter would write.

use bytes::Bytes;
use prost::Message;
use trine::import::proto::tensor_shape_proto::{Dimension, dimension};
use trine::import::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto, type_proto,
};

pub const FLOAT: i32 = 1;

/// A model of opset 21 around a graph.
pub fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: Some(10),
        opset_import: vec![opset("", 21)],
        graph: Some(graph),
        ..Default::default()
    }
}

pub fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) }
}

/// A graph named `g` from f32 inputs `[2]` to outputs.
pub fn graph(inputs: &[&str], nodes: Vec<NodeProto>, outputs: &[&str]) -> GraphProto {
    GraphProto {
        name: Some("g".into()),
        input: inputs.iter().map(|name| value(name, FLOAT, &[2])).collect(),
        node: nodes,
        output: outputs.iter().map(|name| value(name, FLOAT, &[2])).collect(),
        ..Default::default()
    }
}

/// An input or output of a graph.
pub fn value(name: &str, elem: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = |n: &i64| Dimension { value: Some(dimension::Value::DimValue(*n)), ..Default::default() };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Value::TensorType(type_proto::Tensor { elem_type: Some(elem), shape });
    let r#type = Some(TypeProto { value: Some(tensor), ..Default::default() });
    ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
}

/// A node named `n_` and its first output.
pub fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        name: Some(format!("n_{}", outputs.first().unwrap_or(&""))),
        op_type: Some(op_type.into()),
        input: inputs.iter().map(|i| i.to_string()).collect(),
        output: outputs.iter().map(|o| o.to_string()).collect(),
        ..Default::default()
    }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    let r#type = Some(attribute_proto::AttributeType::Int as i32);
    AttributeProto { name: Some(name.into()), i: Some(value), r#type, ..Default::default() }
}

pub fn subgraph(name: &str, graph: GraphProto) -> AttributeProto {
    let r#type = Some(attribute_proto::AttributeType::Graph as i32);
    AttributeProto { name: Some(name.into()), g: Some(graph), r#type, ..Default::default() }
}

/// An initializer of raw bytes.
pub fn tensor(name: &str, data_type: i32, dims: &[i64], raw: &[u8]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        data_type: Some(data_type),
        dims: dims.to_vec(),
        raw_data: Some(Bytes::copy_from_slice(raw)),
        ..Default::default()
    }
}

/// A function of domain `f`.
pub fn function(name: &str, inputs: &[&str], nodes: Vec<NodeProto>, outputs: &[&str]) -> FunctionProto {
    FunctionProto {
        name: Some(name.into()),
        domain: Some("f".into()),
        input: inputs.iter().map(|i| i.to_string()).collect(),
        output: outputs.iter().map(|o| o.to_string()).collect(),
        node: nodes,
        opset_import: vec![opset("", 21), opset("f", 1)],
        ..Default::default()
    }
}

/// A call of such a function.
pub fn call(name: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto { domain: Some("f".into()), ..node(name, inputs, outputs) }
}

pub fn encode(model: &ModelProto) -> Bytes {
    model.encode_to_vec().into()
}
