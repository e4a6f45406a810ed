//! Why each layer became what it is: the op that passes made of it, or the rules that nearly did more and their reasons.
//!
//! Passes say which ops they make and where a rule matched and was refused. Both carry the ONNX node that they are about,
//! so that what happened to a node can be told from its ops before the first pass, after each, and after the last.

use std::fmt;

use indexmap::{IndexMap, IndexSet};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use serde::Serialize;
use trine_ir::{Graph, Kind, Module, NodeId, Type, Value};

use crate::pass::{Driver, Dump, PassError, Pipeline};
use crate::passes::BEFORE_LOWERING;
use crate::pattern::Scope;
use crate::serialize::as_text;
use trine_ternarize::Layer;

/// What a layer is to a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Products and convolutions with constant weights.
    Linear,
    Recurrent,
    Norm,
    Attention,
    Activation,
    Other,
}

/// A rule that matched and was refused.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
pub struct Miss {
    pub pass: &'static str,
    pub rule: &'static str,
    pub reason: String,
}

/// The op that a layer was recognised as.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
pub struct Became {
    /// The op with its attributes, as text prints them.
    pub op: String,
    /// The pass that made it; none where the model says so itself.
    pub pass: Option<&'static str>,
}

/// A layer and its fate.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Fate {
    pub family: Family,
    /// The ONNX node, or the value where the model is text.
    pub node: String,
    /// Its operator, as the model calls it.
    pub op_type: String,
    /// The constant that a linear layer multiplies by.
    pub weights: Option<Weights>,
    /// What it was recognised as.
    pub became: Option<Became>,
    /// How its weights are ternary.
    #[serde(rename = "ternary")]
    pub layer: Option<Layer>,
    /// What nearly happened, and did not.
    pub misses: Vec<Miss>,
}

/// A constant.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Weights {
    pub name: String,
    #[serde(rename = "type", serialize_with = "as_text")]
    pub ty: Type,
}

impl Fate {
    /// What the layer became, after its name.
    pub fn outcome(&self) -> String {
        let mut text = match &self.weights {
            Some(weights) => format!(", weights {}: ", weights.ty),
            None => ": ".into(),
        };
        match &self.became {
            Some(became) => {
                text += &became.op;
                text += &became.pass.map_or(", as the model says".into(), |pass| format!(", by {pass}"));
            }
            None => text += "stays as it is",
        }
        if let Some(layer) = &self.layer {
            text += &format!(", {}, {:.2} bits a weight", layer.method, layer.bits);
        }
        text
    }

    /// What kept the layer from more, a line each. Of a norm that one rule recognised, what others missed tells nothing new.
    pub fn reasons(&self) -> String {
        let is_told = self.became.is_none() || self.family == Family::Linear;
        let misses = self.misses.iter().filter(|_| is_told);
        misses.map(|m| format!("      {} does not apply: {}\n", m.rule, m.reason)).collect()
    }

    /// The layer under another name, as of several that differ in their numbers alone.
    pub fn told_as(&self, name: &str) -> String {
        let (name, op_type) = (name.escape_debug(), self.op_type.escape_debug());
        format!("`{name}` ({op_type}){}\n{}", self.outcome(), self.reasons())
    }
}

/// A line for what the layer became, and one for each rule that nearly matched.
impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.told_as(&self.node))
    }
}

/// Runs a pipeline, and says what became of each layer that it recognised, in the order of the model.
pub fn explain(module: &mut Module, pipeline: &Pipeline) -> Result<Vec<Fate>, PassError> {
    let (mut pipeline, mut lowering) = (pipeline.clone(), Pipeline::default());
    if let Some(end) = pipeline.0.iter().position(|s| BEFORE_LOWERING.contains(&s.pass.name)) {
        lowering.0 = pipeline.0.split_off(end);
    }
    let mut fates = imported(module);
    let mut before = made(module);
    let mut makers: FxHashMap<Made, &'static str> = FxHashMap::default();
    let note = |dump: Dump| {
        let after = made(dump.module);
        for op in after.difference(&before) {
            makers.insert(op.clone(), dump.report.pass);
        }
        before = after;
    };
    let report = Driver::new().print_after("all", note).run(&pipeline, module)?;
    let layers = || report.steps.iter().flat_map(|s| &s.layers);
    for op in made(module) {
        // A node that became several ops has a fate for each.
        let is_free = |key: &String| fates.get(key).is_none_or(|fate| fate.became.is_none());
        let mut keys = std::iter::once(op.node.clone()).chain((1..).map(|i| format!("{}\0{i}", op.node)));
        let Some(key) = keys.find(is_free) else { continue };
        let fate = fates.entry(key).or_insert_with(|| Fate::new(&op.node, &op.op_type));
        if fate.family != Family::Linear {
            fate.family = family_of(op.kind);
        }
        fate.became = Some(Became { pass: makers.get(&op).copied(), op: op.text });
        fate.layer = op.weights.and_then(|name| layers().find(|l| l.weights == name).cloned());
    }
    for (pass, miss) in report.near_misses() {
        let (node, op_type) = match (&miss.place.loc, miss.place.op) {
            (Some(loc), _) => (&*loc.node, &*loc.op_type),
            (None, kind) => (&*miss.place.value, kind.map_or("", Kind::mnemonic)),
        };
        let fate = fates.entry(node.into()).or_insert_with(|| Fate::new(node, op_type));
        if fate.family == Family::Other {
            fate.family = family_of_pass(pass);
        }
        let miss = Miss { pass, rule: miss.rule, reason: miss.reason.clone() };
        if !fate.misses.contains(&miss) {
            fate.misses.push(miss);
        }
    }
    // What is left of neither name nor reason went into something larger, as a softmax into attention.
    let left: FxHashSet<String> = names(module).collect();
    fates.retain(|node, fate| fate.became.is_some() || !fate.misses.is_empty() || left.contains(node));
    Driver::new().run(&lowering, module)?;
    Ok(fates.into_values().collect())
}

