//! The linear layers of a model, in the order in which their inputs become known.
//!
//! Layers of one input (q, k and v; gate and up) are a stage: they share its statistics, and are rounded together.

use trine_ir::{Kind, Module, NodeId, Op, Value};

use crate::error::Error;
use crate::passes::ternarize::glob;
use crate::pattern::Rewrite;
use crate::ternarize::{self, Matrix};

use super::CalibrateError;

/// A product with known weights.
#[derive(Clone, Debug)]
pub struct Linear {
    /// The matmul.
    pub output: Value,
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
pub fn stages(module: &Module, keep: &[String]) -> Result<(Vec<Stage>, Vec<Kept>), Error> {
    let mut scratch = module.clone();
    let function = scratch.functions.get_mut(trine_ir::MAIN).ok_or(CalibrateError::NoLayers)?;
    let g = Rewrite::new(&mut function.graph, &mut scratch.consts);
    let mut products: Vec<NodeId> = g.graph().order();
    products.retain(|node| g.graph().kind(*node) == Some(Kind::Matmul));
    // With the bits of those that are ternary as they stand.
    let mut found: Vec<(Value, Linear, Option<f64>)> = vec![];
    for node in products {
        let operands = g.graph().operands(node);
        let (Some(x), Some(w)) = (operands[0], operands[1]) else { continue };
        let output = Value { node, result: 0 };
        if !g.scope().is_known(w) || g.scope().is_known(x) {
            continue;
        }
        let Ok(matrix) = ternarize::weights(&g, output, w, true) else { continue };
        let Some(Op::Matmul(matmul)) = g.graph().op(node) else { continue };
        let loc = g.graph().loc(node);
        found.push((
            x,
            Linear {
                output,
                weights: ternarize::weights_name(&g, w),
                node: loc.map_or(String::new(), |l| l.node.to_string()),
                op_type: loc.map_or(String::new(), |l| l.op_type.to_string()),
                n: matrix.n,
                k: matrix.k,
                trans_b: matmul.trans_b,
            },
            ternarize::find(&matrix).map(|t| t.report("", "", &matrix).bits),
        ));
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

/// The weights of a layer, a row an output.
pub fn matrix(module: &Module, layer: &Linear) -> Result<Matrix, Error> {
    let unreadable = |reason: String| CalibrateError::Weights { weights: layer.weights.clone(), reason };
    let mut scratch = module.clone();
    let function = scratch.functions.get_mut(trine_ir::MAIN).ok_or(CalibrateError::NoLayers)?;
    let g = Rewrite::new(&mut function.graph, &mut scratch.consts);
    let w = g.graph().operand(layer.output.node, 1).ok_or_else(|| unreadable("they are absent".into()))?;
    Ok(ternarize::weights(&g, layer.output, w, true).map_err(|r| unreadable(r.0))?)
}
