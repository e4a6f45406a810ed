//! Graphs as files and as text, to look at and for other runtimes to run.

use std::fs;
use std::path::Path;

use prost::Message;
use trine::import::proto::{AttributeProto, GraphProto};
use trine::npz::{Npz, write_npz};
use trine_ir::{Module, Tensor, sidecar, text};

use crate::graphs::build::Case;
use crate::graphs::data::{numbers, of_values};
use crate::shrink::Failing;

/// Elements of a tensor that are shown.
const SHOWN: usize = 64;

/// Writes a model with the inputs of each run, and what `outputs` are.
pub fn model(folder: &Path, case: &Case, outputs: &[Vec<Tensor>]) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    fs::write(folder.join("model.onnx"), case.model.encode_to_vec()).map_err(|e| e.to_string())?;
    let none = Default::default();
    let graph = case.model.graph.as_ref().unwrap_or(&none);
    let (taken, given): (Vec<_>, Vec<_>) =
        (graph.input.iter().map(|i| i.name()).collect(), graph.output.iter().map(|o| o.name()).collect());
    for (i, inputs) in case.runs.iter().enumerate() {
        let named = taken.iter().copied().zip(inputs);
        write_npz(folder.join(format!("in{i}.npz")), named).map_err(|e| e.to_string())?;
    }
    for (i, outputs) in outputs.iter().enumerate() {
        let named = given.iter().copied().zip(outputs);
        write_npz(folder.join(format!("out{i}.npz")), named).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Writes a module with its inputs, so that another process can try it.
pub fn module(folder: &Path, failing: &Failing) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    let mut weights = vec![];
    sidecar::write(&failing.module, &mut weights).map_err(|e| e.to_string())?;
    fs::write(folder.join("case.ir"), text::print(&failing.module)).map_err(|e| e.to_string())?;
    fs::write(folder.join("case.safetensors"), weights).map_err(|e| e.to_string())?;
    let names = names(&failing.module);
    for (i, inputs) in failing.runs.iter().enumerate() {
        let named = names.iter().map(String::as_str).zip(inputs);
        write_npz(folder.join(format!("in{i}.npz")), named).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Reads what `module` wrote.
pub fn read(folder: &Path) -> Result<Failing, String> {
    let printed = fs::read_to_string(folder.join("case.ir")).map_err(|e| e.to_string())?;
    let weights = fs::read(folder.join("case.safetensors")).map_err(|e| e.to_string())?;
    let module = sidecar::parse(&printed, &weights.into()).map_err(|e| e.to_string())?;
    let mut runs = vec![];
    while let path = folder.join(format!("in{}.npz", runs.len()))
        && path.exists()
    {
        let mut npz = Npz::open(path).map_err(|e| e.to_string())?;
        let graph = &module.main().ok_or("no `@main`")?.graph;
        let mut tensors = vec![];
        for param in graph.params() {
            let name = graph.name(*param);
            let tensor = npz.get(name).map_err(|e| e.to_string())?.ok_or(format!("no `{name}`"))?;
            // Numpy lacks some types, of which the archive has wider ones.
            let elem = graph.ty(*param).elem;
            tensors.push(if tensor.elem() == elem {
                tensor
            } else {
                of_values(elem, tensor.dims(), &numbers(&tensor))
            });
        }
        runs.push(tensors);
    }
    Ok(Failing { module, runs })
}

/// A module as a filetest has it: what its inputs are, what constants hold, and the text.
pub fn shown(failing: &Failing) -> String {
    let mut out = String::new();
    for (run, inputs) in failing.runs.iter().enumerate() {
        for (name, tensor) in names(&failing.module).iter().zip(inputs) {
            out += &format!("// run {run}: const @{name}: {}\n", tensor_text(tensor));
        }
    }
    for (name, tensor) in &failing.module.consts {
        out += &format!("// @{name}: {}\n", tensor_text(tensor));
    }
    out + &text::print(&failing.module)
}

fn tensor_text(t: &Tensor) -> String {
    let all = numbers(t);
    let shown: Vec<String> = all.iter().take(SHOWN).map(f64::to_string).collect();
    format!("{} = [{}{}]", t.ty(), shown.join(","), if all.len() > SHOWN { ", …" } else { "" })
}

fn names(module: &Module) -> Vec<String> {
    module.main().map_or(vec![], |m| m.graph.params().iter().map(|p| m.graph.name(*p).to_string()).collect())
}

/// The model's nodes, a line each.
pub fn nodes(graph: &GraphProto) -> String {
    let mut out = String::new();
    for node in &graph.node {
        let attributes: Vec<String> = node.attribute.iter().map(attribute).collect();
        let domain = if node.domain().is_empty() { String::new() } else { format!("{}.", node.domain()) };
        out += &format!(
            "  {} = {domain}{}({}) {{{}}}\n",
            node.output.join(", "),
            node.op_type(),
            node.input.join(", "),
            attributes.join(", ")
        );
    }
    out
}

fn attribute(a: &AttributeProto) -> String {
    let value = match (&a.i, &a.f, &a.s, &a.t, &a.g) {
        (Some(i), ..) => i.to_string(),
        (_, Some(f), ..) => format!("{f:?}"),
        (_, _, Some(s), ..) => String::from_utf8_lossy(s).into_owned(),
        (_, _, _, Some(t), _) => format!("a tensor of {:?}", t.dims),
        (.., Some(g)) => format!("[\n{}]", nodes(g)),
        _ if !a.strings.is_empty() => format!("{:?}", a.strings),
        _ if !a.floats.is_empty() => format!("{:?}", a.floats),
        _ => format!("{:?}", a.ints),
    };
    format!("{}: {value}", a.name())
}
