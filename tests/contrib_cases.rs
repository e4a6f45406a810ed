//! Nodes of onnxruntime's operator set beside what onnxruntime makes of them: interpreted, compiled and damaged.
//!
//! `cargo test --test contrib_cases -- FILTER` runs those whose name contains FILTER. `contrib/cases.py` writes the cases,
//! inputs and answers.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use half::f16;
use libtest_mimic::{Arguments, Failed, Trial};
use prost::Message;
use trine::import::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};
use trine::npz::Npz;
use trine::{Options, Session, SessionOptions};
use trine_ir::{Elem, Module, Tensor, eval, verify};

#[path = "support/caught.rs"]
mod caught;
#[path = "support/damage.rs"]
mod damage;
#[path = "support/feed.rs"]
mod feed;
#[path = "support/numbers.rs"]
mod numbers;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contrib/cases.npz");

struct Case {
    model: ModelProto,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    /// How far floats may be, over the largest, interpreted and compiled.
    off: [f32; 2],
}

/// How a case is tried.
type Way = fn(&Case) -> Result<(), String>;

fn main() {
    let cases = match cases(Path::new(CASES)) {
        Ok(cases) => cases,
        Err(message) => {
            eprintln!("{CASES}: {message}");
            std::process::exit(1);
        }
    };
    let ways: [(&str, Way); 3] = [("interpreted", interpreted), ("compiled", compiled), ("damaged", damaged)];
    let mut seen = BTreeSet::new();
    let trials = cases.into_iter().flat_map(|(name, case)| {
        // Damage takes long, and is done to one case of each kind.
        let is_new = seen.insert(kinds(&case.model));
        let case = Arc::new(case);
        let tried: Vec<_> = ways.into_iter().filter(|(way, _)| *way != "damaged" || is_new).collect();
        tried.into_iter().map(move |(way, run)| {
            let case = case.clone();
            Trial::test(format!("{name} {way}"), move || caught::caught(|| run(&case)).map_err(Failed::from))
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// The operators of a model with the names of their attributes.
fn kinds(model: &ModelProto) -> Vec<(String, Vec<String>)> {
    let kind = |node: &NodeProto| {
        let mut attributes: Vec<String> = node.attribute.iter().map(|a| a.name().into()).collect();
        attributes.sort();
        (node.op_type().to_string(), attributes)
    };
    model.graph.iter().flat_map(|g| &g.node).map(kind).collect()
}

fn cases(path: &Path) -> Result<Vec<(String, Case)>, String> {
    let mut npz = Npz::open(path).map_err(|e| e.to_string())?;
    let model = npz.get("cases").map_err(|e| e.to_string())?.ok_or("no array `cases`")?;
    let model = ModelProto::decode(model.bytes().clone()).map_err(|e| e.to_string())?;
    let nodes = model.graph.ok_or("no graph")?.node;
    nodes.into_iter().map(|node| Ok((node.name().to_string(), case(node)?))).collect()
}

fn case(node: NodeProto) -> Result<Case, String> {
    let attribute = |name: &str| {
        let found = node.attribute.iter().find(|a| a.name() == name);
        found.ok_or_else(|| format!("`{}` has no `{name}`", node.name()))
    };
    let tensors = |a: &AttributeProto| -> Result<Vec<Tensor>, String> {
        a.tensors.iter().map(|t| trine::import::tensor(t).map_err(|e| e.to_string())).collect()
    };
    let graph = attribute("graph")?.g.clone().ok_or("a case is a graph")?;
    let model = model(graph, attribute("opset")?.i());
    let off = attribute("off")?.floats.as_slice().try_into().map_err(|_| "a case has two distances")?;
    Ok(Case { model, inputs: tensors(attribute("in")?)?, outputs: tensors(attribute("out")?)?, off })
}

fn model(graph: GraphProto, opset: i64) -> ModelProto {
    let set =
        |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    ModelProto {
        ir_version: Some(10),
        opset_import: vec![set("", opset), set("com.microsoft", 1)],
        graph: Some(graph),
        ..Default::default()
    }
}

fn imported(case: &Case) -> Result<Module, String> {
    let bytes = case.model.encode_to_vec().into();
    let module = trine::import::import_bytes(bytes, None).map_err(|e| e.to_string())?;
    verify(&module).map_err(|e| e.to_string())?;
    Ok(module)
}

fn interpreted(case: &Case) -> Result<(), String> {
    let outputs = eval::run(&imported(case)?, case.inputs.clone()).map_err(|e| e.to_string())?;
    compare(&outputs, &case.outputs, case.off[0])
}

fn compiled(case: &Case) -> Result<(), String> {
    let (mut module, options) = (imported(case)?, Options::default());
    trine::optimize(&mut module, &options).map_err(|e| e.to_string())?;
    let program = Arc::new(trine::build_program(module, &options).map_err(|e| e.to_string())?);
    for threads in [1, 2] {
        let options = SessionOptions { threads, ..SessionOptions::default() };
        for make in [Session::new, Session::guarded] {
            let outputs = make(program.clone(), &options).run(&case.inputs).map_err(|e| e.to_string())?;
            compare(&outputs, &case.outputs, case.off[1]).map_err(|e| format!("on {threads} threads {e}"))?;
        }
    }
    Ok(())
}

/// Whatever is wrong with a case, there are results or an error.
fn damaged(case: &Case) -> Result<(), String> {
    damage::survived(&case.model, &case.inputs)
}

/// Integers are equal; floats are near, those of 16 bits as near as their steps are.
fn compare(got: &[Tensor], want: &[Tensor], off: f32) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{} outputs, not {}", got.len(), want.len()));
    }
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        if got.ty() != want.ty() {
            return Err(format!("output {i} is {}, not {}", got.ty(), want.ty()));
        }
        let most = match want.elem() {
            Elem::F32 => off,
            Elem::F16 => off.max(2e-3),
            _ if got == want => continue,
            _ => {
                let differing = got.bytes().iter().zip(want.bytes()).filter(|(a, b)| a != b).count();
                return Err(format!("output {i} differs in {differing} bytes of {}", want.bytes().len()));
            }
        };
        let distance = numbers::distance(&floats(got), &floats(want));
        if distance > most {
            return Err(format!("output {i} is {distance} off"));
        }
    }
    Ok(())
}

fn floats(t: &Tensor) -> Vec<f32> {
    match t.values::<f32>() {
        Ok(values) => values.to_vec(),
        Err(_) => t.values::<f16>().expect("floats").iter().map(|v| v.to_f32()).collect(),
    }
}
