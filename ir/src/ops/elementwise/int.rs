//! The integers of ONNX arithmetic: sums, differences and products wrap to their width.

use std::ops::{BitAnd, BitOr, BitXor, Not};

use crate::tensor::Element;

pub trait Int:
    Element + Ord + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self> + Not<Output = Self>
{
    const ZERO: Self;
    const ONE: Self;
    const MIN: Self;
    const MAX: Self;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// Towards zero; the divisor is not zero.
    fn over(self, other: Self) -> Self;
    /// Of the sign of `self`; the divisor is not zero.
    fn remainder(self, other: Self) -> Self;
    fn magnitude(self) -> Self;
    fn wide(self) -> i128;
    /// The low bits.
    fn narrow(wide: i128) -> Self;
}

macro_rules! ints {
    ($($t:ty),*) => { $(impl Int for $t {
        const ZERO: $t = 0;
        const ONE: $t = 1;
        const MIN: $t = <$t>::MIN;
        const MAX: $t = <$t>::MAX;
        fn plus(self, other: $t) -> $t { self.wrapping_add(other) }
        fn minus(self, other: $t) -> $t { self.wrapping_sub(other) }
        fn times(self, other: $t) -> $t { self.wrapping_mul(other) }
        fn over(self, other: $t) -> $t { self.wrapping_div(other) }
        fn remainder(self, other: $t) -> $t { self.wrapping_rem(other) }
        fn magnitude(self) -> $t { if self < Self::ZERO { self.wrapping_neg() } else { self } }
        fn wide(self) -> i128 { self.into() }
        fn narrow(wide: i128) -> $t { wide as $t }
    })* };
}
ints! { i8, i16, i32, i64, u8, u16, u32, u64 }
