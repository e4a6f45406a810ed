//! Models with something wrong in them: every one of a list of damages, alone and with another one.
//!
//! Whatever is done to a model, importing it, printing it and running it give results or typed errors, in bounded
//! time. Damages are made for models of one node, but fit any.

use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use trine::import::proto::attribute_proto::AttributeType;
use trine::import::proto::tensor_shape_proto::{Dimension, dimension};
use trine::import::proto::{
    AttributeProto, GraphProto, ModelProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};
use trine::import::{ImportError, import_bytes};
use trine_ir::{Elem, Tensor, eval, sidecar, text, verify};

use crate::caught::caught;
use crate::feed;

/// One damaged model may take this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is done, and how.
type Damage = (String, Box<dyn Fn(&mut GraphProto)>);

/// Damages the model in every way there is; `given` are inputs that it runs on. The message says all that was not
/// survived.
pub fn survived(model: &ModelProto, given: &[Tensor]) -> Result<(), String> {
    let damages = damages(model, given);
    let mut failures = vec![];
    for (i, first) in damages.iter().enumerate() {
        // Any other one, a different one for each.
        let second = &damages[(i * 31 + 7) % damages.len()];
        for (what, done) in
            [(first.0.clone(), vec![first]), (format!("{}, {}", first.0, second.0), vec![first, second])]
        {
            let mut damaged = model.clone();
            let graph = damaged.graph.get_or_insert_default();
            done.iter().for_each(|(_, damage)| damage(graph));
            failures.extend(attempt(&damaged).err().map(|e| format!("{what}: {e}")));
        }
    }
    for version in [1, 6, 7, 9, 11, 13, 18, 21, 26] {
        let mut damaged = model.clone();
        damaged
            .opset_import
            .iter_mut()
            .filter(|o| o.domain().is_empty())
            .for_each(|o| o.version = Some(version));
        failures.extend(attempt(&damaged).err().map(|e| format!("opset {version}: {e}")));
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn attempt(model: &ModelProto) -> Result<(), String> {
    let start = Instant::now();
    let result = caught(|| import_and_run(model));
    match start.elapsed() {
        time if time > PATIENCE => Err(format!("took {time:?}")),
        _ => result,
    }
}

fn import_and_run(model: &ModelProto) -> Result<(), String> {
    let module = match import_bytes(model.encode_to_vec().into(), None) {
        Ok(module) => module,
        // By its own account no fault of the model.
        Err(ImportError::Verify(error)) => return Err(error.to_string()),
        Err(_) => return Ok(()),
    };
    let mut weights = vec![];
    sidecar::write(&module, &mut weights).map_err(|e| e.to_string())?;
    let printed = text::print(&module);
    let again = sidecar::parse(&printed, &weights.into()).map_err(|e| format!("{e} in\n{printed}"))?;
    verify(&again).map_err(|e| format!("{e} in\n{printed}"))?;
    for wild in [false, true] {
        if let Some(inputs) = feed::inputs(&module, wild) {
            // An error of the run is as good as results are.
            let _ = eval::run(&module, inputs);
        }
    }
    Ok(())
}

fn damages(model: &ModelProto, given: &[Tensor]) -> Vec<Damage> {
    let none = GraphProto::default();
    let graph = model.graph.as_ref().unwrap_or(&none);
    let mut all = vec![];
    let initialised = |name: &str| graph.initializer.iter().any(|t| t.name() == name);
    let open = graph.input.iter().map(|i| i.name()).filter(|name| !initialised(name));
    for (name, tensor) in open.clone().zip(given) {
        of_values(&mut all, name, tensor);
    }
    let constants = graph.initializer.iter().map(|t| t.name());
    for name in open.chain(constants) {
        of_input(&mut all, name);
    }
    for rank in 0..6 {
        all.push(damage(format!("all inputs of rank {rank}"), move |g| {
            let names: Vec<String> = g.input.iter().map(|i| i.name().to_string()).collect();
            names.iter().for_each(|name| retype(g, name, |t| t.shape = Some(shape(rank))));
        }));
    }
    for (n, node) in graph.node.iter().enumerate() {
        for attribute in &node.attribute {
            of_attribute(&mut all, n, attribute);
        }
        for added in odd_attributes() {
            let what =
                format!("{} = {:?}", added.name(), added.ints.iter().chain(&added.i).collect::<Vec<_>>());
            all.push(damage(what, move |g| g.node[n].attribute.insert(0, added.clone())));
        }
        all.push(damage("another output".into(), move |g| g.node[n].output.push("another".into())));
        all.push(damage("no outputs".into(), move |g| g.node[n].output.clear()));
        all.push(damage("no inputs".into(), move |g| g.node[n].input.clear()));
        all.push(damage("inputs twice".into(), move |g| {
            let inputs = g.node[n].input.clone();
            g.node[n].input.extend(inputs);
        }));
        all.push(damage("outputs all there".into(), move |g| {
            let named = |(i, name): (usize, &mut String)| {
                if name.is_empty() {
                    *name = format!("named{i}");
                }
            };
            g.node[n].output.iter_mut().enumerate().for_each(named);
        }));
    }
    all
}

/// Attributes that a node may or may not look at, with values that none should have.
fn odd_attributes() -> impl Iterator<Item = AttributeProto> {
    let int = |(name, value): &(&str, i64)| AttributeProto {
        name: Some((*name).into()),
        i: Some(*value),
        r#type: Some(AttributeType::Int as i32),
        ..Default::default()
    };
    let ints = |(name, values): &(&str, &[i64])| AttributeProto {
        name: Some((*name).into()),
        ints: values.to_vec(),
        r#type: Some(AttributeType::Ints as i32),
        ..Default::default()
    };
    ODD_INT.iter().map(int).chain(ODD_INTS.iter().map(ints))
}

const ODD_INT: &[(&str, i64)] = &[
    ("axis", -9),
    ("axis", 0),
    ("axis", i64::MIN),
    ("keepdims", 0),
    ("group", 0),
    ("block_size", i64::MAX),
    ("blocksize", i64::MAX),
    ("num_outputs", i64::MIN),
    ("batch_dims", 7),
    ("start", i64::MIN),
    ("end", i64::MAX),
    ("allowzero", 1),
    ("to", 99),
    ("q_num_heads", 0),
    ("training_mode", 1),
];

const ODD_INTS: &[(&str, &[i64])] = &[
    ("axes", &[]),
    ("axes", &[0, 0]),
    ("axes", &[i64::MAX]),
    ("perm", &[]),
    ("pads", &[-1, -1]),
    ("strides", &[0, 0]),
    ("dilations", &[0]),
    ("kernel_shape", &[i64::MAX, i64::MAX]),
    ("split", &[]),
];

/// What may be wrong with the type of an input, or of a constant that becomes one.
fn of_input(all: &mut Vec<Damage>, name: &str) {
    let mut add = |what: String, change: Box<dyn Fn(&mut type_proto::Tensor)>| {
        let owned = name.to_string();
        all.push(damage(format!("`{name}` {what}"), move |g| retype(g, &owned, &change)));
    };
    for rank in 0..6 {
        add(format!("of rank {rank}"), Box::new(move |t| t.shape = Some(shape(rank))));
    }
    let open = |value: fn(usize) -> Option<dimension::Value>| -> Box<dyn Fn(&mut type_proto::Tensor)> {
        Box::new(move |t| {
            let dims = t.shape.iter_mut().flat_map(|s| &mut s.dim).enumerate();
            dims.for_each(|(i, d)| d.value = value(i));
        })
    };
    add("of open dimensions".into(), open(|_| None));
    add(
        "of named dimensions".into(),
        open(|i| Some(dimension::Value::DimParam(["n", "m", "2*n", "n+m"][i % 4].into()))),
    );
    add("of dimensions 0".into(), open(|_| Some(dimension::Value::DimValue(0))));
    add("of giant dimensions".into(), open(|_| Some(dimension::Value::DimValue(i64::MAX))));
    add(
        "of one row less".into(),
        Box::new(|t| {
            if let Some(Dimension { value: Some(dimension::Value::DimValue(n)), .. }) =
                t.shape.iter_mut().find_map(|s| s.dim.first_mut())
            {
                *n -= 1;
            }
        }),
    );
    for (elem, data_type) in
        [("f32", 1), ("u8", 2), ("i8", 3), ("i64", 7), ("bool", 9), ("f16", 10), ("f64", 11), ("u4", 21)]
    {
        add(format!("of {elem}"), Box::new(move |t| t.elem_type = Some(data_type)));
    }
    let owned = name.to_string();
    all.push(damage(format!("`{name}` missing"), move |g| {
        let uses = g.node.iter_mut().flat_map(|n| &mut n.input).filter(|i| **i == owned);
        uses.for_each(|i| i.clear());
    }));
}

/// Constants in the place of an input: its own value, and odd ones.
fn of_values(all: &mut Vec<Damage>, name: &str, tensor: &Tensor) {
    let mut add = |what: String, bytes: Bytes, dims: Vec<i64>| {
        let constant = TensorProto {
            name: Some(name.into()),
            dims,
            data_type: (1..64).find(|n| trine::import::elem(*n) == Ok(tensor.elem())),
            raw_data: Some(bytes),
            ..Default::default()
        };
        all.push(damage(format!("`{name}` = {what}"), move |g| g.initializer.push(constant.clone())));
    };
    let dims: Vec<i64> = tensor.dims().iter().map(|d| *d as i64).collect();
    add("its value".into(), tensor.bytes().clone(), dims.clone());
    add("nothing".into(), Bytes::new(), vec![0]);
    add("its value, flat".into(), tensor.bytes().clone(), vec![tensor.len() as i64]);
    if tensor.elem() == Elem::I64 && tensor.len() < 64 {
        for value in [-1i64, 0, 1, 3, 99, 1 << 40, i64::MAX, i64::MIN] {
            add(format!("all {value}"), value.to_le_bytes().repeat(tensor.len()).into(), dims.clone());
            add(format!("{value}, alone"), value.to_le_bytes().to_vec().into(), vec![]);
            add(format!("{value}, thrice"), value.to_le_bytes().repeat(3).into(), vec![3]);
        }
    }
    if tensor.elem() == Elem::F32 && tensor.len() < 64 {
        for value in [f32::NAN, f32::INFINITY, 0.0, -1.0, 1e30] {
            add(format!("all {value}"), value.to_le_bytes().repeat(tensor.len()).into(), dims.clone());
        }
    }
}

fn of_attribute(all: &mut Vec<Damage>, node: usize, attribute: &AttributeProto) {
    let name = attribute.name().to_string();
    let mut add = |what: String, change: Box<dyn Fn(&mut AttributeProto)>| {
        let owned = name.clone();
        all.push(damage(format!("{name} {what}"), move |g| {
            g.node[node].attribute.iter_mut().filter(|a| a.name() == owned).for_each(&change);
        }));
    };
    add("gone".into(), Box::new(|a| a.name = Some("gone".into())));
    add("of the wrong type".into(), Box::new(|a| a.r#type = Some(AttributeType::Strings as i32)));
    add("of no type".into(), Box::new(|a| a.r#type = None));
    for value in [-99, -2, -1, 0, 1, 2, 5, 99, 1 << 40, i64::MAX, i64::MIN] {
        match attribute.r#type() {
            AttributeType::Int => add(format!("= {value}"), Box::new(move |a| a.i = Some(value))),
            AttributeType::Ints => {
                add(format!("all {value}"), Box::new(move |a| a.ints.fill(value)));
                add(format!("and {value}"), Box::new(move |a| a.ints.push(value)));
                add(
                    format!("first {value}"),
                    Box::new(move |a| a.ints.iter_mut().take(1).for_each(|i| *i = value)),
                );
            }
            _ => {}
        }
    }
    match attribute.r#type() {
        AttributeType::Ints => {
            add("empty".into(), Box::new(|a| a.ints.clear()));
            add("shorter".into(), Box::new(|a| a.ints.truncate(a.ints.len().saturating_sub(1))));
        }
        AttributeType::Float => {
            for value in [f32::NAN, f32::NEG_INFINITY, 0.0, -1.0] {
                add(format!("= {value}"), Box::new(move |a| a.f = Some(value)));
            }
        }
        AttributeType::String => {
            for value in ["", "none", "...", "ij,jk->ik", "\u{fffd}\n\"", "->"] {
                add(
                    format!("= {value:?}"),
                    Box::new(move |a| a.s = Some(Bytes::from_static(value.as_bytes()))),
                );
            }
            add("no text".into(), Box::new(|a| a.s = Some(Bytes::from_static(b"\xff\xfe"))));
        }
        AttributeType::Graph => {
            let change =
                |f: fn(&mut GraphProto)| Box::new(move |a: &mut AttributeProto| a.g.iter_mut().for_each(f));
            add("without inputs".into(), change(|g| g.input.clear()));
            add("without outputs".into(), change(|g| g.output.clear()));
            add("of fewer outputs".into(), change(|g| drop(g.output.pop())));
            add("without nodes".into(), change(|g| g.node.clear()));
            add("of more outputs".into(), change(|g| g.output.extend(g.output.clone().first().cloned())));
        }
        AttributeType::Tensor => {
            add(
                "of other dimensions".into(),
                Box::new(|a| a.t.iter_mut().for_each(|t| t.dims = vec![3, 0, 2])),
            );
            add(
                "of giant dimensions".into(),
                Box::new(|a| a.t.iter_mut().for_each(|t| t.dims.push(i64::MAX))),
            );
        }
        _ => {}
    }
}

fn damage(what: String, change: impl Fn(&mut GraphProto) + 'static) -> Damage {
    (what, Box::new(change))
}

/// Changes the type of the input `name`; a constant of that name becomes an input.
fn retype(graph: &mut GraphProto, name: &str, change: impl Fn(&mut type_proto::Tensor)) {
    if let Some(at) = graph.initializer.iter().position(|t| t.name() == name) {
        let constant = graph.initializer.remove(at);
        let dim = |n: &i64| Dimension { value: Some(dimension::Value::DimValue(*n)), ..Default::default() };
        let shape = TensorShapeProto { dim: constant.dims.iter().map(dim).collect() };
        let ty = type_proto::Tensor { elem_type: constant.data_type, shape: Some(shape) };
        graph.input.retain(|i| i.name() != name);
        graph.input.push(ValueInfoProto {
            name: constant.name,
            r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(ty)), ..Default::default() }),
            ..Default::default()
        });
    }
    let types = graph.input.iter_mut().filter(|i| i.name() == name).filter_map(|i| i.r#type.as_mut());
    for ty in types {
        if let Some(type_proto::Value::TensorType(tensor)) = &mut ty.value {
            change(tensor);
        }
    }
}

/// Some shape of this rank.
fn shape(rank: usize) -> TensorShapeProto {
    let dim = |n| Dimension { value: Some(dimension::Value::DimValue(n)), ..Default::default() };
    TensorShapeProto { dim: [2, 3, 1, 4, 5][..rank].iter().map(|n| dim(*n)).collect() }
}
