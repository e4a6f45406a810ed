//! `matmul(x, W)  →  Σ_p ternary_matmul(x·c, t_p, scale_p) + bias` for layers that calibration has rounded.

use trine_ir::ops::Matmul;
use trine_ir::{Module, Stage, Tensor};

use super::{CalibrateError, Rounded, Weights};
use crate::layers::product;
use crate::pattern::{Refusal, Rewrite};

/// Puts rounded layers into the module that they were calibrated in, which becomes `ternary`. With `int8` the inputs of
/// ternary layers are rounded too.
pub fn apply(module: &mut Module, layers: &[Rounded], int8: bool) -> Result<(), CalibrateError> {
    for layer in layers {
        let function = module.functions.get_mut(&layer.function).ok_or(CalibrateError::NoLayers)?;
        let mut g = Rewrite::new(&mut function.graph, &mut module.consts);
        let fail = |r: Refusal| CalibrateError::Weights { weights: layer.name.clone(), reason: r.0 };
        replace(&mut g, layer, int8).map_err(fail)?;
    }
    module.stage = module.stage.max(Stage::Ternary);
    module.sweep();
    Ok(())
}

fn replace(g: &mut Rewrite, layer: &Rounded, int8: bool) -> Result<(), Refusal> {
    let node = layer.output.node;
    let x = g.graph().operand(node, Matmul::a).ok_or("the layer has no input")?;
    let y = match &layer.weights {
        Weights::Kept(_) => return Ok(()),
        Weights::Planes(planes) => product(planes, g, x, &layer.name, int8)?,
        Weights::Int8(weights) => {
            let dense = Tensor::from_vec(vec![layer.n, layer.k], weights.dequantized())?;
            let w = g.constant(&format!("{}.int8", layer.name), dense);
            g.add(Matmul { trans_b: true }, &[x, w])?
        }
    };
    let loc = g.graph().loc(node).cloned();
    g.set_loc(y, loc);
    g.replace(layer.output, y)
}
