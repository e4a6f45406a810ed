//! The functions of floats that IEEE 754 leaves open, written once for whoever computes them.
//!
//! `exp`, `log`, `tanh` and the rest are fixed sequences of correctly rounded f32 operations, without
//! fused multiply-add, tables or branches: formulas over [`Float`], and over [`Lanes`] where they take
//! the bits of f32 apart. The interpreter runs them on numbers, a code generator on instructions, and
//! both give the same bits because there is no second copy. In f64 the same names are those of `libm`.

pub mod fourier;
mod lanes;

use std::ops::{Add, Div, Mul, Neg, Sub};

pub use lanes::{Bits, Lanes, erf, exp, expm1, log, tanh};

/// A float, or several side by side, with the operations that formulas are made of.
pub trait Float:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    /// The outcome of a comparison.
    type Mask: Copy;

    /// `value`, rounded to the width of `self`, in every lane.
    fn constant(self, value: f64) -> Self;
    /// `self < other`, false where one of them is NaN.
    fn less(self, other: Self) -> Self::Mask;
    /// `self == other`, false where one of them is NaN.
    fn equal(self, other: Self) -> Self::Mask;
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    /// To the nearest integer, halves to the even one.
    fn round(self) -> Self;
    /// `e^self`.
    fn exp(self) -> Self;
    /// `e^self - 1`.
    fn expm1(self) -> Self;
    /// The natural logarithm.
    fn log(self) -> Self;
    fn tanh(self) -> Self;
    fn erf(self) -> Self;

    /// The larger; NaN when one of them is.
    fn larger(self, other: Self) -> Self {
        let y = Self::select(self.less(other), other, self);
        Self::select(other.equal(other), y, other)
    }

    /// The smaller; NaN when one of them is.
    fn smaller(self, other: Self) -> Self {
        let y = Self::select(other.less(self), other, self);
        Self::select(other.equal(other), y, other)
    }

    /// `yes` where `self` is below zero, else `no`.
    fn if_negative(self, yes: Self, no: Self) -> Self {
        Self::select(self.less(self.constant(0.0)), yes, no)
    }
}

/// `1 / (1 + e^-x)`, from the exponential that does not overflow.
pub fn sigmoid<F: Float>(x: F) -> F {
    let one = x.constant(1.0);
    let e = (-x.abs()).exp();
    x.if_negative(e, one) / (one + e)
}

/// `log(1 + e^x)`, as `max(x, 0) + log(1 + e^-|x|)`.
pub fn softplus<F: Float>(x: F) -> F {
    let (zero, one) = (x.constant(0.0), x.constant(1.0));
    let e = (-x.abs()).exp();
    let sum = one + e;
    // The second term is what the sum lost of `e`.
    x.if_negative(zero, x) + (sum.log() + (e - (sum - one)) / sum)
}

impl Float for f32 {
    type Mask = bool;

    fn constant(self, value: f64) -> f32 {
        value as f32
    }
    fn less(self, other: f32) -> bool {
        self < other
    }
    fn equal(self, other: f32) -> bool {
        self == other
    }
    fn select(mask: bool, yes: f32, no: f32) -> f32 {
        if mask { yes } else { no }
    }
    fn abs(self) -> f32 {
        f32::abs(self)
    }
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
    fn floor(self) -> f32 {
        f32::floor(self)
    }
    fn ceil(self) -> f32 {
        f32::ceil(self)
    }
    fn round(self) -> f32 {
        f32::round_ties_even(self)
    }
    fn exp(self) -> f32 {
        exp(self)
    }
    fn expm1(self) -> f32 {
        expm1(self)
    }
    fn log(self) -> f32 {
        log(self)
    }
    fn tanh(self) -> f32 {
        tanh(self)
    }
    fn erf(self) -> f32 {
        erf(self)
    }
}

impl Float for f64 {
    type Mask = bool;

