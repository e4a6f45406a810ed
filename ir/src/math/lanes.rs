//! Transcendental functions of f32, as arithmetic and moves of bits.

use std::f64::consts::LN_2;
use std::ops::Sub;

use super::Float;

/// f32 whose bits can be taken apart.
pub trait Lanes: Float {
    type Bits: Bits;
    fn to_bits(self) -> Self::Bits;
    fn from_bits(bits: Self::Bits) -> Self;
}

/// Integers of 32 bits, lane for lane those of the floats; sums wrap.
pub trait Bits: Copy + Sub<Output = Self> {
    fn add(self, value: u32) -> Self;
    fn and(self, value: u32) -> Self;
    fn shift_left(self, by: u32) -> Self;
    /// Zeros come in from the left.
    fn shift_right(self, by: u32) -> Self;
}

/// 1.5 · 2^23. The unit of the last place of a float near it is 1: adding it rounds to an integer, halves
/// to even, and leaves that integer in the low bits.
const ROUNDER: f64 = 12_582_912.0;
const ROUNDER_BITS: u32 = 0x4b40_0000;

/// ln 2 in two parts, the first so short that its products with exponents are exact.
const LN_2_HIGH: f64 = 355.0 / 512.0;
const LN_2_LOW: f64 = LN_2 - LN_2_HIGH;

/// `e^x`: with n = round(x / ln 2) and r = x - n·ln 2, it is 2^n · e^r.
///
/// 0 below about -104 and ∞ above about 88.7; results below 2^-126 are rounded once.
pub fn exp<F: Lanes>(x: F) -> F {
    // Beyond these bounds the result is 0 or ∞ anyway. NaN stays, as comparisons with it are false.
    let x = clamp(x, -105.0, 89.0);
    let (n, p) = reduce(x);
    // 2^n itself may exceed the range of f32 where the result does not; its halves do not.
    let half = round(n * x.constant(0.5));
    (x.constant(1.0) + p) * exp2(half) * exp2(n - half)
}

/// `e^x - 1`, without the cancellation near 0: with n and r as in `exp`, 2^n·(e^r - 1) + (2^n - 1).
pub fn expm1<F: Lanes>(x: F) -> F {
    // Below -20 the result is -1.
    let x = clamp(x, -20.0, 89.0);
    let (n, p) = reduce(x);
    // All is halved until the end, so that 2^128 need not exist.
    let half = exp2(n - x.constant(1.0));
    (p * half + (half - x.constant(0.5))) * x.constant(2.0)
}

/// The natural logarithm: with x = 2^k · m, m in [√½, √2), it is k·ln 2 + log m.
///
/// NaN below 0, -∞ at 0. With f = m - 1 and s = f / (2 + f), log m = 2·atanh s = f - s·(f - z·q), where z = s² and
/// q = 2/3 + 2/5·z + 2/7·z² + 2/9·z³ is the rest of the series of atanh.
pub fn log<F: Lanes>(x: F) -> F {
    let (zero, one) = (x.constant(0.0), x.constant(1.0));
    let is_tiny = x.less(x.constant(f64::from(f32::MIN_POSITIVE)));
    let scaled = F::select(is_tiny, x * x.constant(f64::from(1u32 << 23)), x);
    // Bits of a float less those of √½ have k in the place of the exponent.
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let bits = scaled.to_bits();
    let k_bits = bits.add(SQRT_HALF.wrapping_neg()).and(0xff80_0000);
    // k + 256 is positive, so that the shift may bring zeros.
    let k = from_integer(x, k_bits.add(256 << 23).shift_right(23)) - x.constant(256.0);
    let k = k - F::select(is_tiny, x.constant(23.0), zero);
    let f = F::from_bits(bits - k_bits) - one;
    let s = f / (x.constant(2.0) + f);
    let z = s * s;
    let q = polynomial(z, &[2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0]);
    let log_m = f - s * (f - z * q);
    let y = k * x.constant(LN_2_HIGH) + (log_m + k * x.constant(LN_2_LOW));
    let y = F::select(x.less(x.constant(f64::INFINITY)), y, x);
    let y = F::select(x.equal(zero), x.constant(f64::NEG_INFINITY), y);
    F::select(x.less(zero), x.constant(f64::NAN), y)
}

