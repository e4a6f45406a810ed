//! Recurrent layers opened: what depends on the input alone is one product in front of a `scan`, and each step is a
//! function of ordinary ops, so that whatever is true of linear layers holds for the gates too.
//!
//! A step computes in the order in which the layer itself does, so the bits stay.

mod cell;
mod layer;

use trine_ir::attr::SymbolRef;
use trine_ir::ops::{
    Abs, Add, Concat, Expand, Matmul, Mul, RandomUniform, ReduceMean, Reshape, Scan, Split, TernarySign,
};
use trine_ir::{Def, Dim, Function, FunctionKind, Graph, Kind, Literal, Module, NodeId, Type, Value};

use crate::pass::Cx;
use crate::pattern::{Refusal, Rewrite, refuse};

use cell::Cell;
use layer::{Layer, Weights};

/// Which layers are opened, and what becomes of their states.
#[derive(Clone, Copy, Default)]
pub struct Settings {
    /// Leaves layers alone none of whose weights are ternary as they stand.
    pub only_ternary: bool,
    pub hidden: Hidden,
    /// `λ` in the `σ(λx)` of gates.
    pub slope: Option<f32>,
}

/// What the state `h` of a layer is rounded to, in what it gives and in what the next step reads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Hidden {
    #[default]
    Keep,
    /// `sign(h)` where `|h| > 1/2`, else 0.
    Threshold,
    /// `sign(h)` where `|h| > 0.7·mean|h|` of the example, else 0, as `twn` rounds weights.
    Mean,
    /// `sign(h)` with probability `|h|`, else 0.
    Bernoulli { seed: u64 },
}

