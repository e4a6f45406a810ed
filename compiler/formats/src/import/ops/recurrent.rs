//! Recurrent layers. Ours take sequences first, so batches first are transposed.

use trine_ir::attr::Attr;
use trine_ir::ops::{Activation, Direction, Gru, Lstm, Rnn};
use trine_ir::{Op, OpResult, Value, bail};

use super::nn::transpose;
use super::{Mapper, NodeCx};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "RNN") => |cx| {
            let (direction, clip) = (direction(cx)?, cx.attr_float_opt("clip")?);
            let activations = activations(cx, direction, &["Tanh"])?;
            layer(cx, Rnn { direction, activations, clip }, None)
        },
        ("", "GRU") => |cx| {
            let (direction, clip) = (direction(cx)?, cx.attr_float_opt("clip")?);
            let activations = activations(cx, direction, &["Sigmoid", "Tanh"])?;
            let linear_before_reset = cx.attr_bool("linear_before_reset", false)?;
            layer(cx, Gru { direction, activations, clip, linear_before_reset }, None)
        },
        ("", "LSTM") => |cx| {
            let weights = (cx.input(1)?, cx.input(2)?);
            lstm(cx, weights)
        },
        _ => return None,
    })
}

/// An LSTM node with `weights` in the place of its own.
pub(super) fn lstm(cx: &mut NodeCx, weights: (Value, Value)) -> OpResult<Vec<Value>> {
    let (direction, clip) = (direction(cx)?, cx.attr_float_opt("clip")?);
    let activations = activations(cx, direction, &["Sigmoid", "Tanh", "Tanh"])?;
    let input_forget = cx.attr_bool("input_forget", false)?;
    layer(cx, Lstm { direction, activations, clip, input_forget }, Some(weights))
}

fn layer(cx: &mut NodeCx, op: impl Into<Op>, weights: Option<(Value, Value)>) -> OpResult<Vec<Value>> {
    let mut args: Vec<_> = (0..cx.input_count().min(8)).map(|i| cx.opt(i)).collect();
    if let (Some((w, r)), [_, of_w, of_r, ..]) = (weights, args.as_mut_slice()) {
        (*of_w, *of_r) = (Some(w), Some(r));
    }
    let batch_first = match cx.attr_int("layout", 0)? {
        0 => false,
        1 => true,
        other => bail!("`layout` is {other}"),
    };
    let r = args.get(2).copied().flatten().map(|r| cx.ty(r));
    let hidden = r.as_ref().and_then(|r| r.dims.last()).and_then(|d| d.as_const());
    if let (Some(stated), Some(hidden)) = (cx.attr_int_opt("hidden_size")?, hidden)
        && usize::try_from(stated) != Ok(hidden)
    {
        bail!("`hidden_size` is {stated}, but the weights are for {hidden}");
    }
    if batch_first {
        // `x`, `initial_h` and `initial_c`.
        for i in [0, 5, 6] {
            if let Some(Some(value)) = args.get_mut(i) {
                *value = transpose(cx, *value, &[1, 0, 2])?;
            }
        }
    }
    let mut results = cx.add_node(op, &args)?;
    if batch_first {
        for (i, value) in results.iter_mut().enumerate() {
            let perm: &[usize] = if i == 0 { &[2, 0, 1, 3] } else { &[1, 0, 2] };
            *value = transpose(cx, *value, perm)?;
        }
    }
    Ok(results)
}

fn direction(cx: &NodeCx) -> OpResult<Direction> {
    Ok(Direction::parse(cx.attr_str("direction", "forward")?)?)
}

/// The activations of the node, or `default` for each direction; parameters are given to those that take
/// any, in order.
fn activations(cx: &NodeCx, direction: Direction, default: &[&str]) -> OpResult<Vec<Activation>> {
    let names = match cx.attr_strs("activations")? {
        Some(names) => names,
        None => default.repeat(direction.count()),
    };
    let mut alphas = cx.attr_floats("activation_alpha")?.unwrap_or_default().iter().copied();
    let mut betas = cx.attr_floats("activation_beta")?.unwrap_or_default().iter().copied();
    let one = |name: &&str| {
        let plain = Activation::from_onnx(name, None, None);
        let parameters = plain.map_or(0, |a| a.parameters().len());
        let alpha = if parameters > 0 { alphas.next() } else { None };
        let beta = if parameters > 1 { betas.next() } else { None };
        match Activation::from_onnx(name, alpha, beta) {
            Some(activation) => Ok(activation),
            None => bail!("there is no activation `{}`", name.escape_debug()),
        }
    };
    names.iter().map(one).collect()
}
