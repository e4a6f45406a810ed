//! Quantized arithmetic: products of integers, what quantizes their operands, and what scales their sums.

use trine_ir::Value;
use trine_ir::ops::DynamicQuantizeLinear;

use super::{Mapper, NodeCx};

mod contrib;
mod linear;
mod product;

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
        ("com.microsoft", "MatMulIntegerToFloat") => contrib::matmul_integer_to_float,
        ("com.microsoft", "DynamicQuantizeMatMul") => contrib::dynamic_quantize_matmul,
        ("com.microsoft", "DynamicQuantizeLSTM") => contrib::dynamic_quantize_lstm,
        _ => return None,
    })
}

/// Whether a value is one element that stands for all.
fn is_single(cx: &NodeCx, v: Value) -> bool {
    cx.ty(v).dims.iter().all(|d| d.as_const() == Some(1))
}
