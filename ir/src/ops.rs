//! The op set: one file a family under `ops/`, one line an op here.

use crate::dim::{Dim, DimEnv};
use crate::op::{Args, Context, OpDef, OpResult, Signatures, Sizes, Stage};
use crate::tensor::Tensor;
use crate::ty::Type;

mod attention;
mod blocks;
mod cached_attention;
mod col2im;
mod control;
mod conv;
mod deform_conv;
mod det;
mod einsum;
mod elementwise;
mod fourier;
mod grid_sample;
mod index;
mod int8;
mod inverse;
mod layout;
mod linear_attention;
mod lrn;
mod matmul;
mod norm;
mod pool;
mod quant;
mod quant_matmul;
mod random;
mod real;
mod recurrent;
mod reduce;
mod require;
mod resize;
mod roi;
mod rotary;
mod suppression;
mod ternary;
#[cfg(test)]
mod testing;
mod tf_idf;
mod window;

pub use attention::*;
pub use blocks::*;
pub use cached_attention::*;
pub use col2im::*;
pub use control::*;
pub use conv::*;
pub use deform_conv::*;
pub use det::*;
pub use einsum::*;
pub use elementwise::*;
pub use fourier::*;
pub use grid_sample::*;
pub use index::*;
pub use int8::*;
pub use inverse::*;
pub use layout::*;
pub use linear_attention::*;
pub use lrn::*;
pub use matmul::*;
pub use norm::*;
pub use pool::*;
pub use quant::*;
pub use quant_matmul::*;
pub use random::RandomUniform;
pub use recurrent::*;
pub use reduce::*;
pub use resize::*;
pub use roi::*;
pub use rotary::*;
pub use suppression::*;
pub use ternary::*;
pub use tf_idf::*;
pub use window::WindowAxis;

crate::op_set! {
    // elementwise
    Add, Sub, Mul, Div, Min, Max, Neg, Abs, Sign, Relu, PRelu, Pow, Mod,
    Sqrt, Rsqrt, Reciprocal, Floor, Ceil, Round, Exp, Log, Erf, Tanh, Sigmoid, Softplus,
    Sin, Cos, Tan, Asin, Acos, Atan, Sinh, Cosh, Asinh, Acosh, Atanh,
    LeakyRelu, ThresholdedRelu, Elu, Selu, Celu, HardSigmoid, HardSwish, Softsign, Mish, Silu, Swish, Gelu, TernarySign,
    Equal, Greater, GreaterOrEqual, Less, LessOrEqual, And, Or, Xor, Not, IsNan, IsInf, Where, Clip, Cast, Dropout,
    BitAnd, BitOr, BitXor, BitNot, Shift, BitCast, Narrow,
    // reduce
    ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd, ReduceL1, ReduceL2, ReduceLogSum, ReduceLogSumExp,
    ReduceSumSquare, ReduceDynamic, ArgMax, ArgMin, CumSum, CumProd, Softmax, LogSoftmax, Hardmax, TopK, Unique,
    // matmul
    Matmul, Einsum, DequantizeBlocks, Det, Inverse,
    // norm
    RmsNorm, LayerNorm, Lrn,
    // attention
    Attention, CachedAttention, LinearAttention, Rotary,
    // layout
    Identity, Reshape, ReshapeDynamic, SqueezeDynamic, UnsqueezeDynamic, Transpose, Expand, ExpandDynamic, Tile, TileDynamic, Trilu,
    Slice, SliceDynamic, Concat, Split, SplitDynamic, Pad, PadDynamic, Shape, Size, Range,
    // index
    Gather, GatherElements, GatherNd, OneHot, NonZero, ScatterElements, ScatterNd, TensorScatter,
    TfIdf,
    // resize
    Resize, GridSample,
    // convolution
    Conv, ConvTranspose, DeformConv, Col2Im, MaxPool, AveragePool,
    // regions
    RoiAlign, MaxRoiPool, NonMaxSuppression,
    // quantization
    QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, MatmulInteger,
    // recurrent
    Rnn, Gru, Lstm,
    // random numbers
    RandomUniform,
    // spectra
    Dft, MelWeights,
    // ternary
    TernaryMatmul, QuantizeRows, SignSelect, GroupSum, Rescale,
    // int8 weights
    Int8Matmul, WeightProducts,
    // control
    Call, If, Loop, Scan,
}

/// The values of symbolic dimensions in an attribute.
fn resolve(dims: &[Dim], env: &DimEnv) -> OpResult<Vec<usize>> {
    dims.iter().map(|d| d.eval(env).ok_or_else(|| format!("no value for dimension `{d}`").into())).collect()
}
