//! Functions of one float.

use super::formulas::formulas;
use super::*;
use crate::math;

formulas! {
    /// `√x`.
    Sqrt = "sqrt" (x) {} float { x.sqrt() };
    /// `1 / √x`.
    Rsqrt = "rsqrt" (x) {} float { x.constant(1.0) / x.sqrt() };
    /// `1 / x`.
    Reciprocal = "reciprocal" (x) {} float { x.constant(1.0) / x };
    /// The integer at or below `x`.
    Floor = "floor" (x) {} float { x.floor() };
    /// The integer at or above `x`.
    Ceil = "ceil" (x) {} float { x.ceil() };
    /// The nearest integer, halves to even.
    Round = "round" (x) {} float { x.round() };
    /// `e^x`.
    Exp = "exp" (x) {} float { x.exp() };
    /// The natural logarithm.
    Log = "log" (x) {} float { x.log() };
    /// The error function.
    Erf = "erf" (x) {} float { x.erf() };
    /// The hyperbolic tangent.
    Tanh = "tanh" (x) {} float { x.tanh() };
    /// `1 / (1 + e^-x)`.
    Sigmoid = "sigmoid" (x) {} float { math::sigmoid(x) };
    /// `log(1 + e^x)`.
    Softplus = "softplus" (x) {} float { math::softplus(x) };
}
