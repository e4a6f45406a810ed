//! Ops that onnxruntime fuses exports into, domain `com.microsoft`, as compositions of ours.

use super::{Mapper, NodeCx, conv, layout, nn, quant, recurrent};

mod activation;
mod attention;
mod channels_last;
mod fourier;
mod fused;
mod gather_blocks;
mod group_norm;
mod group_query;
mod matmul;
mod merged_attention;
mod norm;
mod others;
mod quantized;
mod quantized_layers;
mod rotary;

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    if domain != "com.microsoft" {
        return None;
    }
    transformer(op_type).or_else(|| of_eight_bits(op_type)).or_else(|| other(op_type))
}

/// What transformers are fused into.
fn transformer(op_type: &str) -> Option<Mapper> {
    Some(match op_type {
        "FastGelu" => activation::fast_gelu,
        "QuickGelu" => activation::quick_gelu,
        "BiasGelu" => activation::bias_gelu,
        "Gelu" => activation::gelu,
        "SwiGLU" => others::swiglu,
        "BiasSplitGelu" => others::bias_split_gelu,
        "BiasAdd" => others::bias_add,
        "BiasSoftmax" => others::bias_softmax,
        "FusedMatMul" | "TransposeMatMul" => matmul::fused_matmul,
        "FusedMatMulActivation" => fused::fused_matmul_activation,
        "FusedGemm" => fused::fused_gemm,
        "MatMulNBits" => matmul::matmul_nbits,
        "GatherBlockQuantized" => gather_blocks::gather_block_quantized,
        "SkipLayerNormalization" => norm::skip_layer_normalization,
        "SkipSimplifiedLayerNormalization" => norm::skip_simplified_layer_normalization,
        "EmbedLayerNormalization" => norm::embed_layer_normalization,
        "SimplifiedLayerNormalization" => return nn::find("", op_type),
        "GroupNorm" => group_norm::group_norm,
        "SkipGroupNorm" => group_norm::skip_group_norm,
        "RotaryEmbedding" => rotary::rotary_embedding,
        "Attention" => merged_attention::attention,
        "MultiHeadAttention" => attention::multi_head_attention,
        "GroupQueryAttention" => group_query::group_query_attention,
        _ => return None,
    })
}

/// Ops on quantized tensors, and on floats that are quantized at run time.
fn of_eight_bits(op_type: &str) -> Option<Mapper> {
    Some(match op_type {
        "QAttention" => merged_attention::quantized_attention,
        "QEmbedLayerNormalization" => norm::quantized_embed_layer_normalization,
        "QGemm" => quantized_layers::qgemm,
        "QLinearConv" => quantized_layers::qlinear_conv,
        "QLinearAdd" => quantized::qlinear_add,
        "QLinearMul" => quantized::qlinear_mul,
        "QLinearSigmoid" => quantized::qlinear_sigmoid,
        "QLinearLeakyRelu" => quantized::qlinear_leaky_relu,
        "QLinearSoftmax" => quantized::qlinear_softmax,
        "QLinearReduceMean" => quantized::qlinear_reduce_mean,
        "QLinearConcat" => quantized::qlinear_concat,
        "QLinearWhere" => quantized::qlinear_where,
        "QLinearAveragePool" => channels_last::qlinear_average_pool,
        "QLinearGlobalAveragePool" => channels_last::qlinear_global_average_pool,
        "MatMulIntegerToFloat" => quantized_layers::matmul_integer_to_float,
        "DynamicQuantizeMatMul" => quantized_layers::dynamic_quantize_matmul,
        "DynamicQuantizeLSTM" => quantized_layers::dynamic_quantize_lstm,
        "MatMulInteger16" => others::matmul_integer_16,
        _ => return None,
    })
}

fn other(op_type: &str) -> Option<Mapper> {
    Some(match op_type {
        "FusedConv" => fused::fused_conv,
        "ConvTransposeWithDynamicPads" => fused::conv_transpose_with_pads,
        "NhwcConv" | "NhwcFusedConv" => channels_last::nhwc_conv,
        "NhwcMaxPool" => channels_last::nhwc_max_pool,
        "Rfft" => fourier::rfft,
        "Irfft" => fourier::irfft,
        "Inverse" => others::inverse,
        "Trilu" => others::trilu,
        "Pad" => others::pad,
        "ExpandDims" => others::expand_dims,
        "GatherND" => others::gather_nd,
        "Range" => others::range,
        "UnfoldTensor" => others::unfold_tensor,
        "CDist" => others::cdist,
        _ => return None,
    })
}
