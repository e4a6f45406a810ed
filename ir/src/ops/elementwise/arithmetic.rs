//! Arithmetic of floats and integers; integers wrap.

use super::formulas::{formulas, match_int};
use super::*;
use crate::bail;

formulas! {
    /// `a + b`.
    Add = "add" (a, b) {} [commutes] float { a + b } int { a.plus(b) };
    /// `a - b`.
    Sub = "sub" (a, b) {} float { a - b } int { a.minus(b) };
    /// `a · b`.
    Mul = "mul" (a, b) {} [commutes] float { a * b } int { a.times(b) };
    /// `a / b`; integers round towards zero and refuse a zero `b`.
    Div = "div" (a, b) {} float { a / b } int { a.over(b) } unless divides_by_zero;
    /// The smaller; NaN when either is.
    Min = "min" (a, b) {} [commutes] float { a.smaller(b) } int { a.min(b) };
    /// The larger; NaN when either is.
    Max = "max" (a, b) {} [commutes] float { a.larger(b) } int { a.max(b) };
    /// `-x`.
    Neg = "neg" (x) {} float { -x } int { I::ZERO.minus(x) };
    /// `|x|`.
    Abs = "abs" (x) {} float { x.abs() } int { x.magnitude() };
    /// -1, 0 or 1; NaN stays.
    Sign = "sign" (x) {} float {
        let zero = x.constant(0.0);
        x.if_negative(x.constant(-1.0), F::select(zero.less(x), x.constant(1.0), x))
    } int {
        if x < I::ZERO { I::ZERO.minus(I::ONE) } else { x.min(I::ONE) }
    };
    /// `max(x, 0)`.
    Relu = "relu" (x) {} float { x.if_negative(x.constant(0.0), x) } int { x.max(I::ZERO) };
    /// `x` from 0 on, `slope · x` below (arXiv 1502.01852).
    PRelu = "prelu" (x, slope) {} float { x.if_negative(x * slope, x) } int {
        if x < I::ZERO { x.times(slope) } else { x }
    };
}

/// Fails when integers are to be divided by a zero.
pub(super) fn divides_by_zero(args: &Args<Tensor>) -> OpResult<()> {
    if args[0].is_empty() || args[1].elem().is_float() {
        return Ok(());
    }
    let zero = match_int!(args[1].elem(), I => args[1].values::<I>()?.contains(&I::ZERO));
    if zero {
        bail!("division by zero");
    }
    Ok(())
}
