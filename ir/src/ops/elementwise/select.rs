//! Choosing between values.

use half::{bf16, f16};

use super::broadcast::map;
use super::formulas::match_int;
use super::*;
use crate::tensor::{Element, cast_bytes, result_count};
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// `x` where `condition` is true, else `y`, with broadcasting of all three.
    Where = "where" (condition, x, y) {}
}

op! {
    /// `min(max(x, low), high)`; a bound is a scalar or one element, and NaN in `x` stays.
    Clip = "clip" (x, low: optional, high: optional) {}
}

impl OpDef for Where {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (condition, x, y) = (&args[0], &args[1], &args[2]);
        if condition.elem != Elem::Bool || x.elem != y.elem {
            bail!("expects bool and two of one type, got {condition}, {x} and {y}");
        }
        Ok(vec![Type {
            elem: x.elem,
            dims: broadcast(&condition.dims, &broadcast(&x.dims, &y.dims, module)?, module)?,
        }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, y) = (&args[1], &args[2]);
        let chosen = match x.elem().bits() {
            64 => choose(&args[0], (x, &cast_bytes::<u64>(x.bytes())), (y, &cast_bytes(y.bytes())))?,
            32 => choose(&args[0], (x, &cast_bytes::<u32>(x.bytes())), (y, &cast_bytes(y.bytes())))?,
            16 => choose(&args[0], (x, &cast_bytes::<u16>(x.bytes())), (y, &cast_bytes(y.bytes())))?,
            _ => {
                let bytes = choose(&args[0], (x, &x.unpacked()?), (y, &y.unpacked()?))?;
                return Ok(vec![Tensor::pack(x.elem(), bytes.dims().to_vec(), bytes.bytes())?]);
            }
        };
        Ok(vec![Tensor::new(x.elem(), chosen.dims().to_vec(), chosen.bytes().clone())?])
    }
}

/// `where` on elements as bits of their width.
fn choose<T: Element>(
    condition: &Tensor,
    (x, x_bits): (&Tensor, &[T]),
    (y, y_bits): (&Tensor, &[T]),
) -> OpResult<Tensor> {
    let (mask, mask_dims): (Vec<bool>, _) = (condition.bools()?.collect(), condition.dims());
    if x.dims() == mask_dims && y.dims() == mask_dims {
        let values = mask.iter().zip(x_bits.iter().zip(y_bits));
        let values = values.map(|(m, (x, y))| if *m { *x } else { *y }).collect();
        return Ok(Tensor::from_vec(mask_dims.to_vec(), values)?);
    }
    let dims = broadcast_dims(mask_dims, &broadcast_dims(x.dims(), y.dims())?)?;
    let mut values = Vec::with_capacity(result_count(T::ELEM, &dims)?);
    let (xs, ys) = (offsets(x.dims(), &dims), offsets(y.dims(), &dims));
    let at = offsets(mask_dims, &dims).zip(xs).zip(ys);
    values.extend(at.map(|((m, i), j)| if mask[m] { x_bits[i] } else { y_bits[j] }));
    Ok(Tensor::from_vec(dims, values)?)
}

impl OpDef for Clip {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        if !x.elem.is_float() && !x.elem.is_int() || x.elem.bits() < 8 {
            bail!("expects numbers of 8 bits or more, got {x}");
        }
        for bound in args.from(1) {
            if bound.elem != x.elem || bound.dims.iter().any(|d| *d != Dim::constant(1)) {
                bail!("a bound of {x} is one {}, got {bound}", x.elem);
            }
        }
        Ok(vec![x.clone()])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        Ok(vec![match args[0].elem() {
            Elem::F32 => clip::<f32>(args)?,
            Elem::F64 => clip::<f64>(args)?,
            Elem::F16 => clip::<f16>(args)?,
            Elem::Bf16 => clip::<bf16>(args)?,
            elem => match_int!(elem, I => clip::<I>(args)?),
        }])
    }
}

fn clip<T: Element>(args: Args<Tensor>) -> OpResult<Tensor> {
    let bound = |i| args.get(i).map(|b| b.values::<T>()).transpose();
    let (low, high) = (bound(1)?, bound(2)?);
    let (low, high) = (low.as_deref().and_then(<[T]>::first), high.as_deref().and_then(<[T]>::first));
    map(&args[0], |x: T| {
        let x = low.map_or(x, |low| if x < *low { *low } else { x });
        high.map_or(x, |high| if *high < x { *high } else { x })
    })
}

/// The value of `clip` on floats, as `elementwise::formula` has it for others.
pub(super) fn formula<F: Float>(op: &Op, args: &[Option<F>]) -> Option<F> {
    let (Op::Clip(_), &[Some(x), ref bounds @ ..]) = (op, args) else { return None };
    let bound = |i: usize| bounds.get(i).copied().flatten();
    let x = bound(0).map_or(x, |low| F::select(x.less(low), low, x));
    Some(bound(1).map_or(x, |high| F::select(high.less(x), high, x)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, run, tensor};

    #[test]
    fn all_three_broadcast() {
        let condition = Tensor::from_bools(vec![2, 1], [true, false]).unwrap();
        let (x, y) = (tensor(&[3], &[1i16, 2, 3]), Tensor::scalar(9i16));
        assert_eq!(one(Where {}, &[&condition, &x, &y]), tensor(&[2, 3], &[1i16, 2, 3, 9, 9, 9]));
        let same = tensor(&[2, 1], &[5f64, 6.0]);
        assert_eq!(one(Where {}, &[&condition, &same, &same]), same);
        let trits = |v: &[u8]| Tensor::pack(Elem::Trit, vec![2, 1], v).unwrap();
        assert_eq!(one(Where {}, &[&condition, &trits(&[1, 1]), &trits(&[0, 255])]), trits(&[1, 255]));
    }

    #[test]
    fn the_upper_bound_wins() {
        let x = tensor(&[4], &[-5f32, 0.5, 5.0, f32::NAN]);
        let (low, high) = (Tensor::scalar(1f32), tensor(&[1], &[-1f32]));
        for (bounds, want) in [
            ([Some(&low), Some(&high)], [-1.0, -1.0, -1.0]),
            ([Some(&low), None], [1.0, 1.0, 5.0]),
            ([None, Some(&high)], [-5.0, -1.0, -1.0]),
        ] {
            let y = run(Clip {}, &[Some(&x), bounds[0], bounds[1]]).unwrap().remove(0);
            let got = y.values::<f32>().unwrap();
            assert_eq!(got[..3], want);
            assert!(got[3].is_nan());
            let bounds = bounds.map(|b| b.map(|b| b.values::<f32>().unwrap()[0]));
            assert_eq!(formula(&Clip {}.into(), &[Some(-5f32), bounds[0], bounds[1]]), Some(want[0]));
        }
        assert!(run(Clip {}, &[Some(&x), Some(&x)]).is_err());
    }
}
