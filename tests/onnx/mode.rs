//! The ways in which a case is run; each must give the same outputs.

use bytes::Bytes;
use prost::Message;
use trine::import::proto::TensorProto;
use trine_ir::{Elem, Module, Tensor, eval, sidecar, text, verify};

use crate::case::{self, Case};
use crate::compare::compare;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As imported, by the reference interpreter.
    Interpreted,
    /// Printed, with the weights beside it, parsed back, verified, and interpreted.
    Text,
    /// With all inputs given as initializers, so that what is computed from them is known at import.
    Constant,
}

impl Mode {
    pub const ALL: [Mode; 3] = [Mode::Interpreted, Mode::Text, Mode::Constant];

    pub fn name(self) -> &'static str {
        match self {
            Mode::Interpreted => "interpreted",
            Mode::Text => "text",
            Mode::Constant => "constant",
        }
    }

    /// Runs all data sets of the case; the message says what differs.
    pub fn run(self, case: &Case) -> Result<(), String> {
        match self {
            Mode::Interpreted => self.run_sets(case, &import(case)?),
            Mode::Text => self.run_sets(case, &reparsed(&import(case)?)?),
            Mode::Constant => {
                for set in &case.sets {
                    let mut fixed =
                        Case { model: case.model.clone(), folder: case.folder.clone(), sets: vec![] };
                    fix_inputs(&mut fixed, &set.inputs);
                    let outputs = eval::run(&import(&fixed)?, vec![]).map_err(|e| e.to_string())?;
                    compare(&outputs, &set.outputs)?;
                }
                Ok(())
            }
        }
    }

    fn run_sets(self, case: &Case, module: &Module) -> Result<(), String> {
        for (i, set) in case.sets.iter().enumerate() {
            let outputs = eval::run(module, set.inputs.clone()).map_err(|e| e.to_string())?;
            compare(&outputs, &set.outputs).map_err(|e| format!("data set {i}: {e}"))?;
        }
        Ok(())
    }
}

fn import(case: &Case) -> Result<Module, String> {
    let bytes = Bytes::from(case.model.encode_to_vec());
    trine::import::import_bytes(bytes, Some(&case.folder)).map_err(|e| e.to_string())
}

fn reparsed(module: &Module) -> Result<Module, String> {
    let mut weights = vec![];
    sidecar::write(module, &mut weights).map_err(|e| e.to_string())?;
    let printed = text::print(module);
    let parsed = sidecar::parse(&printed, &weights.into()).map_err(|e| e.to_string())?;
    verify(&parsed).map_err(|e| e.to_string())?;
    let again = text::print(&parsed);
    if again == printed { Ok(parsed) } else { Err(format!("text changed:\n{printed}\n{again}")) }
}

/// Makes initializers of the model's inputs.
fn fix_inputs(case: &mut Case, values: &[Tensor]) {
    let names: Vec<String> = case::open_inputs(&case.model).map(|i| i.name().into()).collect();
    let tensors = names.into_iter().zip(values).map(|(name, value)| TensorProto {
        name: Some(name),
        dims: value.dims().iter().map(|d| *d as i64).collect(),
        data_type: Elem::ALL.into_iter().find(|e| *e == value.elem()).map(data_type),
        raw_data: Some(value.bytes().clone()),
        ..Default::default()
    });
    let tensors: Vec<_> = tensors.collect();
    if let Some(graph) = &mut case.model.graph {
        graph.initializer.extend(tensors);
    }
}

/// ONNX's number of an element type.
fn data_type(elem: Elem) -> i32 {
    (1..=26).find(|n| trine::import::elem(*n) == Ok(elem)).expect("test data came from ONNX")
}