impl Settings {
    /// What the layers lose, if anything.
    fn describe(&self) -> Option<String> {
        let hidden = match self.hidden {
            Hidden::Keep => None,
            Hidden::Threshold => Some("ternary states by a threshold of 1/2".to_string()),
            Hidden::Mean => Some("ternary states by a threshold of 0.7 of their mean".to_string()),
            Hidden::Bernoulli { seed } => Some(format!("ternary states at random, seed {seed}")),
        };
        let slope = self.slope.map(|slope| format!("gates of slope {slope}"));
        let all: Vec<String> = [hidden, slope].into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// Opens every layer that `settings` want. Returns how many; refusals are told to `cx` in the name of `rule`.
pub fn open(module: &mut Module, cx: &mut Cx, rule: &'static str, settings: &Settings) -> usize {
    let (mut count, mut streams) = (0, 0);
    for name in module.functions.keys().cloned().collect::<Vec<_>>() {
        // Taken out, so that steps can become functions of the module meanwhile.
        let mut graph = std::mem::take(&mut module.functions[&name].graph);
        let is_layer = |node: &NodeId| matches!(graph.kind(*node), Some(Kind::Rnn | Kind::Gru | Kind::Lstm));
        for node in graph.order().into_iter().filter(is_layer).collect::<Vec<_>>() {
            let old: Vec<NodeId> = graph.order();
            match open_one(module, &mut graph, node, settings, &mut streams) {
                Ok(Some(opened)) => {
                    count += 1;
                    if let Some(lossy) = settings.describe() {
                        cx.note(format!("`%{opened}`: {lossy}"));
                    }
                }
                Ok(None) => continue,
                Err(refusal) => cx.miss(rule, &name, &graph, node, refusal),
            }
            let loc = graph.loc(node).cloned();
            for new in graph.order().into_iter().filter(|new| !old.contains(new)) {
                if matches!(graph.def(new), Def::Op(_)) {
                    graph.set_loc(new, loc.clone());
                }
            }
        }
        module.functions[&name].graph = graph;
    }
    count
}

/// Opens the layer that the node is, if it is one and wanted. Returns its name.
fn open_one(
    module: &mut Module,
    graph: &mut Graph,
    node: NodeId,
    settings: &Settings,
    streams: &mut usize,
) -> Result<Option<String>, Refusal> {
    let Some(layer) = Layer::read(&Rewrite::new(graph, &mut module.consts), node)? else { return Ok(None) };
    if settings.only_ternary && !layer.weights.iter().any(Weights::any_ternary) {
        return Ok(None);
    }
    let mut all = vec![];
    for direction in 0..layer.weights.len() {
        let stream = *streams;
        *streams += 1;
        let inputs =
            inputs(&mut Rewrite::new(graph, &mut module.consts), &layer, direction, settings, stream)?;
        let step = step(module, &layer, direction, settings)?;
        let body = module.add_function(&format!("{}_step", layer.name), step);
        let loop_ = repeat(module, graph, &layer, direction, body, &inputs)?;
        all.push(graph.results(loop_).collect::<Vec<_>>());
    }
    let mut g = Rewrite::new(graph, &mut module.consts);
    let (results, states) = (g.graph().results(node), all[0].len() - 1);
    for (i, old) in results.enumerate() {
        // The states come first in a scan, and last in a layer.
        let (source, axis) = if i == 0 { (states, 1) } else { (i - 1, 0) };
        let parts: Vec<Value> = all.iter().map(|results| results[source]).collect();
        let new = joined(&mut g, &parts, axis)?;
        if g.ty(new) != g.ty(old) {
            return refuse(format!("the type would change from {} to {}", g.ty(old), g.ty(new)));
        }
        g.replace(old, new)?;
    }
    Ok(Some(layer.name))
}

/// The operands of the loop of one direction: the initial states, what the gates get of the input, and random numbers.
fn inputs(
    g: &mut Rewrite,
    layer: &Layer,
    direction: usize,
    settings: &Settings,
    stream: usize,
) -> Result<Vec<Value>, Refusal> {
    let state = [layer.batch.clone(), Dim::constant(layer.hidden)];
    let mut inputs = vec![];
    for initial in layer.initial.iter().take(layer.states()) {
        inputs.push(match initial {
            Some(all) if layer.weights.len() == 1 => g.add(Reshape { shape: state.to_vec() }, &[*all])?,
            Some(all) => {
                let each = g.share(Split { axis: 0, sizes: vec![Dim::constant(1); 2] }, &[Some(*all)])?;
                let own = Value { node: each, result: direction as u32 };
                g.add(Reshape { shape: state.to_vec() }, &[own])?
            }
            None => {
                let zero = g.literal(Literal::F32(0.0));
                g.add(Expand { shape: state.to_vec() }, &[zero])?
            }
        });
    }
    let weights = &layer.weights[direction];
    let w = g.constant(&weights.name_w, weights.w.clone());
    let mut gates = g.add(Matmul { trans_b: true }, &[layer.x, w])?;
    if let Some(bias) = &weights.bias_w {
        let bias = g.constant(&format!("{}.bias", weights.name_w), bias.clone());
        gates = g.add(Add {}, &[gates, bias])?;
    }
    inputs.push(gates);
    if let Hidden::Bernoulli { seed } = settings.hidden {
        let mut dims = state.to_vec();
        dims.insert(0, layer.seq.clone());
        inputs.push(g.add(RandomUniform { seed, stream, dims }, &[])?);
    }
    Ok(inputs)
}

/// The function of one step: from states, the input's part of the gates and random numbers to states and `h`.
fn step(
    module: &mut Module,
    layer: &Layer,
    direction: usize,
    settings: &Settings,
) -> Result<Function, Refusal> {
    let mut graph = Graph::default();
    let of = |width: usize| Type {
        elem: trine_ir::Elem::F32,
        dims: vec![layer.batch.clone(), Dim::constant(width)],
    };
    let states: Vec<Value> =
        ["h", "c"].iter().take(layer.states()).map(|name| graph.param(name, of(layer.hidden))).collect();
    let gates = graph.param("gates", of(layer.gates() * layer.hidden));
    let draws = match settings.hidden {
        Hidden::Bernoulli { .. } => Some(graph.param("draws", of(layer.hidden))),
        Hidden::Keep | Hidden::Threshold | Hidden::Mean => None,
    };
    let mut g = Rewrite::new(&mut graph, &mut module.consts);
    let cell = Cell { layer, weights: &layer.weights[direction], slope: settings.slope };
    let (mut h, c) = cell.step(&mut g, states[0], states.get(1).copied(), gates)?;
    let threshold = match settings.hidden {
        Hidden::Keep => None,
        Hidden::Threshold => Some(g.literal(Literal::F32(0.5))),
        Hidden::Mean => {
            let magnitude = g.add(Abs {}, &[h])?;
            let mean = g.add(ReduceMean { axes: vec![1], keepdims: true }, &[magnitude])?;
            let share = g.literal(Literal::F32(0.7));
            Some(g.add(Mul {}, &[mean, share])?)
        }
        Hidden::Bernoulli { .. } => draws,
    };
    if let Some(threshold) = threshold {
        h = g.add(TernarySign {}, &[h, threshold])?;
    }
    graph.set_outputs([Some(h), c, Some(h)].into_iter().flatten().collect());
    Ok(Function { kind: FunctionKind::Graph, graph })
}

fn repeat(
    module: &Module,
    graph: &mut Graph,
    layer: &Layer,
    direction: usize,
    body: String,
    inputs: &[Value],
) -> Result<NodeId, Refusal> {
    let states = layer.states();
    let mut results: Vec<Type> = inputs[..states].iter().map(|v| graph.ty(*v).clone()).collect();
    let mut every = results[0].clone();
    every.dims.insert(0, layer.seq.clone());
    results.push(every);
    let (sequences, reverse) = (inputs.len() - states, layer.is_reversed(direction));
    let scan = Scan {
        body: SymbolRef(body),
        states,
        axes: vec![0; sequences],
        reverse: vec![reverse; sequences],
        out_axes: vec![0],
        out_reverse: vec![reverse],
        results,
    };
    let args: Vec<_> = inputs.iter().map(|v| Some(*v)).collect();
    Ok(graph.add_node(scan, &args, module)?)
}

/// The results of all directions, along a new axis.
fn joined(g: &mut Rewrite, parts: &[Value], axis: usize) -> Result<Value, Refusal> {
    let mut with_axis = vec![];
    for part in parts {
        let mut shape = g.ty(*part).dims.clone();
        shape.insert(axis, Dim::constant(1));
        with_axis.push(g.add(Reshape { shape }, &[*part])?);
    }
    match with_axis[..] {
        [one] => Ok(one),
        _ => Ok(g.add(Concat { axis }, &with_axis)?),
    }
}

impl Weights {
    /// Whether the weights on the input or those on the state are ternary as they stand.
    fn any_ternary(&self) -> bool {
        [&self.w, &self.r].into_iter().any(|w| {
            trine_ternarize::Matrix::of_filters(w)
                .is_some_and(|matrix| trine_ternarize::find(&matrix).is_some())
        })
    }
}
