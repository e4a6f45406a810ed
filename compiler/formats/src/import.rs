//! ONNX models into modules.
//!
//! The file is mapped and decoded in place, so weights are slices of it. Then the graph is lowered node by
//! node: `lower` keeps the names, `cx` is what a mapping of an op sees, `ops` holds the mappings, `shape` knows
//! the elements of computed shapes.

use std::path::Path;

use bytes::Bytes;
use indexmap::IndexMap;
use prost::Message;
use rustc_hash::FxHashSet;
use trine_ir::dim::Symbol;
use trine_ir::ops::Identity;
use trine_ir::{Def, Graph, MAIN, Module, Value};

mod call;
mod cx;
mod declared;
mod dims;
mod error;
mod external;
mod knowledge;
mod lower;
mod metadata;
mod model;
mod ops;
pub mod proto;
mod schema;
mod shape;
mod signature;
mod sort;
mod tensor;

pub use error::{ImportError, Unsupported, message};
pub use metadata::{Metadata, metadata, metadata_bytes};
pub use tensor::elem;

use crate::disk::map::Mapped;
use external::Files;
use knowledge::{Finding, Knowledge};
use lower::{Failure, Importer};
use model::Model;
use proto::{GraphProto, ModelProto, TensorProto, ValueInfoProto};

/// Reads the ONNX model at `path`, and files in its folder that hold its tensors.
///
/// Inputs that are also initializers are constants, not parameters, unless [`Given::fed`] names them. The weights stay in the mapped files,
/// which must not change while the module is used.
pub fn import(path: impl AsRef<Path>) -> Result<Module, ImportError> {
    Ok(import_mapped(path.as_ref(), Given::default())?.0)
}

/// What is known of the runs of a model when it is read.
#[derive(Clone, Copy, Default)]
pub struct Given<'a> {
    /// Sizes by the names of symbols.
    pub dims: &'a [(String, usize)],
    /// Inputs that are fed though the model has initializers for them.
    pub fed: &'a [String],
}

/// As [`import`], for the runs that are `given`; also gives the files that were mapped.
pub fn import_mapped(path: &Path, given: Given) -> Result<(Module, Vec<Mapped>), ImportError> {
    let file = open(path)?;
    let folder = path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    let proto = ModelProto::decode(file.bytes.clone())?;
    let files = Files::new(folder);
    let module = lower_model(&proto, &files, given)?;
    let mapped: Vec<_> = files.into_mapped().chain([file]).collect();
    unchanged(&mapped)?;
    Ok((module, mapped))
}

/// Reads an ONNX model from memory. `folder` is where tensors that lie in other files are looked for;
/// without it such tensors are an error.
pub fn import_bytes(model: Bytes, folder: Option<&Path>) -> Result<Module, ImportError> {
    import_bytes_for(model, folder, Given::default())
}

/// As [`import_bytes`], for the runs that are `given`.
pub fn import_bytes_for(model: Bytes, folder: Option<&Path>, given: Given) -> Result<Module, ImportError> {
    let proto = ModelProto::decode(model)?;
    let files = Files::new(folder);
    let module = lower_model(&proto, &files, given)?;
    unchanged(&files.into_mapped().collect::<Vec<_>>())?;
    Ok(module)
}

/// The file as it stands, for who wants to know what is in it. Tensors are slices of the mapped file.
pub fn read(path: impl AsRef<Path>) -> Result<ModelProto, ImportError> {
    Ok(ModelProto::decode(open(path.as_ref())?.bytes)?)
}

fn open(path: &Path) -> Result<Mapped, ImportError> {
    let followed = external::followed(path);
    Mapped::open(followed.as_deref().unwrap_or(path))
        .map_err(|source| ImportError::Io { path: path.into(), source })
}

/// Gives every tensor of a model its data, of those whose data lies in files of `folder` too.
pub fn take_in(model: &mut ModelProto, folder: Option<&Path>) -> Result<(), ImportError> {
    let files = Files::new(folder);
    model.graph.iter_mut().try_for_each(|graph| external::take_in(graph, &files))?;
    unchanged(&files.into_mapped().collect::<Vec<_>>())
}

