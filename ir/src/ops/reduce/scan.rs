//! Running sums.

use super::super::elementwise::{Int, match_int};
use super::super::real::{Real, in_real};
use super::*;
use crate::{bail, op};

op! {
    /// The sums of the elements up to each along `axis`, itself not included if `exclusive`, from the end if
    /// `reverse` (ONNX CumSum). `axis` is an integer, counted from the end where it is negative.
    CumSum = "cumsum" (x, axis) { exclusive: bool, reverse: bool }
}

impl OpDef for CumSum {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        layout_args::expect_single(&args[1], "axis")?;
        if !is_number(args[0].elem) {
            bail!("expects numbers of 8 bits or more, got {}", args[0]);
        }
        Ok(vec![args[0].clone()])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let axis = layout_args::axis(layout_args::single(&args[1])?, args[0].rank())?;
        let x = axes_last(&args[0], &[axis])?;
        let y = match x.elem() {
            elem if elem.is_float() => in_real!(elem, floats(self, &x))?,
            elem => match_int!(elem, I => {
                let y = self.run(&x.values::<I>()?, x.dims(), <I as Int>::plus);
                Tensor::from_vec(x.dims().to_vec(), y)?
            }),
        };
        Ok(vec![axis_back(y, axis)?])
    }
}

impl CumSum {
    fn run<T: Copy + Default>(&self, x: &[T], dims: &[usize], plus: fn(T, T) -> T) -> Vec<T> {
        let mut y = Vec::with_capacity(x.len());
        if x.is_empty() {
            return y;
        }
        for row in rows(x, dims) {
            let (start, mut sum) = (y.len(), T::default());
            let mut step = |v: &T| {
                let before = sum;
                sum = plus(sum, *v);
                y.push(if self.exclusive { before } else { sum });
            };
            if self.reverse {
                row.iter().rev().for_each(&mut step);
                y[start..].reverse();
            } else {
                row.iter().for_each(&mut step);
            }
        }
        y
    }
}

fn floats<T: Real>(op: &CumSum, x: &Tensor) -> OpResult<Tensor> {
    T::write(x.elem(), x.dims().to_vec(), op.run(&T::read(x)?, x.dims(), |a, b| a + b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, run, tensor};

    #[test]
    fn sums_run_either_way() {
        let x = tensor(&[2, 3], &[1i32, 2, 3, 4, 5, 6]);
        for (axis, exclusive, reverse, want) in [
            (1, false, false, [1, 3, 6, 4, 9, 15]),
            (-1, true, false, [0, 1, 3, 0, 4, 9]),
            (1, false, true, [6, 5, 3, 15, 11, 6]),
            (0, true, true, [4, 5, 6, 0, 0, 0]),
        ] {
            let y = one(CumSum { exclusive, reverse }, &[&x, &Tensor::scalar(axis)]);
            assert_eq!(y, tensor(&[2, 3], &want));
        }
        let half = tensor(&[2], &[half::f16::ONE; 2]);
        let y = one(CumSum { exclusive: false, reverse: false }, &[&half, &Tensor::vector(vec![0i64])]);
        assert_eq!(y.values::<half::f16>().unwrap()[1].to_f32(), 2.0);
        let giant = tensor::<f32>(&[1 << 40, 0], &[]);
        assert_eq!(one(CumSum { exclusive: false, reverse: false }, &[&giant, &Tensor::scalar(1i64)]), giant);
        assert!(
            run(CumSum { exclusive: false, reverse: false }, &[Some(&x), Some(&Tensor::scalar(2i64))])
                .is_err()
        );
    }
}
