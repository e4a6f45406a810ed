//! Powers and remainders, whose rules differ between types.

use half::{bf16, f16};

use super::broadcast::zip;
use super::formulas::match_int;
use super::*;
use crate::math::Float;
use crate::tensor::Element;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// `base^exponent` in the type of `base`.
    ///
    /// Of floats, the exponents 2, ½, -½ and -1 are `x·x`, `√x`, `1/√x` and `1/x` to the bit; others are `libm`'s. Of
    /// integers, products wrap; a float exponent, or a negative one, is computed in f64 and cast.
    Pow = "pow" (base, exponent) {}
}

op! {
    /// The remainder of `a / b`, with the sign of `b`, or with `fmod` with that of `a` as in C.
    ///
    /// Integers refuse a zero `b`. A zero of floats has the sign, too, that others have. ONNX Mod-28.
    Mod = "mod" (a, b) { fmod: bool }
}

impl OpDef for Pow {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (base, exponent) = (&args[0], &args[1]);
        for ty in [base, exponent] {
            if !ty.elem.is_float() && !ty.elem.is_int() || ty.elem.bits() < 8 {
                bail!("expects numbers of 8 bits or more, got {ty}");
            }
        }
        Ok(vec![Type { elem: base.elem, dims: broadcast(&base.dims, &exponent.dims, module)? }])
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (base, exponent) = (&args[0], &args[1]);
        let to = |t: &Tensor, to: Elem| Cast { to }.eval(Args::new(&[Some(t)]), cx).map(|mut t| t.remove(0));
        let elem = base.elem();
        Ok(vec![match elem {
            Elem::F64 => zip(base, &to(exponent, Elem::F64)?, |x, y| power(x, y, libm::pow))?,
            elem if elem.is_float() => {
                let (base, exponent) = (to(base, Elem::F32)?, to(exponent, Elem::F32)?);
                to(&zip(&base, &exponent, |x, y| power(x, y, libm::powf))?, elem)?
            }
            _ if exponent.elem().is_float() => {
                let (base, exponent) = (to(base, Elem::F64)?, to(exponent, Elem::F64)?);
                to(&zip(&base, &exponent, |x, y| power(x, y, libm::pow))?, elem)?
            }
            _ => {
                let exponent = to(exponent, Elem::I64)?;
                match_int!(elem, I => zip(base, &exponent, int_power::<I>)?)
            }
        }])
    }
}

fn power<F: Float<Mask = bool> + PartialEq>(x: F, y: F, general: fn(F, F) -> F) -> F {
    let is = |value| y == y.constant(value);
    let one = x.constant(1.0);
    match () {
        () if is(2.0) => x * x,
        () if is(0.5) => x.sqrt(),
        () if is(-0.5) => one / x.sqrt(),
        () if is(-1.0) => one / x,
        () => general(x, y),
    }
}

fn int_power<I: Int>(base: I, exponent: i64) -> I {
    let Ok(mut exponent) = u64::try_from(exponent) else {
        return I::narrow(libm::pow(base.wide() as f64, exponent as f64) as i128);
    };
    let (mut square, mut y) = (base, I::ONE);
    while exponent > 0 {
        if exponent % 2 == 1 {
            y = y.times(square);
        }
        square = square.times(square);
        exponent /= 2;
    }
    y
}

impl OpDef for Mod {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        formulas::infer(&args, true, module)
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        arithmetic::divides_by_zero(&args)?;
        let (a, b) = (&args[0], &args[1]);
        let fmod = self.fmod;
        Ok(vec![match a.elem() {
            Elem::F32 => zip(a, b, |a: f32, b: f32| modulo(a % b, b, fmod, f32::copysign))?,
            Elem::F64 => zip(a, b, |a: f64, b: f64| modulo(a % b, b, fmod, f64::copysign))?,
            Elem::F16 => zip(a, b, |a: f16, b: f16| modulo(a % b, b, fmod, f16::copysign))?,
            Elem::Bf16 => zip(a, b, |a: bf16, b: bf16| modulo(a % b, b, fmod, bf16::copysign))?,
            elem => match_int!(elem, I => zip(a, b, |a: I, b: I| int_modulo(a, b, fmod))?),
        }])
    }
}

