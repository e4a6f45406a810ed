//! The table form in which ops of numbers are declared.

use super::*;
use crate::bail;

/// Declares ops that compute each element from one or two others:
///
/// ```text
/// Name = "mnemonic" (operands) { attributes } [commutes] float { … } [int { … } [unless check]];
/// ```
///
/// The float body is an expression over [`Float`], the int body one over `Int`, in the names of the operands
/// and attributes; without it the op is on floats alone. `check` may refuse the operands. f16 and bf16
/// are computed in f32 and rounded once. Also makes `formula`, the float bodies by op.
macro_rules! formulas {
    ($(
        $(#[$meta:meta])*
        $name:ident = $mnemonic:literal ($($arg:ident),*) { $($attr:ident: $ty:ty),* } $([$commutes:ident])?
        float $float:block $(int $int:block $(unless $check:ident)?)?;
    )*) => {
        $(
            $crate::op! { $(#[$meta])* $name = $mnemonic ($($arg),*) { $($attr: $ty),* } }

            impl $name {
                fn float<F: $crate::math::Float>(&self, $($arg: F),*) -> F {
                    let Self { $($attr),* } = self.clone();
                    $float
                }
            }

            impl OpDef for $name {
                const COMMUTES: bool = super::formulas::flag!($($commutes)?);

                fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
                    let ints = super::formulas::flag!($($int)?);
                    super::formulas::infer(&args, ints, module)
                }

                fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
                    use super::formulas::lift;
                    $($($check(&args)?;)?)?
                    Ok(vec![match args[0].elem() {
                        $crate::ty::Elem::F32 => lift!(args, f32, |$($arg),*| self.float($($arg),*))?,
                        $crate::ty::Elem::F64 => lift!(args, f64, |$($arg),*| self.float($($arg),*))?,
                        $crate::ty::Elem::F16 => lift!(args, half::f16, |$($arg),*| {
                            half::f16::from_f32(self.float($($arg.to_f32()),*))
                        })?,
                        $crate::ty::Elem::Bf16 => lift!(args, half::bf16, |$($arg),*| {
                            half::bf16::from_f32(self.float($($arg.to_f32()),*))
                        })?,
                        elem => super::formulas::eval_int!(args, elem, ($($arg),*) $($int)?),
                    }])
                }
            }
        )*

        pub(super) fn formula<F: $crate::math::Float>(op: &Op, args: &[Option<F>]) -> Option<F> {
            match (op, args) {
                $((Op::$name(op), &[$(Some($arg)),*]) => Some(op.float($($arg),*)),)*
                _ => None,
            }
        }
    };
}

/// A function of elements on one or two tensors.
macro_rules! lift {
    ($args:ident, $t:ty, |$a:ident| $body:expr) => {
        super::broadcast::map(&$args[0], |$a: $t| -> $t { $body })
    };
    ($args:ident, $t:ty, |$a:ident, $b:ident| $body:expr) => {
        super::broadcast::zip(&$args[0], &$args[1], |$a: $t, $b: $t| -> $t { $body })
    };
}

/// The int body, if there is one, on tensors.
macro_rules! eval_int {
    ($args:ident, $elem:ident, ($($arg:ident),*)) => {
        $crate::bail!("no such function of {}", $elem)
    };
    ($args:ident, $elem:ident, ($($arg:ident),*) $int:block) => {{
        fn int<I: super::Int>($($arg: I),*) -> I $int
        $crate::ops::elementwise::match_int!($elem, I => $crate::ops::elementwise::formulas::lift!($args, I, |$($arg),*| int($($arg),*))?)
    }};
}

/// `$body` with `$t` standing for the integer type of `$elem`.
macro_rules! match_int {
    ($elem:expr, $t:ident => $body:expr) => {
        $crate::ops::elementwise::match_int!(@ $elem, $t, $body, I8 i8 I16 i16 I32 i32 I64 i64 U8 u8 U16 u16 U32 u32 U64 u64)
    };
    (@ $elem:expr, $t:ident, $body:expr, $($variant:ident $int:ident)*) => {
        match $elem {
            $($crate::ty::Elem::$variant => { type $t = $int; $body })*
            elem => $crate::bail!("no arithmetic on {elem}"),
        }
    };
}

/// Whether there is something.
macro_rules! flag {
    () => {
        false
    };
    ($some:tt) => {
        true
    };
}

pub(in crate::ops) use {eval_int, flag, formulas, lift, match_int};

/// The broadcast of operands of one type of number.
pub(super) fn infer(args: &Args<Type>, ints: bool, module: &dyn Signatures) -> OpResult<Vec<Type>> {
    let mut y = args[0].clone();
    if !(y.elem.is_float() || ints && y.elem.is_int() && y.elem.bits() >= 8) {
        bail!("expects {}, got {y}", if ints { "numbers of 8 bits or more" } else { "floats" });
    }
    for arg in args.from(1) {
        if arg.elem != y.elem {
            bail!("expects operands of one type of number, got {y} and {arg}");
        }
        y.dims = broadcast(&y.dims, &arg.dims, module)?;
    }
    Ok(vec![y])
}