/// With e = e^2|x| - 1, `tanh |x|` is e / (e + 2).
pub fn tanh<F: Lanes>(x: F) -> F {
    // Above 10 the result is 1.
    let magnitude = clamp(x.abs(), 0.0, 10.0);
    let e = expm1(magnitude + magnitude);
    with_sign_of(x, e / (e + x.constant(2.0)))
}

/// The error function: x + x·p(x²) within ±1, and 1 - e^-q(|x|) outside.
///
/// Both polynomials were fitted for the least greatest relative error of the result, 1.3e-9.
pub fn erf<F: Lanes>(x: F) -> F {
    // From 4 on the result is 1.
    let magnitude = clamp(x.abs(), 0.0, 4.0);
    let p = [
        0.128_379_166,
        -0.376_126_26,
        0.112_835_854,
        -0.026_853_813,
        0.005_188_328_2,
        -0.000_801_019_84,
        0.000_078_538_73,
    ];
    let near = magnitude + magnitude * polynomial(magnitude * magnitude, &p);
    let q = [
        0.000_341_520_67,
        1.127_089_1,
        0.638_144_8,
        0.103_106_767,
        -0.021_838_068,
        0.002_947_659_7,
        -0.000_186_379_35,
    ];
    let far = x.constant(1.0) - exp(-polynomial(magnitude, &q));
    with_sign_of(x, F::select(magnitude.less(x.constant(1.0)), near, far))
}

/// n = round(x / ln 2), and e^r - 1 for r = x - n·ln 2 as the Taylor polynomial of degree 7.
fn reduce<F: Lanes>(x: F) -> (F, F) {
    let n = round(x * x.constant(std::f64::consts::LOG2_E));
    let r = x - n * x.constant(LN_2_HIGH) - n * x.constant(LN_2_LOW);
    let tail = polynomial(r, &[0.5, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0]);
    (n, r + r * r * tail)
}

/// Horner's rule; coefficients from the constant one on.
fn polynomial<F: Float>(x: F, coefficients: &[f64]) -> F {
    let mut rest = coefficients.iter().rev().map(|c| x.constant(*c));
    let first = rest.next().unwrap_or(x.constant(0.0));
    rest.fold(first, |sum, c| c + sum * x)
}

fn clamp<F: Float>(x: F, low: f64, high: f64) -> F {
    let (low, high) = (x.constant(low), x.constant(high));
    let x = F::select(x.less(low), low, x);
    F::select(high.less(x), high, x)
}

/// To the nearest integer, for magnitudes below 2^22.
fn round<F: Float>(x: F) -> F {
    x + x.constant(ROUNDER) - x.constant(ROUNDER)
}

/// 2^n of an integral n in [-126, 127].
fn exp2<F: Lanes>(n: F) -> F {
    // The low nine bits of the sum are n + 127, which is positive; the shift drops the others.
    F::from_bits((n + n.constant(ROUNDER)).to_bits().add(127).shift_left(23))
}

/// The float that equals an integer below 2^22.
fn from_integer<F: Lanes>(like: F, n: F::Bits) -> F {
    F::from_bits(n.add(ROUNDER_BITS)) - like.constant(ROUNDER)
}

/// A magnitude that is not negative, with the sign of `x`; NaN where `x` is.
fn with_sign_of<F: Lanes>(x: F, magnitude: F) -> F {
    let sign = x.to_bits().and(1 << 31);
    let minus = F::from_bits(sign.add(1.0f32.to_bits()));
    magnitude * minus
}

impl Lanes for f32 {
    type Bits = Word;
    fn to_bits(self) -> Word {
        Word(f32::to_bits(self))
    }
    fn from_bits(bits: Word) -> f32 {
        f32::from_bits(bits.0)
    }
}

/// The bits of one f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u32);

impl Sub for Word {
    type Output = Word;
    fn sub(self, other: Word) -> Word {
        Word(self.0.wrapping_sub(other.0))
    }
}

impl Bits for Word {
    fn add(self, value: u32) -> Word {
        Word(self.0.wrapping_add(value))
    }
    fn and(self, value: u32) -> Word {
        Word(self.0 & value)
    }
    fn shift_left(self, by: u32) -> Word {
        Word(self.0 << by)
    }
    fn shift_right(self, by: u32) -> Word {
        Word(self.0 >> by)
    }
}
