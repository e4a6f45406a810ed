//! Comparisons, and logic on their outcomes.

use half::{bf16, f16};

use super::broadcast::{map, zip, zip_slices};
use super::formulas::match_int;
use super::*;
use crate::tensor::Element;
use crate::ty::Elem;
use crate::{bail, op};

/// Declares comparisons: mnemonic, whether it commutes, whether it is one of order, and the operator.
macro_rules! comparisons {
    ($($(#[$meta:meta])* $name:ident = $mnemonic:literal, $commutes:literal, $ordered:literal, $operator:tt;)*) => { $(
        op! { $(#[$meta])* $name = $mnemonic (a, b) {} }
        impl OpDef for $name {
            const COMMUTES: bool = $commutes;
            fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
                let (a, b) = (&args[0], &args[1]);
                if a.elem != b.elem || $ordered && a.elem == Elem::Bool || a.elem.is_small_float() {
                    bail!("cannot compare {a} with {b}");
                }
                Ok(vec![Type { elem: Elem::Bool, dims: broadcast(&a.dims, &b.dims, module)? }])
            }
            fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
                fn of<T: Element>(args: Args<Tensor>) -> OpResult<Tensor> {
                    zip(&args[0], &args[1], |a: T, b: T| u8::from(a $operator b))
                }
                let compared = match args[0].elem() {
                    Elem::F32 => of::<f32>(args)?,
                    Elem::F64 => of::<f64>(args)?,
                    Elem::F16 => of::<f16>(args)?,
                    Elem::Bf16 => of::<bf16>(args)?,
                    elem if elem.bits() > 8 => match_int!(elem, I => of::<I>(args)?),
                    elem => {
                        let (a, b) = (bytes(&args[0])?, bytes(&args[1])?);
                        let (a, b) = ((args[0].dims(), a.as_slice()), (args[1].dims(), b.as_slice()));
                        // Flipping the sign bit makes the order of signed bytes that of unsigned ones.
                        let flip = if elem.is_signed() { 0x80 } else { 0 };
                        zip_slices(a, b, |a: u8, b: u8| u8::from((a ^ flip) $operator (b ^ flip)))?
                    }
                };
                Ok(vec![truth(compared)?])
            }
        }
    )* };
}

comparisons! {
    /// `a = b`; NaN equals nothing.
    Equal = "equal", true, false, ==;
    /// `a > b`.
    Greater = "greater", false, true, >;
    /// `a ≥ b`.
    GreaterOrEqual = "greater_or_equal", false, true, >=;
    /// `a < b`.
    Less = "less", false, true, <;
    /// `a ≤ b`.
    LessOrEqual = "less_or_equal", false, true, <=;
}

/// Declares functions of two truth values, all of which commute.
macro_rules! logic {
    ($($(#[$meta:meta])* $name:ident = $mnemonic:literal, $operator:tt;)*) => { $(
        op! { $(#[$meta])* $name = $mnemonic (a, b) {} }
        impl OpDef for $name {
            const COMMUTES: bool = true;
            fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
                let (a, b) = (&args[0], &args[1]);
                if a.elem != Elem::Bool || b.elem != Elem::Bool {
                    bail!("expects bool, got {a} and {b}");
                }
                Ok(vec![Type { elem: Elem::Bool, dims: broadcast(&a.dims, &b.dims, module)? }])
            }
            fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
                let (a, b) = (bytes(&args[0])?, bytes(&args[1])?);
                let (a, b) = ((args[0].dims(), a.as_slice()), (args[1].dims(), b.as_slice()));
                Ok(vec![truth(zip_slices(a, b, |a: u8, b: u8| a $operator b)?)?])
            }
        }
    )* };
}

logic! {
    /// Both.
    And = "and", &;
    /// At least one.
    Or = "or", |;
    /// Exactly one.
    Xor = "xor", ^;
}

op! {
    /// The opposite truth value.
    Not = "not" (x) {}
}

op! {
    /// Whether an element is not a number.
    IsNan = "is_nan" (x) {}
}

op! {
    /// Whether an element is infinite, of the signs that are asked for.
    IsInf = "is_inf" (x) { positive: bool, negative: bool }
}

impl OpDef for Not {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        if args[0].elem != Elem::Bool {
            bail!("expects bool, got {}", args[0]);
        }
        Ok(vec![args[0].clone()])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = args[0].bools()?;
        Ok(vec![Tensor::from_bools(args[0].dims().to_vec(), x.map(|x| !x))?])
    }
}

impl OpDef for IsNan {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        infer_float_test(&args)
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        float_test(&args[0], f64::is_nan)
    }
}

