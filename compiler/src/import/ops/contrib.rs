//! Ops that onnxruntime fuses exports into, domain `com.microsoft`, as compositions of ours.

use super::{Mapper, NodeCx, nn};

mod activation;
mod attention;
mod group_query;
mod matmul;
mod norm;
mod rotary;

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("com.microsoft", "FastGelu") => activation::fast_gelu,
        ("com.microsoft", "QuickGelu") => activation::quick_gelu,
        ("com.microsoft", "BiasGelu") => activation::bias_gelu,
        ("com.microsoft", "Gelu") => activation::gelu,
        ("com.microsoft", "FusedMatMul") => matmul::fused_matmul,
        ("com.microsoft", "MatMulNBits") => matmul::matmul_nbits,
        ("com.microsoft", "SkipLayerNormalization") => norm::skip_layer_normalization,
        ("com.microsoft", "SkipSimplifiedLayerNormalization") => norm::skip_simplified_layer_normalization,
        ("com.microsoft", "EmbedLayerNormalization") => norm::embed_layer_normalization,
        ("com.microsoft", "SimplifiedLayerNormalization") => return nn::find("", op_type),
        ("com.microsoft", "RotaryEmbedding") => rotary::rotary_embedding,
        ("com.microsoft", "MultiHeadAttention") => attention::multi_head_attention,
        ("com.microsoft", "GroupQueryAttention") => group_query::group_query_attention,
        _ => return None,
    })
}
