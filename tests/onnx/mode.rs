//! The ways in which a case is run; each must give the same outputs.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use trine::import::proto::TensorProto;
use trine::{Options, Program, Session, SessionOptions};
use trine_ir::{Elem, Module, Tensor, eval, sidecar, text, verify};

use crate::case::{self, Case};
use crate::compare::compare;
use crate::coverage::Coverage;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As imported, by the reference interpreter.
    Interpreted,
    /// Printed, with the weights beside it, parsed back, verified, and interpreted.
    Text,
    /// Optimised as far as the default goes, compiled, and run as a program.
    Jit,
    /// With all inputs given as initializers, so that what is computed from them is known at import.
    Constant,
}

impl Mode {
    pub const ALL: [Mode; 4] = [Mode::Interpreted, Mode::Text, Mode::Jit, Mode::Constant];

    pub fn name(self) -> &'static str {
        match self {
            Mode::Interpreted => "interpreted",
            Mode::Text => "text",
            Mode::Jit => "jit",
            Mode::Constant => "constant",
        }
    }

    /// Runs all data sets of the case, and says how far it is compiled where it is; the message says what differs.
    pub fn run(self, case: &Case) -> Result<Option<Coverage>, String> {
        match self {
            Mode::Interpreted => interpret(case, &import(case)?)?,
            Mode::Text => interpret(case, &reparsed(&import(case)?)?)?,
            Mode::Jit => {
                let program = compiled(import(case)?)?;
                let run = |inputs: Vec<Tensor>| {
                    let options = SessionOptions { threads: 2, ..SessionOptions::default() };
                    let [plain, guarded] = [Session::new, Session::guarded]
                        .map(|make| make(program.clone(), &options).run(&inputs).map_err(|e| e.to_string()));
                    match plain == guarded {
                        true => plain,
                        false => Err(format!("guarded memory changes {plain:?} to {guarded:?}")),
                    }
                };
                run_sets(case, run)?;
                return Ok(Some(Coverage::of(&program)));
            }
            Mode::Constant => {
                for set in &case.sets {
                    let mut fixed =
                        Case { model: case.model.clone(), folder: case.folder.clone(), sets: vec![] };
                    fix_inputs(&mut fixed, &set.inputs);
                    let outputs = eval::run(&import(&fixed)?, vec![]).map_err(|e| e.to_string())?;
                    compare(&outputs, &set.outputs)?;
                }
            }
        }
        Ok(None)
    }
}

fn interpret(case: &Case, module: &Module) -> Result<(), String> {
    run_sets(case, |inputs| eval::run(module, inputs).map_err(|e| e.to_string()))
}

fn run_sets(case: &Case, run: impl Fn(Vec<Tensor>) -> Result<Vec<Tensor>, String>) -> Result<(), String> {
    for (i, set) in case.sets.iter().enumerate() {
        let outputs = run(set.inputs.clone())?;
        compare(&outputs, &set.outputs).map_err(|e| format!("data set {i}: {e}"))?;
    }
    Ok(())
}

fn compiled(mut module: Module) -> Result<Arc<Program>, String> {
    let options = Options::default();
    trine::optimize(&mut module, &options).map_err(|e| e.to_string())?;
    let program = trine::build_program(module, &options).map_err(|e| e.to_string())?;
    Ok(Arc::new(program))
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
