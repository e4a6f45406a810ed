//! Pieces of ONNX models: nodes, attributes, tensors and what is said of inputs.

use bytes::Bytes;
use trine::import::proto::attribute_proto::AttributeType;
use trine::import::proto::tensor_shape_proto::{Dimension, dimension};
use trine::import::proto::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};
use trine_ir::{Elem, Tensor};

/// What is written for a dimension of an input.
#[derive(Clone, Debug)]
pub enum Declared {
    Fixed(usize),
    Named(String),
    Open,
}

pub fn node(domain: &str, op_type: &str, inputs: &[&str], outputs: &[String]) -> NodeProto {
    NodeProto {
        name: outputs.first().map(|o| format!("n_{o}")),
        domain: Some(domain.into()),
        op_type: Some(op_type.into()),
        input: inputs.iter().map(|i| i.to_string()).collect(),
        output: outputs.to_vec(),
        ..Default::default()
    }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

pub fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto { floats: values.to_vec(), ..attribute(name, AttributeType::Floats) }
}

pub fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        s: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..attribute(name, AttributeType::String)
    }
}

pub fn constant(name: &str, value: &Tensor) -> AttributeProto {
    AttributeProto { t: Some(tensor("", value)), ..attribute(name, AttributeType::Tensor) }
}

pub fn graph(name: &str, value: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(value), ..attribute(name, AttributeType::Graph) }
}

fn attribute(name: &str, ty: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(ty as i32), ..Default::default() }
}

/// An initializer.
pub fn tensor(name: &str, value: &Tensor) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: value.dims().iter().map(|d| *d as i64).collect(),
        data_type: Some(data_type(value.elem())),
        raw_data: Some(value.bytes().clone()),
        ..Default::default()
    }
}

/// An input or output; of an output the rank may be left open.
pub fn value(name: &str, elem: Elem, dims: Option<&[Declared]>) -> ValueInfoProto {
    let dim = |d: &Declared| Dimension {
        value: match d {
            Declared::Fixed(n) => Some(dimension::Value::DimValue(*n as i64)),
            Declared::Named(name) => Some(dimension::Value::DimParam(name.clone())),
            Declared::Open => None,
        },
        ..Default::default()
    };
    let shape = dims.map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let ty = type_proto::Tensor { elem_type: Some(data_type(elem)), shape };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(ty)), ..Default::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(ty), ..Default::default() }
}

/// ONNX's number of an element type.
pub fn data_type(elem: Elem) -> i32 {
    (1..64).find(|n| trine::import::elem(*n).is_ok_and(|e| e == elem)).expect("ONNX has the type")
}
