//! The linear layers of a model, in the order in which their inputs become known.
//!
//! Layers of one input (q, k and v; gate and up) are a stage: they share its statistics, and are rounded together.

use trine_ir::ops::Matmul;
use trine_ir::{MAIN, Module, NodeId, Op, Value};

use crate::layers;
use crate::passes::ternarize::glob;
use crate::pattern::Rewrite;
use trine_ternarize::Matrix;

use super::CalibrateError;
use super::steps::{self, Probe};

/// A product with known weights.
#[derive(Clone, Debug)]
pub struct Linear {
    /// The matmul.
    pub output: Value,
    /// The functions that it is in: `@main`, or the step of a loop and then the copies of that which probes run.
    pub functions: Vec<String>,
    /// The op of `@main` that computes it: the matmul, or the loop.
    pub site: NodeId,
    /// The constant that its weights come from.
    pub weights: String,
    /// The ONNX node that it was.
    pub node: String,
    pub op_type: String,
    pub n: usize,
    pub k: usize,
    pub trans_b: bool,
}

/// Layers that read the same value.
#[derive(Clone, Debug)]
pub struct Stage {
    pub input: Value,
    pub layers: Vec<Linear>,
}

impl Stage {
    /// What a stream moves on to: the input of the layers, and what it holds there.
    pub fn targets(&self, cut: &[Value]) -> Vec<Value> {
        [&[self.input], cut].concat()
    }
}

/// A layer that stays as it is, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub weights: String,
    pub n: usize,
    pub k: usize,
    /// Bits a weight of what stays.
    pub bits: f64,
    pub why: &'static str,
}

/// The layers to round and those to keep: the last layer and those whose weights match one of `keep`, in which `*`
/// stands for anything. `none` keeps nothing.
pub fn stages(
    module: &Module,
    probes: &[Probe],
    keep: &[String],
) -> Result<(Vec<Stage>, Vec<Kept>), CalibrateError> {
    let main = &module.main().ok_or(CalibrateError::NoLayers)?.graph;
    let mut products = steps::products(module, MAIN);
    let mut scratch = module.clone();
    // With the bits of those that are ternary as they stand.
    let mut found: Vec<(Value, Linear, Option<f64>)> = vec![];
    for site in main.order() {
        if products.first() == Some(&site) {
            products.remove(0);
            let functions = vec![MAIN.to_string()];
            found.extend(layer(&mut scratch, site, functions, site));
        }
        for probe in probes.iter().filter(|p| p.site == site) {
            // The layers of an input are in all copies, which give the inputs of later ones.
            let copies = probes.iter().filter(|p| p.site == site).map(|p| p.copy.clone());
            let functions: Vec<String> = std::iter::once(probe.body.clone()).chain(copies).collect();
            for node in steps::products(module, &probe.body) {
                let layer = layer(&mut scratch, node, functions.clone(), site);
                let own = layer.filter(|(x, ..)| *x == probe.input);
                found.extend(own.map(|(_, layer, bits)| (probe.seen, layer, bits)));
            }
        }
    }
    let last = found.len().checked_sub(1).ok_or(CalibrateError::NoLayers)?;
    let all = keep.iter().any(|k| k == "none");
    let (mut stages, mut kept): (Vec<Stage>, Vec<Kept>) = (vec![], vec![]);
    for (i, (input, layer, ternary)) in found.into_iter().enumerate() {
        let why = if ternary.is_some() {
            Some("ternary already")
        } else if keep.iter().any(|pattern| glob(pattern, &layer.weights)) {
            Some("kept by name")
        } else if i == last && !all && last > 0 {
            Some("the last layer")
        } else {
            None
        };
        if let Some(why) = why {
            let bits = ternary.unwrap_or(32.0);
            kept.push(Kept { weights: layer.weights, n: layer.n, k: layer.k, bits, why });
            continue;
        }
        match stages.iter_mut().find(|s| s.input == input) {
            Some(stage) => stage.layers.push(layer),
            None => stages.push(Stage { input, layers: vec![layer] }),
        }
    }
    Ok((stages, kept))
}

/// A product as a layer, with its input in its function, and the bits of its weights if they are ternary.
fn layer(
    scratch: &mut Module,
    node: NodeId,
    functions: Vec<String>,
    site: NodeId,
) -> Option<(Value, Linear, Option<f64>)> {
    let function = scratch.functions.get_mut(&functions[0])?;
    let g = Rewrite::new(&mut function.graph, &mut scratch.consts);
    let (x, w) = (g.graph().operand(node, Matmul::a)?, g.graph().operand(node, Matmul::b)?);
    let output = Value { node, result: 0 };
    let matrix = layers::weights(&g, output, w, true).ok()?;
    let Some(Op::Matmul(matmul)) = g.graph().op(node) else { return None };
    let loc = g.graph().loc(node);
    let layer = Linear {
        output,
        functions,
        site,
        weights: layers::weights_name(&g, w),
        node: loc.map_or(String::new(), |l| l.node.to_string()),
        op_type: loc.map_or(String::new(), |l| l.op_type.to_string()),
        n: matrix.n,
        k: matrix.k,
        trans_b: matmul.trans_b,
    };
    Some((x, layer, trine_ternarize::find(&matrix).map(|t| t.report("", "", &matrix).bits)))
}

/// The weights of a layer, a row an output.
pub fn matrix(module: &Module, layer: &Linear) -> Result<Matrix, CalibrateError> {
    let unreadable = |reason: String| CalibrateError::Weights { weights: layer.weights.clone(), reason };
    let mut scratch = module.clone();
    let function = scratch.functions.get_mut(&layer.functions[0]).ok_or(CalibrateError::NoLayers)?;
    let g = Rewrite::new(&mut function.graph, &mut scratch.consts);
    let w = g.graph().operand(layer.output.node, Matmul::b);
    let w = w.ok_or_else(|| unreadable("they are absent".into()))?;
    layers::weights(&g, layer.output, w, true).map_err(|r| unreadable(r.0))
}