impl OpDef for IsInf {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        infer_float_test(&args)
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (positive, negative) = (self.positive, self.negative);
        float_test(&args[0], |x| positive && x == f64::INFINITY || negative && x == f64::NEG_INFINITY)
    }
}

fn infer_float_test(args: &Args<Type>) -> OpResult<Vec<Type>> {
    Ok(vec![formulas::infer(args, false, &())?[0].with(Elem::Bool)])
}

fn float_test(x: &Tensor, test: impl Fn(f64) -> bool) -> OpResult<Vec<Tensor>> {
    let tested = match x.elem() {
        Elem::F32 => map(x, |x: f32| u8::from(test(x.into())))?,
        Elem::F64 => map(x, |x: f64| u8::from(test(x)))?,
        Elem::F16 => map(x, |x: f16| u8::from(test(x.into())))?,
        Elem::Bf16 => map(x, |x: bf16| u8::from(test(x.into())))?,
        elem => bail!("no such test of {elem}"),
    };
    Ok(vec![truth(tested)?])
}

/// Elements of 8 bits and under, one a byte; truth values are 0 or 1 whatever stands for true.
fn bytes(x: &Tensor) -> OpResult<Vec<u8>> {
    Ok(match x.elem() {
        Elem::Bool => x.bools()?.map(u8::from).collect(),
        _ => x.unpacked()?.into_owned(),
    })
}

/// Bytes 0 and 1 as a tensor of `bool`.
fn truth(bytes: Tensor) -> OpResult<Tensor> {
    Ok(Tensor::new(Elem::Bool, bytes.dims().to_vec(), bytes.bytes().clone())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, run, tensor};

    fn truths(y: Tensor) -> Vec<bool> {
        y.bools().unwrap().collect()
    }

    #[test]
    fn order_is_that_of_the_type() {
        let (a, b) = (tensor(&[3], &[1f32, f32::NAN, -0.0]), tensor(&[3], &[2f32, f32::NAN, 0.0]));
        assert_eq!(truths(one(Less {}, &[&a, &b])), [true, false, false]);
        assert_eq!(truths(one(GreaterOrEqual {}, &[&a, &b])), [false, false, true]);
        assert_eq!(truths(one(Equal {}, &[&a, &b])), [false, false, true]);
        for (elem, values, below) in [(Elem::I4, [0xff, 3], true), (Elem::U4, [15, 3], false)] {
            let a = Tensor::pack(elem, vec![1], &values[..1]).unwrap();
            let b = Tensor::pack(elem, vec![1], &values[1..]).unwrap();
            assert_eq!(truths(one(Less {}, &[&a, &b])), [below], "{elem}");
        }
        assert_eq!(truths(one(Greater {}, &[&Tensor::scalar(u64::MAX), &Tensor::scalar(1u64)])), [true]);
        assert!(run(Less {}, &[Some(&a), Some(&Tensor::scalar(1i64))]).is_err());
    }

    #[test]
    fn whatever_stands_for_true_is_true() {
        let a = Tensor::new(Elem::Bool, vec![4], vec![0, 1, 2, 255].into()).unwrap();
        let b = Tensor::from_bools(vec![1], [true]).unwrap();
        assert_eq!(one(And {}, &[&a, &b]).bytes()[..], [0, 1, 1, 1]);
        assert_eq!(one(Xor {}, &[&a, &b]).bytes()[..], [1, 0, 0, 0]);
        assert_eq!(one(Or {}, &[&a, &b]).bytes()[..], [1; 4]);
        assert_eq!(one(Not {}, &[&a]).bytes()[..], [1, 0, 0, 0]);
        assert_eq!(one(Equal {}, &[&a, &b]).bytes()[..], [0, 1, 1, 1]);
    }

    #[test]
    fn infinities_are_told_by_sign() {
        let x = tensor(&[4], &[f16::INFINITY, f16::NEG_INFINITY, f16::NAN, f16::ONE]);
        for (positive, negative) in [(true, true), (true, false), (false, true), (false, false)] {
            let y = one(IsInf { positive, negative }, &[&x]);
            assert_eq!(truths(y), [positive, negative, false, false]);
        }
        assert_eq!(truths(one(IsNan {}, &[&x])), [false, false, true, false]);
    }
}
