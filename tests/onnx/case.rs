//! A case of the backend tests: a model, and inputs with the outputs that they give.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use trine::import::proto::{ModelProto, TensorProto, ValueInfoProto, tensor_shape_proto, type_proto};
use trine_ir::Tensor;

pub struct Case {
    pub model: ModelProto,
    pub folder: PathBuf,
    pub sets: Vec<DataSet>,
}

/// Inputs and outputs in the order of the model.
pub struct DataSet {
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
}

/// Reads the case that `name`, as in `node/test_abs`, stands for.
pub fn load(data: &Path, name: &str) -> Result<Case, String> {
    let (folder, model) = (data.join(name), model(data, name)?);
    if name.starts_with("light/") {
        let inputs = open_inputs(&model).map(ramp).collect::<Result<_, _>>()?;
        let outputs = vec![tensor(&data.join(format!("{name}_output_0.pb")))?];
        return Ok(Case { model, folder: data.join("light"), sets: vec![DataSet { inputs, outputs }] });
    }
    let mut sets = vec![];
    while let set = folder.join(format!("test_data_set_{}", sets.len()))
        && set.is_dir()
    {
        sets.push(DataSet { inputs: tensors(&set, "input")?, outputs: tensors(&set, "output")? });
    }
    if sets.is_empty() {
        return Err("the case has no data".into());
    }
    Ok(Case { model, folder, sets })
}

/// The model of a case.
pub fn model(data: &Path, name: &str) -> Result<ModelProto, String> {
    let path = match name.starts_with("light/") {
        true => data.join(name).with_extension("onnx"),
        false => data.join(name).join("model.onnx"),
    };
    ModelProto::decode(read(&path)?).map_err(|e| e.to_string())
}

/// Inputs of the model that are not initializers.
pub fn open_inputs(model: &ModelProto) -> impl Iterator<Item = &ValueInfoProto> {
    let graph = model.graph.iter();
    graph.flat_map(|g| g.input.iter().filter(|i| g.initializer.iter().all(|t| t.name() != i.name())))
}

fn tensors(set: &Path, what: &str) -> Result<Vec<Tensor>, String> {
    let paths = (0..).map(|i| set.join(format!("{what}_{i}.pb"))).take_while(|p| p.exists());
    paths.map(|p| tensor(&p)).collect()
}

fn tensor(path: &Path) -> Result<Tensor, String> {
    let proto = TensorProto::decode(read(path)?).map_err(|e| format!("{}: {e}", path.display()))?;
    trine::import::tensor(&proto).map_err(|e| e.to_string())
}

fn read(path: &Path) -> Result<Bytes, String> {
    fs::read(path).map(Bytes::from).map_err(|e| format!("{}: {e}", path.display()))
}

/// The input that models without data are run on: `i/n` at place `i` of `n`, open dimensions 1.
fn ramp(input: &ValueInfoProto) -> Result<Tensor, String> {
    let Some(type_proto::Value::TensorType(ty)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(format!("input `{}` is not a tensor", input.name()));
    };
    let dims = ty.shape.iter().flat_map(|s| &s.dim).map(|d| match &d.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(n)) => *n as usize,
        _ => 1,
    });
    let dims: Vec<usize> = dims.collect();
    let n: usize = dims.iter().product();
    let values = (0..n).map(|i| (i as f64 / n as f64) as f32).collect();
    Tensor::from_vec::<f32>(dims, values).map_err(|e| e.to_string())
}
