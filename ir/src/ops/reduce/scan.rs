//! Running sums and products.

use super::super::elementwise::{Int, match_int};
use super::super::real::{Real, in_real};
use super::*;
use crate::{bail, op};

op! {
    /// The sums of the elements up to each along `axis`, itself not included if `exclusive`, from the end if
    /// `reverse` (ONNX CumSum). `axis` is an integer, counted from the end where it is negative.
    CumSum = "cumsum" (x, axis) { exclusive: bool, reverse: bool }
}
op! {
    /// The products of the elements up to each along `axis`, as `cumsum` has the sums. ONNX CumProd.
    CumProd = "cumprod" (x, axis) { exclusive: bool, reverse: bool }
}

/// What both have in common.
macro_rules! running {
    ($name:ident, $int:ident, $float:tt, $start:literal) => {
        impl OpDef for $name {
            fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
                layout::args::expect_single(&args[1], "axis")?;
                if !is_number(args[0].elem) {
                    bail!("expects numbers of 8 bits or more, got {}", args[0]);
                }
                Ok(vec![args[0].clone()])
            }

            fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
                fn floats<T: Real>(op: &$name, x: &Tensor) -> OpResult<Tensor> {
                    let way = (op.exclusive, op.reverse);
                    let y = run(way, &T::read(x)?, x.dims(), T::of($start), |a, b| a $float b);
                    T::write(x.elem(), x.dims().to_vec(), y)
                }
                let axis = layout::args::axis(layout::args::single(&args[1])?, args[0].rank())?;
                let x = axes_last(&args[0], &[axis])?;
                let y = match x.elem() {
                    elem if elem.is_float() => in_real!(elem, floats(self, &x))?,
                    elem => match_int!(elem, I => {
                        let way = (self.exclusive, self.reverse);
                        let y = run(way, &x.values::<I>()?, x.dims(), I::narrow($start as i128), <I as Int>::$int);
                        Tensor::from_vec(x.dims().to_vec(), y)?
                    }),
                };
                Ok(vec![axis_back(y, axis)?])
            }
        }
    };
}
running!(CumSum, plus, +, 0.0);
running!(CumProd, times, *, 1.0);

/// What `step` makes of the elements of each row before the next, from `first` on.
fn run<T: Copy>(
    (exclusive, reverse): (bool, bool),
    x: &[T],
    dims: &[usize],
    first: T,
    step: fn(T, T) -> T,
) -> Vec<T> {
    let mut y = Vec::with_capacity(x.len());
    if x.is_empty() {
        return y;
    }
    for row in rows(x, dims) {
        let (start, mut so_far) = (y.len(), first);
        let mut next = |v: &T| {
            let before = so_far;
            so_far = step(so_far, *v);
            y.push(if exclusive { before } else { so_far });
        };
        if reverse {
            row.iter().rev().for_each(&mut next);
            y[start..].reverse();
        } else {
            row.iter().for_each(&mut next);
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{self, one, tensor};

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
            testing::run(
                CumSum { exclusive: false, reverse: false },
                &[Some(&x), Some(&Tensor::scalar(2i64))]
            )
            .is_err()
        );
    }

    #[test]
    fn products_run_either_way_and_wrap() {
        let x = tensor(&[3], &[2i32, 3, 4]);
        for (exclusive, reverse, want) in [
            (false, false, [2, 6, 24]),
            (true, false, [1, 2, 6]),
            (false, true, [24, 12, 4]),
            (true, true, [12, 4, 1]),
        ] {
            let op = CumProd { exclusive, reverse };
            assert_eq!(one(op.clone(), &[&x, &Tensor::scalar(-1i64)]), tensor(&[3], &want));
            let floats = want.map(|v| v as f32);
            let y = one(op, &[&tensor(&[3], &[2f32, 3.0, 4.0]), &Tensor::scalar(0i64)]);
            assert_eq!(y, tensor(&[3], &floats));
        }
        let wide = tensor(&[2], &[u64::MAX, 2]);
        let y = one(CumProd { exclusive: false, reverse: false }, &[&wide, &Tensor::scalar(0i64)]);
        assert_eq!(y, tensor(&[2], &[u64::MAX, u64::MAX - 1]));
    }
}
