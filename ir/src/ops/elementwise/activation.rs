//! Activations: what networks put between linear layers.

use super::formulas::formulas;
use super::*;
use crate::attr_enum;
use crate::math;

attr_enum! {
    /// How `gelu` is computed.
    GeluForm {
        /// By the error function.
        Erf = "erf",
        /// By the approximation with tanh.
        Tanh = "tanh",
    }
}

formulas! {
    /// `x` from 0 on, `alpha · x` below.
    LeakyRelu = "leaky_relu" (x) { alpha: f32 } float { x.if_negative(x.constant(alpha.into()) * x, x) };
    /// `x` above `alpha`, else 0.
    ThresholdedRelu = "thresholded_relu" (x) { alpha: f32 } float {
        F::select(x.constant(alpha.into()).less(x), x, x.constant(0.0))
    };
    /// `x` from 0 on, `alpha · (e^x - 1)` below (arXiv 1511.07289).
    Elu = "elu" (x) { alpha: f32 } float { x.if_negative(x.constant(alpha.into()) * x.expm1(), x) };
    /// `gamma · elu(x)` (arXiv 1706.02515).
    Selu = "selu" (x) { alpha: f32, gamma: f32 } float {
        x.constant(gamma.into()) * x.if_negative(x.constant(alpha.into()) * x.expm1(), x)
    };
    /// `max(0, x) + min(0, alpha · (e^(x/alpha) - 1))` (arXiv 1704.07483).
    Celu = "celu" (x) { alpha: f32 } float {
        let (zero, alpha) = (x.constant(0.0), x.constant(alpha.into()));
        x.larger(zero) + (alpha * (x / alpha).expm1()).smaller(zero)
    };
    /// `alpha · x + beta`, at least 0 and at most 1.
    HardSigmoid = "hard_sigmoid" (x) { alpha: f32, beta: f32 } float {
        ramp(x * x.constant(alpha.into()) + x.constant(beta.into()))
    };
    /// `x · hard_sigmoid(x)` of `x / 6 + 1 / 2` (arXiv 1905.02244).
    HardSwish = "hard_swish" (x) {} float { x * ramp(x * x.constant(1.0 / 6.0) + x.constant(0.5)) };
    /// `x / (1 + |x|)`.
    Softsign = "softsign" (x) {} float { x / (x.constant(1.0) + x.abs()) };
    /// `x · tanh(softplus(x))` (arXiv 1908.08681).
    Mish = "mish" (x) {} float { x * math::softplus(x).tanh() };
    /// `x · sigmoid(x)` (arXiv 1702.03118).
    Silu = "silu" (x) {} float { x * math::sigmoid(x) };
    /// `x · sigmoid(alpha · x)` (arXiv 1710.05941).
    Swish = "swish" (x) { alpha: f32 } float { x * math::sigmoid(x.constant(alpha.into()) * x) };
    /// The sign of `x` where `|x| > threshold`, else 0, as -1, 0 or 1: of NaN 0. Thresholds that are uniform in [0, 1)
    /// make it `sign(x)` with probability `|x|` (HitNet, NeurIPS 2018).
    TernarySign = "ternary_sign" (x, threshold) {} float {
        let sign = x.if_negative(x.constant(-1.0), x.constant(1.0));
        F::select(threshold.less(x.abs()), sign, x.constant(0.0))
    };
    /// `x/2 · (1 + erf(x/√2))`, or `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))` (arXiv 1606.08415).
    Gelu = "gelu" (x) { form: GeluForm } float {
        let bend = match form {
            GeluForm::Erf => (x * x.constant(std::f64::consts::FRAC_1_SQRT_2)).erf(),
            GeluForm::Tanh => {
                let cubic = x + x.constant(0.044715) * (x * x * x);
                let root = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
                (x.constant(root) * cubic).tanh()
            }
        };
        x * x.constant(0.5) * (x.constant(1.0) + bend)
    };
}

/// At least 0 and at most 1.
fn ramp<F: Float>(x: F) -> F {
    x.larger(x.constant(0.0)).smaller(x.constant(1.0))
}
