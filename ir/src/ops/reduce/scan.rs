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
