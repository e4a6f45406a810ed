//! Shapes as values, and vectors of numbers in sequence.

use half::{bf16, f16};

use super::*;
use crate::ops::require::may_equal;
use crate::tensor::{Element, result_count};
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// The dimensions of `x` from axis `start` up to `end`, as i64. ONNX Shape.
    Shape = "shape" (x) { start: usize, end: usize }
}
op! {
    /// The number of elements of `x`, as i64. ONNX Size.
    Size = "size" (x) {}
}
op! {
    /// `start, start+delta, …` up to but without `limit`, which are `count` elements. ONNX Range.
    Range = "range" (start, limit, delta) { count: Dim }
}

impl OpDef for Shape {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        if self.start > self.end || self.end > args[0].rank() {
            bail!("{} has no axes {}..{}", args[0], self.start, self.end);
        }
        Ok(vec![Type::new(Elem::I64, [self.end - self.start])])
    }
    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let dims = &args[0].dims()[self.start..self.end];
        Ok(vec![Tensor::vector(dims.iter().map(|d| *d as i64).collect())])
    }
}

impl OpDef for Size {
    fn infer(&self, _: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        Ok(vec![Type::scalar(Elem::I64)])
    }
    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        Ok(vec![Tensor::scalar(args[0].len() as i64)])
    }
}

impl OpDef for Range {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let elem = args[0].elem;
        for ty in args.from(0) {
            let single = ty.dims.iter().all(|d| may_equal(d, &Dim::constant(1), module));
            if ty.elem != elem || ty.rank() > 1 || !single {
                bail!("the bounds of a range must be numbers of one type, got {ty}");
            }
        }
        Ok(vec![Type { elem, dims: layout::args::dimensions(std::slice::from_ref(&self.count))? }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        macro_rules! ints {
            ($t:ty) => {{
                let [start, limit, delta] = bounds::<$t>(args)?.map(i128::from);
                if delta == 0 {
                    bail!("a step of 0");
                }
                // Away from zero where inexact, so that the last element before the limit counts.
                let span = limit - start;
                let count = span / delta + (span % delta != 0 && (span < 0) == (delta < 0)) as i128;
                sequence(count.max(0) as f64, |i| (start + i as i128 * delta) as $t)
            }};
        }
        macro_rules! floats {
            ($t:ty, $to:expr, $from:expr) => {{
                let [start, limit, delta] = bounds::<$t>(args)?.map($to);
                sequence(((limit - start) / delta).ceil(), |i| $from(start + i as f64 * delta))
            }};
        }
        Ok(vec![match args[0].elem() {
            Elem::I8 => ints!(i8),
            Elem::I16 => ints!(i16),
            Elem::I32 => ints!(i32),
            Elem::I64 => ints!(i64),
            Elem::U8 => ints!(u8),
            Elem::F32 => floats!(f32, f64::from, |v| v as f32),
            Elem::F64 => floats!(f64, |v| v, |v| v),
            Elem::F16 => floats!(f16, f64::from, f16::from_f64),
            Elem::Bf16 => floats!(bf16, f64::from, bf16::from_f64),
            elem => bail!("no ranges of {elem}"),
        }?])
    }
}

fn bounds<T: Element>(args: Args<Tensor>) -> OpResult<[T; 3]> {
    let mut bounds = [T::default(); 3];
    for (bound, x) in bounds.iter_mut().zip(args.from(0)) {
        *bound = *x.values::<T>()?.first().ok_or("a bound of the range has no elements")?;
    }
    Ok(bounds)
}

fn sequence<T: Element>(count: f64, element: impl Fn(usize) -> T) -> OpResult<Tensor> {
    if !count.is_finite() {
        bail!("the range has no end");
    }
    let count = result_count(T::ELEM, &[count.max(0.0) as usize])?;
    Ok(Tensor::vector((0..count).map(element).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DimEnv;

    fn range<T: Element>(start: T, limit: T, delta: T) -> OpResult<Vec<T>> {
        let args = [start, limit, delta].map(Tensor::scalar);
        let op = Range { count: Dim::symbol("n") };
        let result = op.eval(Args::new(&args.each_ref().map(Some)), &DimEnv::default())?;
        Ok(result[0].values::<T>()?.to_vec())
    }

    #[test]
    fn ranges_stop_before_the_limit() {
        assert_eq!(range(10i32, 4, -2), Ok(vec![10, 8, 6]));
        assert_eq!(range(10i32, 5, -2), Ok(vec![10, 8, 6]));
        assert_eq!(range(1i64, 4, 2), Ok(vec![1, 3]));
        assert_eq!(range(4i64, 1, 2), Ok(vec![]));
        assert_eq!(range(0.0f32, 1.0, 0.25), Ok(vec![0.0, 0.25, 0.5, 0.75]));
    }

    #[test]
    fn ranges_without_end_are_refused() {
        assert!(range(0i64, 5, 0).is_err());
        assert!(range(0.0f32, 5.0, 0.0).is_err());
        assert!(range(0.0f32, f32::NAN, 1.0).is_err());
        assert!(range(i64::MIN, i64::MAX, 1).is_err());
    }
}