/// The layers that a reader looks for by what the model says: products with constants, recurrent layers, softmax.
fn imported(module: &Module) -> IndexMap<String, Fate> {
    let mut fates = IndexMap::new();
    for function in module.functions.values() {
        let graph = &function.graph;
        let scope = Scope { graph, consts: &module.consts };
        for node in graph.order() {
            let family = match graph.kind(node) {
                Some(Kind::Matmul | Kind::Conv | Kind::ConvTranspose | Kind::MatmulInteger) => Family::Linear,
                Some(Kind::Rnn | Kind::Gru | Kind::Lstm) => Family::Recurrent,
                Some(Kind::Softmax | Kind::Attention) => Family::Attention,
                _ => continue,
            };
            let weights = graph.operand(node, 1).filter(|w| scope.is_known(*w));
            if family == Family::Linear && weights.is_none() {
                continue;
            }
            let (name, op_type) = known_as(graph, node);
            let mut fate = Fate { family, ..Fate::new(&name, &op_type) };
            let largest = |w| {
                scope.leaves(w).into_iter().max_by_key(|v| graph.ty(*v).count().and_then(|c| c.as_const()))
            };
            fate.weights = weights
                .and_then(largest)
                .and_then(|v| Some(Weights { name: graph.const_key(v)?.into(), ty: graph.ty(v).clone() }));
            fates.insert(name, fate);
        }
    }
    fates
}

/// An op that only a recogniser makes, or a model that already has it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Made {
    node: String,
    op_type: String,
    kind: Kind,
    text: String,
    weights: Option<String>,
}

fn made(module: &Module) -> IndexSet<Made, FxBuildHasher> {
    let mut all = IndexSet::default();
    for function in module.functions.values() {
        let graph = &function.graph;
        for id in graph.order() {
            let Some(op) = graph.op(id).filter(|op| family_of(op.kind()) != Family::Other) else { continue };
            let (node, op_type) = known_as(graph, id);
            // `Quantized::matmul` names the trits after the constant that held the weights.
            let trits = graph.operand(id, 1).and_then(|w| graph.const_key(w));
            let weights = trits.and_then(|key| key.strip_suffix(".trits")).map(String::from);
            let attrs = op.print_attrs().into_iter().map(|(name, value)| format!("{name}={value}"));
            let attrs = attrs.collect::<Vec<_>>().join(", ");
            let text = match attrs.is_empty() {
                true => op.kind().mnemonic().into(),
                false => format!("{} {{{attrs}}}", op.kind().mnemonic()),
            };
            all.insert(Made { node, op_type, kind: op.kind(), text, weights });
        }
    }
    all
}

/// What the ops of a module are known as.
fn names(module: &Module) -> impl Iterator<Item = String> {
    let graphs = module.functions.values().map(|f| &f.graph);
    graphs.flat_map(|g| g.order().into_iter().map(|node| known_as(g, node).0))
}

/// The ONNX node that an op came from and its operator, or the op's value and mnemonic where the model is text.
fn known_as(graph: &Graph, node: NodeId) -> (String, String) {
    match graph.loc(node) {
        Some(loc) => (loc.node.to_string(), loc.op_type.to_string()),
        None => {
            let mnemonic = graph.kind(node).map_or("", Kind::mnemonic);
            (graph.name(Value { node, result: 0 }).into(), mnemonic.into())
        }
    }
}

fn family_of(kind: Kind) -> Family {
    match kind {
        Kind::TernaryMatmul => Family::Linear,
        Kind::RmsNorm | Kind::LayerNorm => Family::Norm,
        Kind::Attention | Kind::CachedAttention | Kind::LinearAttention | Kind::Rotary => Family::Attention,
        Kind::Silu | Kind::Swish | Kind::Gelu | Kind::Mish | Kind::HardSwish => Family::Activation,
        _ => Family::Other,
    }
}

fn family_of_pass(pass: &str) -> Family {
    match pass {
        "detect-ternary" | "detect-integers" | "ternarize" | "quantize-activations" | "quantize-head" => {
            Family::Linear
        }
        "open-recurrent" | "ternarize-states" => Family::Recurrent,
        "recognize-norms" => Family::Norm,
        "recognize-attention" | "recognize-rotary" => Family::Attention,
        "recognize-activations" => Family::Activation,
        _ => Family::Other,
    }
}

impl Fate {
    fn new(node: &str, op_type: &str) -> Fate {
        Fate {
            family: Family::Other,
            node: node.into(),
            op_type: op_type.into(),
            weights: None,
            became: None,
            layer: None,
            misses: vec![],
        }
    }
}