/// Whether files are still what was mapped.
pub fn unchanged(files: &[Mapped]) -> Result<(), ImportError> {
    match files.iter().find(|file| !file.is_unchanged()) {
        Some(file) => Err(ImportError::Changed(file.path().into())),
        None => Ok(()),
    }
}

/// A single tensor, as the test data of models has it.
pub fn tensor(proto: &TensorProto) -> Result<trine_ir::Tensor, ImportError> {
    tensor::tensor(proto, &Files::new(None))
}

/// The tensor that a file of such test data holds, and its name if it has one.
pub fn tensor_file(bytes: Vec<u8>) -> Result<(Option<String>, trine_ir::Tensor), ImportError> {
    let proto = TensorProto::decode(Bytes::from(bytes))?;
    Ok((Some(proto.name().to_string()).filter(|name| !name.is_empty()), tensor(&proto)?))
}

/// Whether there is a mapping for an operator; `domain` is empty for ONNX's own.
pub fn supports(domain: &str, op_type: &str) -> bool {
    ops::find(domain, op_type).is_some()
}

/// How often a model is read again with what was learnt.
const MAX_READINGS: usize = 24;

/// The names of inputs that an ONNX model has initializers for, which are what they are unless they are fed.
pub fn defaults(path: impl AsRef<Path>) -> Result<Vec<String>, ImportError> {
    let model = read(path)?;
    Ok(model.graph.as_ref().map(initialized_inputs).unwrap_or_default())
}

fn initialized_inputs(graph: &GraphProto) -> Vec<String> {
    let given = signature::initialized(graph);
    graph.input.iter().map(|i| i.name()).filter(|name| given.contains(name)).map(String::from).collect()
}

fn lower_model(proto: &ModelProto, files: &Files, given: Given) -> Result<Module, ImportError> {
    let model = Model::new(proto)?;
    let none = GraphProto::default();
    let graph = proto.graph.as_ref().unwrap_or(&none);
    if graph.output.is_empty() {
        return Err(graph_error(graph, "there are no outputs".into()));
    }
    if let Some(name) = given.fed.iter().find(|name| !initialized_inputs(graph).contains(name)) {
        return Err(ImportError::NoDefault { name: name.clone() });
    }
    let mut knowledge = Knowledge::new(given.dims);
    let mut first_error = None;
    for _ in 0..MAX_READINGS {
        let (read, mut learnt) = read_once(&model, graph, files, given.fed, knowledge);
        match read {
            Ok(Reading { module, required, inputs }) => {
                if !learnt.learn(required, &inputs) {
                    return finish(module, graph, learnt);
                }
            }
            // Where the error of the way that is tried first stands, others are not what the model means.
            Err(error) if !learnt.choose_again() => return Err(first_error.unwrap_or(error)),
            Err(error) => first_error = first_error.or(Some(error)),
        }
        knowledge = learnt;
    }
    let message = "its sizes do not settle; fix some by `--dim NAME=SIZE`".into();
    Err(first_error.unwrap_or_else(|| graph_error(graph, message)))
}

/// A model as it was read with what was known then.
struct Reading {
    module: Module,
    required: Vec<Finding>,
    /// Symbols of the inputs.
    inputs: Vec<Symbol>,
}

