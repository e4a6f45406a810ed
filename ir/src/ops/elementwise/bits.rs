//! Integers bit by bit, and elements read as another type of as many bits.

use super::broadcast::{map, zip};
use super::formulas::match_int;
use super::*;
use crate::ty::Elem;
use crate::{bail, op};

/// Declares functions of the bits of two integers, all of which commute.
macro_rules! bitwise {
    ($($(#[$meta:meta])* $name:ident = $mnemonic:literal, $operator:tt;)*) => { $(
        op! { $(#[$meta])* $name = $mnemonic (a, b) {} }
        impl OpDef for $name {
            const COMMUTES: bool = true;
            fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
                infer(&args, module)
            }
            fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
                let (a, b) = (&args[0], &args[1]);
                Ok(vec![match_int!(a.elem(), I => zip(a, b, |a: I, b: I| a $operator b)?)])
            }
        }
    )* };
}

bitwise! {
    /// The bits that are set in both.
    BitAnd = "bit_and", &;
    /// The bits that are set in either.
    BitOr = "bit_or", |;
    /// The bits that are set in one of the two.
    BitXor = "bit_xor", ^;
}

op! {
    /// The bits that are not set.
    BitNot = "bit_not" (x) {}
}

op! {
    /// The bits of `a` moved by `b` places, towards higher ones or lower ones. Zeros come in, from above a negative number
    /// its sign. By as many places as there are bits or more, or a negative number of them, nothing else is left.
    /// ONNX BitShift-28.
    Shift = "shift" (a, b) { left: bool }
}

op! {
    /// The bits of an element as another type, which has as many.
    BitCast = "bit_cast" (x) { to: Elem }
}

impl OpDef for BitNot {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        infer(&args, module)
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        Ok(vec![match_int!(args[0].elem(), I => map(&args[0], |x: I| !x)?)])
    }
}

impl OpDef for Shift {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        infer(&args, module)
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (a, b) = (&args[0], &args[1]);
        let left = self.left;
        Ok(vec![match_int!(a.elem(), I => zip(a, b, |a: I, b: I| shifted(a, b, left))?)])
    }
}

fn shifted<I: Int>(a: I, places: I, left: bool) -> I {
    // Elements have at most 64 bits, so that what is left of 128 tells.
    let places = u32::try_from(places.wide()).map_or(64, |places| places.min(64));
    I::narrow(if left { a.wide() << places } else { a.wide() >> places })
}

impl OpDef for BitCast {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        if x.elem.bits() != self.to.bits() || [x.elem, self.to].contains(&Elem::Trit) {
            bail!("{x} has not the bits of {}", self.to);
        }
        Ok(vec![x.with(self.to)])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = &args[0];
        Ok(vec![match self.to {
            // Whatever stands for true.
            Elem::Bool => Tensor::from_bools(x.dims().to_vec(), x.bytes().iter().map(|b| *b != 0))?,
            to => Tensor::new(to, x.dims().to_vec(), x.bytes().clone())?,
        }])
    }
}

/// The broadcast of integers of one type.
fn infer(args: &Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
    if !args[0].elem.is_int() {
        bail!("expects integers, got {}", args[0]);
    }
    formulas::infer(args, true, module)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, run, tensor};

    #[test]
    fn bits_meet_one_by_one() {
        let (a, b) = (tensor(&[2, 1], &[0b1100u8, 0xff]), tensor(&[2], &[0b1010u8, 0]));
        let bytes = |op: Op| one(op, &[&a, &b]).bytes().to_vec();
        assert_eq!(bytes(BitAnd {}.into()), [0b1000, 0, 0b1010, 0]);
        assert_eq!(bytes(BitOr {}.into()), [0b1110, 0b1100, 0xff, 0xff]);
        assert_eq!(bytes(BitXor {}.into()), [0b0110, 0b1100, 0xf5, 0xff]);
        assert_eq!(one(BitNot {}, &[&tensor(&[2], &[0i64, -2])]).values::<i64>().unwrap()[..], [-1, 1]);
        let other = tensor(&[2], &[1i8, 2]);
        assert!(run(BitAnd {}, &[Some(&a), Some(&other)]).is_err());
        assert!(run(BitNot {}, &[Some(&Tensor::scalar(1f32))]).is_err());
        assert!(run(BitNot {}, &[Some(&Tensor::from_bools(vec![1], [true]).unwrap())]).is_err());
    }

    #[test]
    fn shifts_beyond_the_bits_leave_nothing() {
        let shift = |a: Tensor, b: Tensor, left: bool| run(Shift { left }, &[Some(&a), Some(&b)]);
        let places = tensor(&[4], &[1u8, 7, 8, 255]);
        let y = shift(Tensor::scalar(0x81u8), places.clone(), true).unwrap();
        assert_eq!(y[0].bytes()[..], [2, 0x80, 0, 0]);
        let y = shift(Tensor::scalar(0x81u8), places, false).unwrap();
        assert_eq!(y[0].bytes()[..], [0x40, 1, 0, 0]);
        let places = tensor(&[3], &[0u64, 63, 64]);
        let y = shift(Tensor::scalar(u64::MAX), places, true).unwrap();
        assert_eq!(y[0].values::<u64>().unwrap()[..], [u64::MAX, 1 << 63, 0]);
        let y = shift(Tensor::scalar(-8i32), tensor(&[2], &[1i32, 99]), false).unwrap();
        assert_eq!(y[0].values::<i32>().unwrap()[..], [-4, -1]);
        let y = shift(tensor(&[2], &[1i32, -1]), Tensor::scalar(-1i32), false).unwrap();
        assert_eq!(y[0].values::<i32>().unwrap()[..], [0, -1]);
        assert_eq!(shift(Tensor::scalar(-1i8), Tensor::scalar(-1i8), true).unwrap(), [Tensor::scalar(0i8)]);
    }

    #[test]
    fn bits_are_read_as_another_type() {
        let cast = |x: &Tensor, to: Elem| one(BitCast { to }, &[x]);
        let x = tensor(&[2], &[1f32, -0.0]);
        let bits = cast(&x, Elem::U32);
        assert_eq!(bits.values::<u32>().unwrap()[..], [0x3f80_0000, 0x8000_0000]);
        assert_eq!(cast(&bits, Elem::F32), x);
        let y = cast(&tensor(&[3], &[0u8, 1, 2]), Elem::Bool);
        assert_eq!(y.bytes()[..], [0, 1, 1]);
        let narrow = Tensor::pack(Elem::U4, vec![3], &[15, 7, 8]).unwrap();
        assert_eq!(&*cast(&narrow, Elem::I4).unpacked().unwrap(), &[0xff, 7, 0xf8]);
        assert!(run(BitCast { to: Elem::F64 }, &[Some(&x)]).is_err());
        let trit = Tensor::pack(Elem::I2, vec![1], &[1]).unwrap();
        assert!(run(BitCast { to: Elem::Trit }, &[Some(&trit)]).is_err());
    }
}