/// The remainder `r`, whose sign is that of the dividend, or the one with the sign of `b`.
fn modulo<T: Element + std::ops::Add<Output = T>>(r: T, b: T, fmod: bool, copysign: fn(T, T) -> T) -> T {
    let zero = T::default();
    match () {
        () if fmod => r,
        () if r == zero => copysign(r, b),
        () if (r < zero) == (b < zero) => r,
        () => r + b,
    }
}

fn int_modulo<I: Int>(a: I, b: I, fmod: bool) -> I {
    let r = a.remainder(b);
    if fmod || r == I::ZERO || (r < I::ZERO) == (b < I::ZERO) { r } else { r.plus(b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, tensor};

    #[test]
    fn powers_keep_the_type_of_the_base() {
        let base = tensor(&[4], &[2f32, -3.0, 0.25, 9.0]);
        let power = |exponent: Tensor| one(Pow {}, &[&base, &exponent]).values::<f32>().unwrap().into_owned();
        assert_eq!(power(Tensor::scalar(2i64)), [4.0, 9.0, 0.0625, 81.0]);
        assert_eq!(power(tensor(&[4], &[10.0f64, 3.0, -0.5, 0.5])), [1024.0, -27.0, 2.0, 3.0]);
        assert_eq!(power(Tensor::scalar(-1i8)), [0.5, -1.0 / 3.0, 4.0, 1.0 / 9.0]);
        let ints = tensor(&[3], &[2i32, -3, 1]);
        let y = one(Pow {}, &[&ints, &tensor(&[3], &[40u64, 3, u64::MAX / 2])]);
        assert_eq!(y.values::<i32>().unwrap()[..], [0, -27, 1]);
        let y = one(Pow {}, &[&ints, &tensor(&[3], &[2.5f32, 2.0, -4.0])]);
        assert_eq!(y.values::<i32>().unwrap()[..], [5, 9, 1]);
        let y = one(Pow {}, &[&ints, &Tensor::scalar(-1i64)]);
        assert_eq!(y.values::<i32>().unwrap()[..], [0, 0, 1]);
    }

    #[test]
    fn remainders_have_the_sign_that_is_asked_for() {
        let (a, b) = (tensor(&[4], &[-7i32, 7, i32::MIN, 6]), tensor(&[4], &[3i32, -3, -1, 3]));
        assert_eq!(one(Mod { fmod: false }, &[&a, &b]).values::<i32>().unwrap()[..], [2, -2, 0, 0]);
        assert_eq!(one(Mod { fmod: true }, &[&a, &b]).values::<i32>().unwrap()[..], [-1, 1, 0, 0]);
        let (a, b) = (tensor(&[3], &[-7.5f64, 7.5, 6.0]), tensor(&[3], &[2.0f64, -2.0, 3.0]));
        assert_eq!(one(Mod { fmod: false }, &[&a, &b]).values::<f64>().unwrap()[..], [0.5, -0.5, 0.0]);
        assert_eq!(one(Mod { fmod: true }, &[&a, &b]).values::<f64>().unwrap()[..], [-1.5, 1.5, 0.0]);
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let (a, b) = (
            tensor(&[6], &[0f32, 6.0, 2.0, -2.0, inf, 2.0]),
            tensor(&[6], &[-3f32, -3.0, inf, inf, 3.0, 0.0]),
        );
        let y = one(Mod { fmod: false }, &[&a, &b]).values::<f32>().unwrap().to_vec();
        let bits = |v: &[f32]| {
            v.iter().map(|v| if v.is_nan() { nan.to_bits() } else { v.to_bits() }).collect::<Vec<_>>()
        };
        assert_eq!(bits(&y), bits(&[-0.0, -0.0, 2.0, inf, nan, nan]));
    }
}
