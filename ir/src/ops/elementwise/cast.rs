//! From one element type to another.

use std::borrow::Cow;

use half::{bf16, f16};

use super::*;
use crate::small_float::decode;
use crate::tensor::result_count;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// The elements as `to`, by the rules of ONNX Cast.
    ///
    /// To floats, rounds to nearest even. To integers, floats are cut towards zero; of what does not fit, types of
    /// 32 bits and more take the nearest value (NaN gives 0) and narrower ones the low bits of the 32-bit result,
    /// as integers do. To `bool`, everything but zero is true. Trits cannot be cast to, and neither can floats under 16
    /// bits, which `narrow` makes.
    Cast = "cast" (x) { to: Elem }
}

/// The tensor of `$to` whose elements are those of `$values`: integers of under 32 bits by way of `i32`, floats
/// of 16 bits and truth values as given, all others by `as`.
macro_rules! cast_from {
    ($to:expr, $x:ident, $values:ident, |$v:ident: $t:ty| i32: $int:expr, f16: $half:expr, bf16: $brain:expr, bool: $truth:expr) => {{
        let dims = $x.dims().to_vec();
        let values = $values.iter().map(|v: &$t| *v);
        match $to {
            Elem::F32 => Tensor::from_vec(dims, values.map(|$v| $v as f32).collect())?,
            Elem::F64 => Tensor::from_vec(dims, values.map(|$v| $v as f64).collect())?,
            Elem::F16 => Tensor::from_vec(dims, values.map(|$v| $half).collect())?,
            Elem::Bf16 => Tensor::from_vec(dims, values.map(|$v| $brain).collect())?,
            Elem::I64 => Tensor::from_vec(dims, values.map(|$v| $v as i64).collect())?,
            Elem::U64 => Tensor::from_vec(dims, values.map(|$v| $v as u64).collect())?,
            Elem::I32 => Tensor::from_vec(dims, values.map(|$v| $int).collect())?,
            Elem::U32 => Tensor::from_vec(dims, values.map(|$v| $v as u32).collect())?,
            Elem::I16 => Tensor::from_vec(dims, values.map(|$v| ($int) as i16).collect())?,
            Elem::U16 => Tensor::from_vec(dims, values.map(|$v| ($int) as u16).collect())?,
            Elem::Bool => Tensor::from_bools(dims, values.map(|$v| $truth))?,
            to => {
                let low: Vec<u8> = values.map(|$v| ($int) as u8).collect();
                Tensor::pack(to, dims, &low)?
            }
        }
    }};
}

impl OpDef for Cast {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        if self.to == Elem::Trit && args[0].elem != Elem::Trit {
            bail!("cannot cast {} to trit", args[0]);
        }
        if self.to.is_small_float() && args[0].elem != self.to {
            bail!("cannot cast {} to {}", args[0], self.to);
        }
        Ok(vec![args[0].with(self.to)])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = &args[0];
        if x.elem() == self.to {
            return Ok(vec![x.clone()]);
        }
        result_count(self.to, x.dims())?;
        Ok(vec![match Wide::of(x)? {
            Wide::F32(v) => {
                cast_from!(self.to, x, v, |v: f32| i32: v as i32, f16: f16::from_f32(v), bf16: bf16::from_f32(v), bool: v != 0.0)
            }
            Wide::F64(v) => {
                cast_from!(self.to, x, v, |v: f64| i32: v as i32, f16: f16::from_f32(to_odd(v)), bf16: bf16::from_f32(to_odd(v)), bool: v != 0.0)
            }
            Wide::I64(v) => {
                cast_from!(self.to, x, v, |v: i64| i32: v as i32, f16: f16::from_f32(to_odd(v as f64)), bf16: bf16::from_f32(to_odd(v as f64)), bool: v != 0)
            }
            Wide::U64(v) => {
                cast_from!(self.to, x, v, |v: u64| i32: v as i32, f16: f16::from_f32(to_odd(v as f64)), bf16: bf16::from_f32(to_odd(v as f64)), bool: v != 0)
            }
        }])
    }
}

/// The f32 next to `value` towards zero, or that one of its two neighbours that has an odd last bit: what is
/// rounded again to fewer bits is then as if it had been rounded once.
fn to_odd(value: f64) -> f32 {
    let near = value as f32;
    let exact = f64::from(near);
    if exact == value || near.is_nan() {
        return near;
    }
    let towards_zero = if exact.abs() > value.abs() { near.to_bits() - 1 } else { near.to_bits() };
    f32::from_bits(towards_zero | 1)
}