fn read_once(
    model: &Model,
    graph: &GraphProto,
    files: &Files,
    fed: &[String],
    knowledge: Knowledge,
) -> (Result<Reading, ImportError>, Knowledge) {
    let mut importer = Importer::new(model, files, knowledge);
    importer.fed = fed;
    let open: FxHashSet<_> = signature::open_inputs(graph, fed).into_iter().collect();
    let inputs: Vec<&ValueInfoProto> = graph.input.iter().filter(|i| open.contains(i.name())).collect();
    let types = match signature::types(&inputs, &mut importer.symbols) {
        Ok(types) => types,
        Err(message) => return (Err(graph_error(graph, message)), importer.knowledge),
    };
    let unknown = importer.knowledge.given().find(|name| !importer.symbols.has(name)).cloned();
    if let Some(name) = unknown {
        let inputs: Vec<_> =
            inputs.iter().zip(&types).map(|(i, ty)| format!("`{}: {ty}`", i.name())).collect();
        let error = ImportError::NoDim { name: name.to_string(), inputs: inputs.join(", ") };
        return (Err(error), importer.knowledge);
    }
    importer.inputs = knowledge::symbols(types.iter());
    let built = importer.function(graph, types);
    let Importer { mut module, unsupported, required, inputs, knowledge, .. } = importer;
    if !unsupported.is_empty() {
        return (Err(ImportError::Unsupported(unsupported)), knowledge);
    }
    let read = match built {
        Ok((function, _)) => {
            module.functions.insert(MAIN.into(), function);
            Ok(Reading { module, required, inputs })
        }
        Err(Failure::Error(error)) => Err(error),
        Err(Failure::Unsupported) => unreachable!("what is unsupported is listed"),
    };
    (read, knowledge)
}

/// The module of a model that was read with all there is to know.
fn finish(mut module: Module, graph: &GraphProto, knowledge: Knowledge) -> Result<Module, ImportError> {
    let names: Vec<_> = graph.output.iter().map(|o| o.name()).collect();
    let main = &mut module.functions[MAIN].graph;
    name_outputs(main, &names).map_err(|message| graph_error(graph, message))?;
    knowledge.state(&mut module);
    module.functions.move_index(module.functions.len() - 1, 0);
    drop_unused(&mut module);
    module.sweep();
    trine_ir::verify(&module)?;
    Ok(module)
}

fn graph_error(graph: &GraphProto, message: String) -> ImportError {
    ImportError::Graph { graph: graph.name().into(), message }
}

/// Drops functions that `@main` does not reach: bodies that were built for other types than they now have.
fn drop_unused(module: &mut Module) {
    let mut reached = FxHashSet::from_iter([MAIN.to_string()]);
    let mut stack = vec![MAIN.to_string()];
    while let Some(function) = stack.pop().and_then(|name| module.functions.get(&name)) {
        for op in function.graph.order().into_iter().filter_map(|node| function.graph.op(node)) {
            stack.extend(op.callees().into_iter().filter(|callee| reached.insert(callee.clone())));
        }
    }
    module.functions.retain(|name, _| reached.contains(name));
}

/// Gives each output the name that the model has for it, on a value of its own.
fn name_outputs(graph: &mut Graph, names: &[&str]) -> Result<(), String> {
    let mut outputs: IndexMap<Value, &str> = IndexMap::new();
    let mut free: FxHashSet<&str> = names.iter().copied().collect();
    for (value, name) in graph.outputs().to_vec().into_iter().zip(names) {
        if !free.remove(name) {
            return Err(format!("output `{}` is listed twice", name.escape_debug()));
        }
        let own = match graph.def(value.node) {
            Def::Op(_) => true,
            // An input that is an output is both under one name.
            Def::Param { .. } => graph.name(value) == *name,
            Def::Const(_) | Def::Literal(_) => false,
        };
        let own = own && !outputs.contains_key(&value);
        let value = if own { value } else { graph.add(Identity {}, &[value]).map_err(|e| e.0)? };
        outputs.insert(value, name);
    }
    graph.set_outputs(outputs.keys().copied().collect());
    let taken: FxHashSet<_> = names.iter().copied().collect();
    for node in graph.order() {
        for value in graph.results(node) {
            // Nothing else may have an output's name; what has it takes another.
            if !outputs.contains_key(&value) && taken.contains(graph.name(value)) {
                let op = graph.kind(node).map_or("input", |k| k.mnemonic());
                graph.set_name(value, &format!("{}.{op}", graph.name(value)));
            }
        }
    }
    for (value, name) in outputs {
        graph.set_name(value, name);
    }
    Ok(())
}
