//! A module in figures: its signature, its parameters, its ops, and which of its layers are ternary.

use std::fmt::{self, Write};

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};
use trine::Module;
use trine::pass::{Driver, Pipeline};
use trine::passes::{BEFORE_LOWERING, LEVELS};
use trine::ternarize::Layer;
use trine_ir::ops::{Conv, Matmul};
use trine_ir::{Kind, Op, Type};

use crate::columns;
use crate::failure::Failure;
use crate::folded::{Folded, fold};

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
    /// Rules that matched and were refused.
    near_misses: usize,
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
        let (ternary, near_misses) = detect(&mut module)?;
        Ok(Summary { inputs, outputs, parameters, tensors, ops, ternary, dense: dense(&module), near_misses })
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
        let dense: Vec<_> =
            self.dense.iter().map(|(name, ty)| json!({ "weights": name, "type": ty.to_string() })).collect();
        json!({
            "inputs": ports(&self.inputs),
            "outputs": ports(&self.outputs),
            "parameters": parameters,
            "ops": counted(&self.ops),
            "ternary": self.ternary,
            "dense": dense,
            "near_misses": self.near_misses,
        })
    }
}

impl Summary {
    /// The figures as text; what differs in the numbers of its name alone is one line, but where all is asked for.
    pub fn write(&self, f: &mut impl Write, full: bool) -> fmt::Result {
        for (title, ports) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            writeln!(f, "{title}")?;
            let line =
                |times: String, name: &str, ty: &Type| format!("  {times}{}: {ty}\n", name.escape_debug());
            match full {
                true => {
                    ports.iter().try_for_each(|(name, ty)| f.write_str(&line(String::new(), name, ty)))?
                }
                false => fold(ports, |p| &p.0, |p| p.1.to_string())
                    .iter()
                    .try_for_each(|p| f.write_str(&line(p.times(), &p.name, &p.first().1)))?,
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
        match full {
            true => self.ternary.iter().try_for_each(|layer| writeln!(f, "  {layer}"))?,
            false => fold(&self.ternary, |l| &l.weights, |l| (l.n, l.k, l.group, l.planes, l.method.clone()))
                .iter()
                .try_for_each(|layers| writeln!(f, "  {}", together(layers)))?,
        }
        if !self.dense.is_empty() && !self.ternary.is_empty() {
            writeln!(f, "not ternary")?;
            let line =
                |times: String, name: &str, ty: &Type| format!("  {times}`@{}` {ty}\n", name.escape_debug());
            match full {
                true => self
                    .dense
                    .iter()
                    .try_for_each(|(name, ty)| f.write_str(&line(String::new(), name, ty)))?,
                false => fold(&self.dense, |d| &d.0, |d| d.1.to_string())
                    .iter()
                    .try_for_each(|d| f.write_str(&line(d.times(), &d.name, &d.first().1)))?,
            }
        }
        if self.near_misses > 0 {
            writeln!(f, "{} near misses of rules: `trine explain` tells them", self.near_misses)?;
        }
        Ok(())
    }
}

/// Layers of one shape that became ternary in one way: as one, with what they have on average.
fn together(layers: &Folded<&Layer>) -> String {
    let average =
        |of: fn(&Layer) -> f64| layers.things.iter().map(|l| of(l)).sum::<f64>() / layers.things.len() as f64;
    let (error, zeros, bits) = (average(|l| l.error), average(|l| l.zeros), average(|l| l.bits));
    let layer = Layer { weights: layers.name.clone(), error, zeros, bits, ..(*layers.first()).clone() };
    format!("{}{layer}", layers.times())
}

/// Runs the default passes as far as ternary layers are found, and says which were, and how many rules nearly matched.
fn detect(module: &mut Module) -> Result<(Vec<Layer>, usize), Failure> {
    let level = LEVELS.len() as u8 - 1;
    let mut pipeline = Pipeline::level(level)?;
    if let Some(end) = pipeline.0.iter().position(|s| BEFORE_LOWERING.contains(&s.pass.name)) {
        pipeline.0.truncate(end);
    }
    let report = Driver::new().run(&pipeline, module)?;
    let near_misses = report.near_misses().count();
    Ok((report.steps.into_iter().flat_map(|s| s.layers).collect(), near_misses))
}

fn dense(module: &Module) -> Vec<(String, Type)> {
    let mut dense = vec![];
    for function in module.functions.values() {
        let graph = &function.graph;
        for node in graph.order() {
            let weights = match graph.op(node) {
                Some(Op::Matmul(_)) => graph.operand(node, Matmul::b),
                Some(Op::Conv(_) | Op::ConvTranspose(_)) => graph.operand(node, Conv::w),
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

pub fn size(bytes: usize) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB"];
    let power = (0..units.len()).rev().find(|p| bytes >= 1 << (10 * p)).unwrap_or(0);
    match power {
        0 => format!("{bytes} bytes"),
        _ => format!("{:.1} {}", bytes as f64 / f64::from(1 << (10 * power)), units[power]),
    }
}
