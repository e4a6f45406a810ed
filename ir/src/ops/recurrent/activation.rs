//! The functions that recurrent layers apply to their gates.

use crate::attr::Attr;
use crate::math;
use crate::ops::real::Real;

/// An activation function of ONNX RNN, GRU and LSTM with its parameters; `scaled_tanh:1.0:0.5` in text.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Activation {
    Sigmoid,
    Tanh,
    Relu,
    Softsign,
    Softplus,
    /// `alpha·x + beta`.
    Affine(f32, f32),
    /// `x`, times `alpha` below 0.
    LeakyRelu(f32),
    /// `x` above `alpha`, else 0.
    ThresholdedRelu(f32),
    /// `alpha·tanh(beta·x)`.
    ScaledTanh(f32, f32),
    /// `alpha·x + beta` between 0 and 1.
    HardSigmoid(f32, f32),
    /// `x`, or `alpha·(exp(x) - 1)` below 0.
    Elu(f32),
}

impl Activation {
    /// The function of that name in ONNX, whatever its case; parameters that are not given take the
    /// defaults of ONNX.
    pub fn from_onnx(name: &str, alpha: Option<f32>, beta: Option<f32>) -> Option<Activation> {
        use Activation::*;
        let (a, b) = (|default| alpha.unwrap_or(default), |default| beta.unwrap_or(default));
        Some(match name.to_ascii_lowercase().as_str() {
            "sigmoid" => Sigmoid,
            "tanh" => Tanh,
            "relu" => Relu,
            "softsign" => Softsign,
            "softplus" => Softplus,
            "affine" => Affine(a(1.0), b(0.0)),
            "leakyrelu" => LeakyRelu(a(0.01)),
            "thresholdedrelu" => ThresholdedRelu(a(1.0)),
            "scaledtanh" => ScaledTanh(a(1.0), b(1.0)),
            "hardsigmoid" => HardSigmoid(a(0.2), b(0.5)),
            "elu" => Elu(a(1.0)),
            _ => return None,
        })
    }

    /// `alpha`, then `beta`, if the function has them.
    pub fn parameters(&self) -> Vec<f32> {
        use Activation::*;
        match *self {
            Sigmoid | Tanh | Relu | Softsign | Softplus => vec![],
            LeakyRelu(a) | ThresholdedRelu(a) | Elu(a) => vec![a],
            Affine(a, b) | ScaledTanh(a, b) | HardSigmoid(a, b) => vec![a, b],
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Relu => "relu",
            Activation::Softsign => "softsign",
            Activation::Softplus => "softplus",
            Activation::Affine(..) => "affine",
            Activation::LeakyRelu(_) => "leaky_relu",
            Activation::ThresholdedRelu(_) => "thresholded_relu",
            Activation::ScaledTanh(..) => "scaled_tanh",
            Activation::HardSigmoid(..) => "hard_sigmoid",
            Activation::Elu(_) => "elu",
        }
    }

    pub(in crate::ops) fn apply<T: Real>(self, x: T) -> T {
        let (zero, one) = (T::of(0.0), T::of(1.0));
        match self {
            Activation::Sigmoid => math::sigmoid(x),
            Activation::Tanh => x.tanh(),
            Activation::Relu => x.larger(zero),
            Activation::Softsign => x / (one + x.abs()),
            Activation::Softplus => math::softplus(x),
            Activation::Affine(a, b) => T::of(a) * x + T::of(b),
            Activation::LeakyRelu(a) => x.if_negative(T::of(a) * x, x),
            Activation::ThresholdedRelu(a) => T::select(T::of(a).less(x), x, zero),
            Activation::ScaledTanh(a, b) => T::of(a) * (T::of(b) * x).tanh(),
            Activation::HardSigmoid(a, b) => (T::of(a) * x + T::of(b)).larger(zero).smaller(one),
            Activation::Elu(a) => x.if_negative(T::of(a) * x.expm1(), x),
        }
    }
}

impl Attr for Activation {
    fn print(&self) -> String {
        let parameters: String = self.parameters().iter().map(|p| format!(":{p:?}")).collect();
        format!("{}{parameters}", self.word())
    }

    fn parse(text: &str) -> Result<Activation, String> {
        let bad = || format!("`{}` is not an activation", text.escape_debug());
        let mut parts = text.split(':');
        let word = parts.next().unwrap_or_default();
        let numbers: Vec<f32> = parts.map(str::parse).collect::<Result<_, _>>().map_err(|_| bad())?;
        let (alpha, beta) = (numbers.first().copied(), numbers.get(1).copied());
        Activation::from_onnx(&word.replace('_', ""), alpha, beta)
            .filter(|a| a.word() == word && a.parameters().len() == numbers.len())
            .ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in ["sigmoid", "leaky_relu:0.01", "hard_sigmoid:0.2:0.5", "scaled_tanh:-1.0:1e-7"] {
            assert_eq!(Activation::parse(text).unwrap().print(), text);
        }
        for bad in ["", "Sigmoid", "elu", "elu:1.0:2.0", "leakyrelu:0.1", "tanh:1.0", "elu:x"] {
            assert!(Activation::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn functions_are_those_of_onnx() {
        for (name, x, y) in [
            ("Affine", 3.0, 3.0),
            ("LeakyRelu", -2.0, -0.02),
            ("ThresholdedRelu", 1.0, 0.0),
            ("ThresholdedRelu", 1.5, 1.5),
            ("ScaledTanh", 0.5, 0.462_117_16),
            ("HardSigmoid", 1.0, 0.7),
            ("HardSigmoid", -3.0, 0.0),
            ("Elu", -1.0, -0.632_120_55),
            ("Softsign", -3.0, -0.75),
            ("Softplus", 0.0, std::f32::consts::LN_2),
        ] {
            let got = Activation::from_onnx(name, None, None).unwrap().apply(x);
            assert!((got - y).abs() < 1e-6, "{name} {x}: {got}");
        }
        assert!(Activation::Relu.apply(f32::NAN).is_nan());
    }
}
