//! Trigonometric and hyperbolic functions, as `libm` has them; f16 and bf16 are computed in f32.

use half::{bf16, f16};

use super::broadcast::map;
use super::*;
use crate::ty::Elem;
use crate::{bail, op};

/// Declares ops: mnemonic, the function of f32 and the function of f64.
macro_rules! library {
    ($($(#[$meta:meta])* $name:ident = $mnemonic:literal, $single:path, $double:path;)*) => { $(
        op! { $(#[$meta])* $name = $mnemonic (x) {} }
        impl OpDef for $name {
            fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
                formulas::infer(&args, false, module)
            }
            fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
                let x = &args[0];
                Ok(vec![match x.elem() {
                    Elem::F32 => map(x, $single)?,
                    Elem::F64 => map(x, $double)?,
                    Elem::F16 => map(x, |x: f16| f16::from_f32($single(x.to_f32())))?,
                    Elem::Bf16 => map(x, |x: bf16| bf16::from_f32($single(x.to_f32())))?,
                    elem => bail!("no such function of {elem}"),
                }])
            }
        }
    )* };
}

library! {
    /// The sine.
    Sin = "sin", libm::sinf, libm::sin;
    /// The cosine.
    Cos = "cos", libm::cosf, libm::cos;
    /// The tangent.
    Tan = "tan", libm::tanf, libm::tan;
    /// The inverse sine, in [-π/2, π/2].
    Asin = "asin", libm::asinf, libm::asin;
    /// The inverse cosine, in [0, π].
    Acos = "acos", libm::acosf, libm::acos;
    /// The inverse tangent, in [-π/2, π/2].
    Atan = "atan", libm::atanf, libm::atan;
    /// The hyperbolic sine.
    Sinh = "sinh", libm::sinhf, libm::sinh;
    /// The hyperbolic cosine.
    Cosh = "cosh", libm::coshf, libm::cosh;
    /// The inverse hyperbolic sine.
    Asinh = "asinh", libm::asinhf, libm::asinh;
    /// The inverse hyperbolic cosine.
    Acosh = "acosh", libm::acoshf, libm::acosh;
    /// The inverse hyperbolic tangent.
    Atanh = "atanh", libm::atanhf, libm::atanh;
}
