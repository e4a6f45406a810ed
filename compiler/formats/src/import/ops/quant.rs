//! Quantized arithmetic: products of integers, what quantizes their operands, and what scales their sums.

use trine_ir::Value;
use trine_ir::ops::DynamicQuantizeLinear;

use super::{Mapper, NodeCx};

mod linear;
mod product;

pub(super) use product::{centred, column, requantize, row_scale};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("" | "com.microsoft", "QuantizeLinear") => linear::quantize,
        ("" | "com.microsoft", "DequantizeLinear") => linear::dequantize,
        ("", "DynamicQuantizeLinear") => |cx| {
            let x = cx.input(0)?;
            cx.add_node(DynamicQuantizeLinear {}, &[Some(x)])
        },
        ("", "MatMulInteger") => product::matmul_integer,
        ("", "ConvInteger") => product::conv_integer,
        ("", "QLinearMatMul") => product::qlinear_matmul,
        ("", "QLinearConv") => product::qlinear_conv,
        _ => return None,
    })
}

/// Whether a value is one element that stands for all.
pub(super) fn is_single(cx: &NodeCx, v: Value) -> bool {
    cx.ty(v).dims.iter().all(|d| d.as_const() == Some(1))
}
