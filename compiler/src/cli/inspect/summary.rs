//! A module in figures: its signature, its parameters, its ops, and which of its layers are ternary.

use std::fmt;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};
use trine::Module;
use trine::pass::{Driver, Pipeline};
use trine::passes::{BEFORE_LOWERING, LEVELS};
use trine::ternarize::Layer;
use trine_ir::{Kind, Op, Type};

use crate::cli::columns;
use crate::cli::failure::Failure;

pub struct Summary {
    inputs: Vec<(String, Type)>,
    outputs: Vec<(String, Type)>,
    /// Parameters and bytes by element type.
    parameters: IndexMap<&'static str, (usize, usize)>,
    tensors: usize,
    ops: Vec<(String, usize)>,
    ternary: Vec<Layer>,
    /// Matrix products and convolutions with constant weights that are not ternary, by weights, with their types.
    dense: Vec<(String, Type)>,
}

impl Summary {
    pub fn new(mut module: Module) -> Result<Summary, Failure> {
        let mut inputs = vec![];
        let mut outputs = vec![];
        if let Some(main) = module.main() {
            let port = |v: &trine_ir::Value| (main.graph.name(*v).to_string(), main.graph.ty(*v).clone());
            inputs = main.graph.params().iter().map(port).collect();
            outputs = main.graph.outputs().iter().map(port).collect();
        }
        let mut parameters: IndexMap<_, (usize, usize)> = IndexMap::new();
        for tensor in module.consts.values() {
            let (count, bytes) = parameters.entry(tensor.elem().name()).or_default();
            *count += tensor.len();
            *bytes += tensor.bytes().len();
        }
        let tensors = module.consts.len();
        let ops = tally(kinds(&module));
        let ternary = detect(&mut module)?;
        Ok(Summary { inputs, outputs, parameters, tensors, ops, ternary, dense: dense(&module) })
    }

    pub fn json(&self) -> Json {
        let ports = |ports: &[(String, Type)]| -> Vec<Json> {
            let dims = |ty: &Type| ty.dims.iter().map(dim).collect::<Vec<_>>();
            ports
                .iter()
                .map(|(name, ty)| json!({ "name": name, "elem": ty.elem.name(), "shape": dims(ty) }))
                .collect()
        };
        let parameters: Map<_, _> = self
            .parameters
            .iter()
            .map(|(elem, (count, bytes))| (elem.to_string(), json!({ "count": count, "bytes": bytes })))
            .collect();
        let ternary: Vec<_> = self
            .ternary
            .iter()
            .map(|l| {
                json!({
                    "weights": l.weights, "shape": [l.n, l.k], "group": l.group, "found": l.method,
                    "zeros": l.zeros, "bits_per_weight": l.bits,
                })
            })
            .collect();
        let dense: Vec<_> =
            self.dense.iter().map(|(name, ty)| json!({ "weights": name, "type": ty.to_string() })).collect();
        json!({
            "inputs": ports(&self.inputs),
            "outputs": ports(&self.outputs),
            "parameters": parameters,
            "ops": counted(&self.ops),
            "ternary": ternary,
            "dense": dense,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (title, ports) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            writeln!(f, "{title}")?;
            for (name, ty) in ports {
                writeln!(f, "  {}: {ty}", name.escape_debug())?;
            }
        }
        let (count, bytes) =
            self.parameters.values().fold((0, 0), |(c, b), (count, bytes)| (c + count, b + bytes));
        let types: Vec<_> =
            self.parameters.iter().map(|(elem, (count, _))| format!("{elem} {count}")).collect();
        writeln!(f, "parameters\n  {count} in {} tensors, {}", self.tensors, size(bytes))?;
        if types.len() > 1 {
            writeln!(f, "  {}", types.join(", "))?;
        }
        write!(f, "ops, as imported\n{}", words(&self.ops))?;
        writeln!(f, "ternary layers: {} of {}", self.ternary.len(), self.ternary.len() + self.dense.len())?;
        for layer in &self.ternary {
            writeln!(f, "  {layer}")?;
        }
        if !self.dense.is_empty() && !self.ternary.is_empty() {
            writeln!(f, "not ternary")?;
            for (name, ty) in &self.dense {
                writeln!(f, "  `@{}` {ty}", name.escape_debug())?;
            }
        }
        Ok(())
    }
}

/// Runs the default passes as far as ternary layers are found, and says which were.
fn detect(module: &mut Module) -> Result<Vec<Layer>, Failure> {
    let level = LEVELS.len() as u8 - 1;
    let mut pipeline = Pipeline::level(level).map_err(trine::Error::from)?;
    if let Some(end) = pipeline.0.iter().position(|s| BEFORE_LOWERING.contains(&s.pass.name)) {
        pipeline.0.truncate(end);
    }
    let report = Driver::new().run(&pipeline, module).map_err(trine::Error::from)?;
    Ok(report.steps.into_iter().flat_map(|s| s.layers).collect())
}

fn dense(module: &Module) -> Vec<(String, Type)> {
    let mut dense = vec![];
    for function in module.functions.values() {
        let graph = &function.graph;
        for node in graph.order() {
            let weights = match graph.op(node) {
                Some(Op::Matmul(_) | Op::Conv(_) | Op::ConvTranspose(_)) => graph.operand(node, 1),
                _ => None,
            };
            if let Some((v, key)) = weights.and_then(|v| Some((v, graph.const_key(v)?))) {
                dense.push((key.to_string(), graph.ty(v).clone()));
            }
        }
    }
    dense
}

fn kinds(module: &Module) -> Vec<String> {
    let graphs = module.functions.values().map(|f| &f.graph);
    let kinds = graphs.flat_map(|g| g.order().into_iter().filter_map(|n| g.kind(n)).collect::<Vec<Kind>>());
    kinds.map(|k| k.mnemonic().to_string()).collect()
}

/// How often each word occurs, the most frequent first.
pub fn tally(words: impl IntoIterator<Item = String>) -> Vec<(String, usize)> {
    let mut counts: IndexMap<String, usize> = IndexMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    counts.sort_by(|a, n, b, m| m.cmp(n).then(a.cmp(b)));
    counts.into_iter().collect()
}

pub fn counted(words: &[(String, usize)]) -> Json {
    words.iter().map(|(word, count)| (word.clone(), json!(count))).collect::<Map<_, _>>().into()
}

/// Counts and words, in lines.
pub fn words(words: &[(String, usize)]) -> String {
    let last = words.len().saturating_sub(1);
    let comma = |i: usize| if i < last { "," } else { "" };
    // A count and its word stay on one line.
    let words =
        words.iter().enumerate().map(|(i, (word, n))| format!("{n} {}{}", word.escape_debug(), comma(i)));
    columns(words)
}

/// A dimension as a number where it is one.
fn dim(dim: &trine_ir::Dim) -> Json {
    dim.as_const().map_or_else(|| json!(dim.to_string()), |n| json!(n))
}

fn size(bytes: usize) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB"];
    let power = (0..units.len()).rev().find(|p| bytes >= 1 << (10 * p)).unwrap_or(0);
    match power {
        0 => format!("{bytes} bytes"),
        _ => format!("{:.1} {}", bytes as f64 / f64::from(1 << (10 * power)), units[power]),
    }
}