/// Elements in the narrowest of four types that holds them.
enum Wide<'a> {
    F32(Cow<'a, [f32]>),
    F64(Cow<'a, [f64]>),
    I64(Cow<'a, [i64]>),
    U64(Cow<'a, [u64]>),
}

impl Wide<'_> {
    fn of(x: &Tensor) -> OpResult<Wide<'_>> {
        macro_rules! widened {
            ($t:ty) => {
                Wide::I64(x.values::<$t>()?.iter().map(|v| i64::from(*v)).collect())
            };
        }
        Ok(match x.elem() {
            Elem::F32 => Wide::F32(x.values()?),
            Elem::F64 => Wide::F64(x.values()?),
            Elem::F16 => Wide::F32(x.values::<f16>()?.iter().map(|v| v.to_f32()).collect()),
            Elem::Bf16 => Wide::F32(x.values::<bf16>()?.iter().map(|v| v.to_f32()).collect()),
            Elem::I64 => Wide::I64(x.values()?),
            Elem::U64 => Wide::U64(x.values()?),
            Elem::I16 => widened!(i16),
            Elem::U16 => widened!(u16),
            Elem::I32 => widened!(i32),
            Elem::U32 => widened!(u32),
            Elem::Bool => Wide::I64(x.bools()?.map(i64::from).collect()),
            elem if elem.is_small_float() => {
                Wide::F32(x.unpacked()?.iter().map(|code| decode(elem, *code)).collect())
            }
            elem if elem.is_signed() => {
                Wide::I64(x.unpacked()?.iter().map(|v| i64::from(*v as i8)).collect())
            }
            _ => Wide::I64(x.unpacked()?.iter().map(|v| i64::from(*v)).collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, run, tensor};

    fn cast(x: &Tensor, to: Elem) -> Tensor {
        one(Cast { to }, &[x])
    }

    #[test]
    fn floats_become_integers() {
        let x = tensor(&[6], &[-9.7f32, 300.5, f32::NAN, f32::INFINITY, 2.5, -1.0]);
        assert_eq!(cast(&x, Elem::I64).values::<i64>().unwrap()[..], [-9, 300, 0, i64::MAX, 2, -1]);
        assert_eq!(cast(&x, Elem::I32).values::<i32>().unwrap()[..], [-9, 300, 0, i32::MAX, 2, -1]);
        assert_eq!(cast(&x, Elem::U32).values::<u32>().unwrap()[..], [0, 300, 0, u32::MAX, 2, 0]);
        assert_eq!(cast(&x, Elem::I8).values::<i8>().unwrap()[..], [-9, 44, 0, -1, 2, -1]);
        assert_eq!(&cast(&x, Elem::I4).unpacked().unwrap()[..2], [7, 0xfc]);
        assert_eq!(&cast(&x, Elem::U4).unpacked().unwrap()[..2], [7, 12]);
        assert_eq!(cast(&x, Elem::Bool).bytes()[..], [1; 6]);
    }

    #[test]
    fn narrower_floats_are_rounded_once() {
        // A hair above the middle of two halves, which by way of f32 would become that middle.
        let x = tensor(&[1], &[1.0 + 2f64.powi(-11) + 2f64.powi(-40)]);
        assert_eq!(cast(&x, Elem::F16).values::<f16>().unwrap()[0].to_f64(), 1.0 + 2f64.powi(-10));
        assert_eq!(cast(&x, Elem::Bf16).values::<bf16>().unwrap()[0].to_f64(), 1.0);
    }

    #[test]
    fn every_type_goes_through_every_type_that_holds_it() {
        let small = Tensor::pack(Elem::I2, vec![3], &[1, 0, 255]).unwrap();
        for elem in Elem::ALL.into_iter().filter(|e| e.is_signed() && *e != Elem::Trit) {
            assert_eq!(cast(&cast(&small, elem), Elem::I2), small, "{elem}");
        }
        let trits = Tensor::pack(Elem::Trit, vec![3], &[1, 0, 255]).unwrap();
        assert_eq!(cast(&trits, Elem::F32).values::<f32>().unwrap()[..], [1.0, 0.0, -1.0]);
        assert!(run(Cast { to: Elem::Trit }, &[Some(&small)]).is_err());
        let large = tensor(&[1], &[u64::MAX]);
        assert_eq!(cast(&large, Elem::F32).values::<f32>().unwrap()[..], [2f32.powi(64)]);
        assert_eq!(cast(&large, Elem::I16).values::<i16>().unwrap()[..], [-1]);
    }
}
