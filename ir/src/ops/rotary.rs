//! Rotary position embedding.

use half::{bf16, f16};

use super::real::{Real, in_real};
use super::require::{may_broadcast, may_equal};
use super::*;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// Rotates pairs of the last axis by an angle a position (RoPE, arXiv 2104.09864): `(x0·cos - x1·sin, x0·sin + x1·cos)`.
    ///
    /// `x` is `[b,h,s,d]`, `cos` and `sin` are `[b|1,s,r/2]`; the first `r` elements of a head are rotated and the
    /// rest is kept. Pair `i` is elements `2i, 2i+1` if interleaved, else `i, i + r/2`. `rounded`: each product is rounded
    /// to this type of 16 bits before the sum, as models of such types do that spell it out.
    Rotary = "rotary" (x, cos, sin) { interleaved: bool, rounded: Option<Elem> }
}

impl OpDef for Rotary {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, cos, sin) = (&args[0], &args[1], &args[2]);
        if !x.elem.is_float() || x.rank() != 4 {
            bail!("expects heads of floats as [b,h,s,d], got {x}");
        }
        if cos != sin || cos.elem != x.elem || cos.rank() != 3 {
            bail!("cos {cos} and sin {sin} of {x} are both [b,s,r/2] of {}", x.elem);
        }
        if let Some(elem) = self.rounded
            && (!matches!(elem, Elem::F16 | Elem::Bf16) || x.elem != elem && x.elem != Elem::F32)
        {
            bail!("products of {x} are not rounded to {elem}");
        }
        let fits =
            may_broadcast(&cos.dims[0], &x.dims[0], module) && may_equal(&cos.dims[1], &x.dims[2], module);
        let half = cos.dims[2].as_const();
        let inside = half.zip(x.dims[3].as_const()).is_none_or(|(half, d)| half <= d / 2);
        if !fits || !inside {
            bail!("cos and sin {cos} do not fit {x}");
        }
        Ok(vec![x.clone()])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, cos, sin) = (&args[0], &args[1], &args[2]);
        match self.rounded {
            None => in_real!(x.elem(), rotate(x, cos, sin, self.interleaved, |v| v)),
            Some(Elem::F16) => rotate(x, cos, sin, self.interleaved, |v: f32| f16::from_f32(v).to_f32()),
            Some(_) => rotate(x, cos, sin, self.interleaved, |v: f32| bf16::from_f32(v).to_f32()),
        }
    }
}

fn rotate<T: Real>(
    x: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    interleaved: bool,
    round: fn(T) -> T,
) -> OpResult<Vec<Tensor>> {
    let (&[b, h, s, d], &[tables, positions, half]) = (x.dims(), cos.dims()) else {
        bail!("expects x of rank 4 and cos of rank 3");
    };
    if half > d / 2 || positions != s || (tables != b && tables != 1) || sin.dims() != cos.dims() {
        bail!("cos and sin {:?} do not fit {:?}", cos.dims(), x.dims());
    }
    let mut y = T::read(x)?.into_owned();
    let (cos, sin) = (T::read(cos)?, T::read(sin)?);
    for (i, head) in y.chunks_mut(d.max(1)).enumerate() {
        let table = if tables == 1 { 0 } else { i / (h * s) };
        let start = (table * s + i % s) * half;
        for (pair, (c, s)) in cos[start..].iter().zip(&sin[start..]).take(half).enumerate() {
            let (i, j) = if interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
            let (x0, x1) = (head[i], head[j]);
            head[i] = round(x0 * *c) - round(x1 * *s);
            head[j] = round(x0 * *s) + round(x1 * *c);
        }
    }
    Ok(vec![T::write(x.elem(), x.dims().to_vec(), y)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(x: Vec<f32>, d: usize, interleaved: bool) -> Vec<f32> {
        let x = Tensor::from_vec(vec![1, 1, 2, d], x).unwrap();
        // Position 0 does not turn, position 1 turns by a quarter and then a half.
        let cos = Tensor::from_vec(vec![1, 2, 2], vec![1f32, 1.0, 0.0, -1.0]).unwrap();
        let sin = Tensor::from_vec(vec![1, 2, 2], vec![0f32, 0.0, 1.0, 0.0]).unwrap();
        let op = Op::from(Rotary { interleaved, rounded: None });
        let y = op.eval(&[Some(&x), Some(&cos), Some(&sin)], &DimEnv::default()).unwrap().remove(0);
        y.values::<f32>().unwrap().to_vec()
    }

    #[test]
    fn pairs_turn_and_the_rest_stays() {
        let x = vec![1.0, 2.0, 3.0, 4.0, 9.0, 1.0, 2.0, 3.0, 4.0, 9.0];
        assert_eq!(run(x.clone(), 5, true)[5..], [-2.0, 1.0, -3.0, -4.0, 9.0]);
        assert_eq!(run(x.clone(), 5, false)[5..], [-3.0, -2.0, 1.0, -4.0, 9.0]);
        assert_eq!(run(x.clone(), 5, false)[..5], x[..5]);
    }

    #[test]
    fn products_are_rounded_where_it_says_so() {
        let of = |values: &[f32], dims: &[usize]| {
            let values = values.iter().map(|v| f16::from_f32(*v)).collect();
            Tensor::from_vec(dims.to_vec(), values).unwrap()
        };
        let (x, cos, sin) = (of(&[0.1, 0.3], &[1, 1, 1, 2]), of(&[0.7], &[1, 1, 1]), of(&[0.9], &[1, 1, 1]));
        let y = |rounded| {
            let op = Op::from(Rotary { interleaved: false, rounded });
            let y = op.eval(&[Some(&x), Some(&cos), Some(&sin)], &DimEnv::default()).unwrap().remove(0);
            y.values::<f16>().unwrap().to_vec()
        };
        let [a, b, c, s] = [0.1, 0.3, 0.7, 0.9].map(f16::from_f32);
        assert_eq!(y(Some(Elem::F16)), [a * c - b * s, a * s + b * c]);
        let exact = |v: [f16; 4], sign: f32| {
            f16::from_f32(v[0].to_f32() * v[1].to_f32() + sign * v[2].to_f32() * v[3].to_f32())
        };
        assert_eq!(y(None), [exact([a, c, b, s], -1.0), exact([a, s, b, c], 1.0)]);
    }

    #[test]
    fn tables_must_fit() {
        let ty = |dims: &[usize]| Type::new(Elem::F32, dims.iter().copied());
        let op = Op::from(Rotary { interleaved: false, rounded: None });
        for (x, table) in [([1, 2, 3, 4], [1, 3, 3]), ([2, 2, 3, 4], [3, 3, 2]), ([1, 2, 3, 4], [1, 4, 2])] {
            let (x, table) = (ty(&x), ty(&table));
            assert!(op.infer(&[Some(&x), Some(&table), Some(&table)], &()).is_err(), "{x} {table}");
        }
    }
}
