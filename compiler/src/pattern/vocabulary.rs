//! The words of patterns: operators and one function an op.

use std::ops;

use trine_ir::Kind;

use super::{Pat, op};

/// Binary operators between patterns, references to patterns and numbers.
macro_rules! operators {
    ($($operator:ident $method:ident;)*) => { $(
        impl<T: Into<Pat>> ops::$operator<T> for Pat {
            type Output = Pat;
            fn $method(self, other: T) -> Pat { op(Kind::$operator, [self, other.into()]) }
        }
        impl<T: Into<Pat>> ops::$operator<T> for &Pat {
            type Output = Pat;
            fn $method(self, other: T) -> Pat { op(Kind::$operator, [self.clone(), other.into()]) }
        }
        impl ops::$operator<Pat> for f64 {
            type Output = Pat;
            fn $method(self, other: Pat) -> Pat { op(Kind::$operator, [Pat::from(self), other]) }
        }
        impl ops::$operator<&Pat> for f64 {
            type Output = Pat;
            fn $method(self, other: &Pat) -> Pat { op(Kind::$operator, [Pat::from(self), other.clone()]) }
        }
    )* };
}
operators! {
    Add add;
    Sub sub;
    Mul mul;
    Div div;
}

/// Either of two spellings.
impl<T: Into<Pat>> ops::BitOr<T> for Pat {
    type Output = Pat;
    fn bitor(self, other: T) -> Pat {
        super::any_of([self, other.into()])
    }
}
impl<T: Into<Pat>> ops::BitOr<T> for &Pat {
    type Output = Pat;
    fn bitor(self, other: T) -> Pat {
        super::any_of([self.clone(), other.into()])
    }
}

macro_rules! words {
    ($($name:ident = $kind:ident ($($arg:ident),*);)*) => { $(
        /// The op of this name, whatever its attributes.
        pub fn $name($($arg: impl Into<Pat>),*) -> Pat { op(Kind::$kind, [$($arg.into()),*]) }
    )* };
}
words! {
    matmul = Matmul(a, b);
    neg = Neg(x);
    abs = Abs(x);
    round = Round(x);
    pow = Pow(base, exponent);
    sqrt = Sqrt(x);
    rsqrt = Rsqrt(x);
    reciprocal = Reciprocal(x);
    erf = Erf(x);
    tanh = Tanh(x);
    sigmoid = Sigmoid(x);
    softplus = Softplus(x);
    cast = Cast(x);
    softmax = Softmax(x);
    reduce_mean = ReduceMean(x);
    reduce_max = ReduceMax(x);
    transpose = Transpose(x);
    reshape = Reshape(x);
    rms_norm = RmsNorm(x, gain);
}

/// `x²`, as a product or a power.
pub fn square(x: &Pat) -> Pat {
    (x * x) | pow(x, 2.0)
}