    fn constant(self, value: f64) -> f64 {
        value
    }
    fn less(self, other: f64) -> bool {
        self < other
    }
    fn equal(self, other: f64) -> bool {
        self == other
    }
    fn select(mask: bool, yes: f64, no: f64) -> f64 {
        if mask { yes } else { no }
    }
    fn abs(self) -> f64 {
        f64::abs(self)
    }
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    fn floor(self) -> f64 {
        f64::floor(self)
    }
    fn ceil(self) -> f64 {
        f64::ceil(self)
    }
    fn round(self) -> f64 {
        f64::round_ties_even(self)
    }
    fn exp(self) -> f64 {
        libm::exp(self)
    }
    fn expm1(self) -> f64 {
        libm::expm1(self)
    }
    fn log(self) -> f64 {
        libm::log(self)
    }
    fn tanh(self) -> f64 {
        libm::tanh(self)
    }
    fn erf(self) -> f64 {
        libm::erf(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units in the last place of f32 between what came out and what is right.
    fn error(got: f32, want: f64) -> f64 {
        if want.is_nan() || (want as f32).is_infinite() {
            return if got.to_bits() == (want as f32).to_bits() || got.is_nan() && want.is_nan() {
                0.0
            } else {
                f64::INFINITY
            };
        }
        let exponent = (want.abs().log2().floor() as i32).clamp(-126, 127);
        (f64::from(got) - want).abs() / 2f64.powi(exponent - 23)
    }

    /// Numbers of every exponent and both signs, their neighbourhoods of interest, and the special ones.
    fn samples() -> impl Iterator<Item = f32> {
        let spread = (0..=u32::MAX / 1009).map(|i| i.wrapping_mul(1009));
        let edges =
            [0.0f32, 1.0, 88.72284, 103.97, 0.34657, 0.9999999, 4.0, f32::MIN_POSITIVE, f32::INFINITY];
        let near = edges
            .into_iter()
            .flat_map(|e| (0..64).map(move |i| e.to_bits().wrapping_add(i).wrapping_sub(32)));
        spread.chain(near.flat_map(|b| [b, b ^ 1 << 31])).map(f32::from_bits)
    }

    fn within(units: f64, name: &str, f: fn(f32) -> f32, exact: fn(f64) -> f64) {
        let (worst, at) = samples()
            .map(|x| (error(f(x), exact(x.into())), x))
            .fold((0.0, 0.0), |w, e| if e.0 > w.0 { e } else { w });
        assert!(worst <= units, "{name}({at:e}) = {:e} is {worst} units off", f(at));
    }

    #[test]
    fn functions_are_within_two_units_at_every_exponent() {
        within(1.5, "exp", exp, libm::exp);
        within(1.5, "log", log, libm::log);
        within(2.0, "expm1", expm1, libm::expm1);
        within(2.5, "tanh", tanh, libm::tanh);
        within(1.5, "erf", erf, libm::erf);
        within(2.5, "sigmoid", sigmoid, |x| 1.0 / (1.0 + libm::exp(-x)));
        within(2.5, "softplus", softplus, |x| {
            libm::log1p(libm::exp(-x.abs())) + if x < 0.0 { 0.0 } else { x }
        });
    }

    #[test]
    fn signs_of_zero_and_not_a_number_survive() {
        for f in [tanh, erf] {
            assert_eq!(f(-0.0).to_bits(), (-0.0f32).to_bits());
            assert_eq!(f(0.0).to_bits(), 0);
        }
        for f in [exp, log, expm1, tanh, erf, sigmoid, softplus] {
            assert!(f(f32::NAN).is_nan() && f(-f32::NAN).is_nan());
        }
        for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN)] {
            assert!(a.larger(b).is_nan() && a.smaller(b).is_nan());
        }
        assert!(log(-1.0).is_nan() && log(f32::NEG_INFINITY).is_nan());
        assert_eq!([log(0.0), log(-0.0)], [f32::NEG_INFINITY; 2]);
    }
}
