//! The ops of neural networks: products, norms, attention.

use super::{Mapper, NodeCx};

mod attention;
mod build;
mod einsum;
mod flex_attention;
mod linear_attention;
mod matmul;
mod norm;
mod norm_batch;
mod rotary;

pub(super) use attention::{default_scale, hide, merge_heads, present, split_heads, up_to};
pub(super) use build::*;
pub(super) use matmul::{gemm, scaled};
pub(super) use norm::{inverse_deviation, inverse_root_mean_square, layer_norm, rms_norm};
pub(super) use rotary::{gather_tables, rotary, rotary_of_part};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "MatMul") => matmul::matmul,
        ("", "Gemm") => matmul::gemm,
        ("", "Einsum") => einsum::einsum,
        ("", "LayerNormalization") => norm::layer_normalization,
        ("", "RMSNormalization" | "SimplifiedLayerNormalization") => norm::rms_normalization,
        ("", "InstanceNormalization") => norm::instance_normalization,
        ("", "GroupNormalization") => norm::group_normalization,
        ("", "LpNormalization") => norm::lp_normalization,
        ("", "LRN") => norm::lrn,
        ("", "MeanVarianceNormalization") => norm::mean_variance_normalization,
        ("", "BatchNormalization") => norm_batch::batch_normalization,
        ("", "Attention") => attention::attention,
        ("ai.onnx.preview", "FlexAttention") => flex_attention::flex_attention,
        ("", "RotaryEmbedding") => rotary::rotary_embedding,
        ("", "LinearAttention") => linear_attention::linear_attention,
        ("", "CausalConvWithState") => linear_attention::causal_conv_with_state,
        _ => return None,
    })
}
