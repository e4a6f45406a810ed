//! MaxPool and AveragePool.

use half::{bf16, f16};
use trine_ir::ops::{AveragePool, Cast, Div, Expand, IndexOrder, MaxPool, Pad, PadMode};
use trine_ir::{Dim, Elem, OpResult, Tensor, Value, bail};

use super::super::NodeCx;
use super::window::{Window, counts};

/// The node's MaxPool of `x`.
pub fn max_pool_of(cx: &mut NodeCx, x: Value) -> OpResult<Vec<Value>> {
    let (window, ceil) = read(cx, x)?;
    let order = match cx.attr_int("storage_order", 0)? {
        0 => IndexOrder::RowMajor,
        1 => IndexOrder::ColumnMajor,
        other => bail!("`storage_order` is {other}"),
    };
    let indices = cx.wants(1).then_some(order);
    let x = match window.open_pads(cx, x)? {
        Some(_) if indices.is_some() => {
            bail!("`auto_pad` leaves open where indices count from; fix the sizes of {} by `--dim`", cx.ty(x))
        }
        Some(pads) => {
            let least = cx.constant(least(cx.ty(x).elem)?);
            cx.add(Pad { mode: PadMode::Constant, pads }, &[x, least])?
        }
        None => x,
    };
    let Window { kernel, strides, pads, dilations } = window;
    cx.add_node(MaxPool { kernel, strides, pads, dilations, ceil, indices }, &[Some(x)])
}

/// The node's AveragePool of `x`.
pub fn average_pool_of(cx: &mut NodeCx, x: Value) -> OpResult<Vec<Value>> {
    let (window, ceil) = read(cx, x)?;
    let count_pads = cx.attr_bool("count_include_pad", false)?;
    let open = window.open_pads(cx, x)?;
    let Window { kernel, strides, pads, dilations } = window;
    let op = AveragePool { kernel, strides, pads, dilations, ceil, count_pads };
    let Some(pads) = open else { return cx.add_node(op, &[Some(x)]) };
    let mean = |cx: &mut NodeCx, x: Value| {
        let padded = cx.add_node(Pad { mode: PadMode::Constant, pads: pads.clone() }, &[Some(x)])?[0];
        cx.add(AveragePool { count_pads: true, ..op.clone() }, &[padded])
    };
    let of_all = mean(cx, x)?;
    if count_pads {
        return Ok(vec![of_all]);
    }
    // Pads are left out of the mean by the share of each window that is none.
    let ty = cx.ty(x);
    let one = cx.constant(Tensor::scalar(1f32));
    let one = if ty.elem == Elem::F32 { one } else { cx.add(Cast { to: ty.elem }, &[one])? };
    let shape = [&[Dim::constant(1), Dim::constant(1)], &ty.dims[2..]].concat();
    let ones = cx.add(Expand { shape }, &[one])?;
    let share = mean(cx, ones)?;
    Ok(vec![cx.add(Div {}, &[of_all, share])?])
}

/// The least value of a type.
fn least(elem: Elem) -> OpResult<Tensor> {
    Ok(match elem {
        Elem::F32 => Tensor::scalar(f32::NEG_INFINITY),
        Elem::F64 => Tensor::scalar(f64::NEG_INFINITY),
        Elem::F16 => Tensor::scalar(f16::NEG_INFINITY),
        Elem::Bf16 => Tensor::scalar(bf16::NEG_INFINITY),
        Elem::I8 => Tensor::scalar(i8::MIN),
        Elem::U8 => Tensor::scalar(u8::MIN),
        _ => bail!("no maxima of {elem} with `auto_pad` along axes of open size"),
    })
}

/// The windows, and whether the last one may stick out.
fn read(cx: &NodeCx, x: Value) -> OpResult<(Window, bool)> {
    let Some(shape) = cx.attr_ints("kernel_shape")? else { bail!("attribute `kernel_shape` is missing") };
    let kernel = counts(cx, "kernel_shape", shape.len(), 1)?;
    Ok((Window::of_node(cx, kernel, x)?, cx.attr_bool("ceil_mode", false)?))
}
