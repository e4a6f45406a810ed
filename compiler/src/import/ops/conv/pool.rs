//! MaxPool and AveragePool.

use trine_ir::ops::{AveragePool, IndexOrder, MaxPool};
use trine_ir::{OpResult, Value, bail};

use super::super::NodeCx;
use super::window::{Window, counts};

pub fn max_pool(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let (window, ceil) = read(cx, x)?;
    let order = match cx.attr_int("storage_order", 0)? {
        0 => IndexOrder::RowMajor,
        1 => IndexOrder::ColumnMajor,
        other => bail!("`storage_order` is {other}"),
    };
    let indices = cx.wants(1).then_some(order);
    let sizes = window.sizes(cx, x, ceil)?;
    let Window { kernel, strides, pads, dilations } = window;
    cx.add_node(MaxPool { kernel, strides, pads, dilations, ceil, indices, sizes }, &[Some(x)])
}

pub fn average_pool(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let (window, ceil) = read(cx, x)?;
    let count_pads = cx.attr_bool("count_include_pad", false)?;
    let sizes = window.sizes(cx, x, ceil)?;
    let Window { kernel, strides, pads, dilations } = window;
    cx.add_node(AveragePool { kernel, strides, pads, dilations, ceil, count_pads, sizes }, &[Some(x)])
}

/// The windows, and whether the last one may stick out.
fn read(cx: &NodeCx, x: Value) -> OpResult<(Window, bool)> {
    let Some(shape) = cx.attr_ints("kernel_shape")? else { bail!("attribute `kernel_shape` is missing") };
    let kernel = counts(cx, "kernel_shape", shape.len(), 1)?;
    Ok((Window::of_node(cx, kernel, x)?, cx.attr_bool("ceil_mode", false)?))
}
