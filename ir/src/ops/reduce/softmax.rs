//! Softmax and its kin: every row of an axis becomes another.

use super::super::real::{Real, in_real, sum_strands};
use super::*;
use crate::{bail, op};

op! {
    /// `e^(x - max x) / Σ e^(x - max x)` along `axis`, the sum in sixteen strands as in `reduce_sum`.
    ///
    /// A row with NaN or +∞, or of nothing but -∞, becomes NaN.
    Softmax = "softmax" (x) { axis: usize }
}

op! {
    /// `(x - max x) - log Σ e^(x - max x)` along `axis`, the sum as in `softmax`.
    LogSoftmax = "log_softmax" (x) { axis: usize }
}

op! {
    /// 1 at the first of the largest along `axis`, 0 elsewhere.
    Hardmax = "hardmax" (x) { axis: usize }
}

macro_rules! along {
    ($name:ident, $f:ident) => {
        impl OpDef for $name {
            fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
                check_axes(&args[0], &[self.axis])?;
                if !args[0].elem.is_float() {
                    bail!("expects floats, got {}", args[0]);
                }
                Ok(vec![args[0].clone()])
            }

            fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
                fn along<T: Real>(x: &Tensor) -> OpResult<Tensor> {
                    let mut values = T::read(x)?.into_owned();
                    let n = x.dims().last().copied().unwrap_or(1);
                    values.chunks_mut(n.max(1)).for_each(|row| $f(row));
                    T::write(x.elem(), x.dims().to_vec(), values)
                }
                let x = axes_last(&args[0], &[self.axis])?;
                Ok(vec![axis_back(in_real!(x.elem(), along(&x))?, self.axis)?])
            }
        }
    };
}
along!(Softmax, softmax);
along!(LogSoftmax, log_softmax);
along!(Hardmax, hardmax);

/// `softmax` of a row, in place.
pub(in crate::ops) fn softmax<T: Real>(row: &mut [T]) {
    let max = max(row);
    for v in row.iter_mut() {
        *v = (*v - max).exp();
    }
    let sum = sum_strands(row.iter().copied());
    for v in row {
        *v = *v / sum;
    }
}

fn log_softmax<T: Real>(row: &mut [T]) {
    let max = max(row);
    let log = sum_strands(row.iter().map(|v| (*v - max).exp())).log();
    for v in row {
        *v = (*v - max) - log;
    }
}

fn hardmax<T: Real>(row: &mut [T]) {
    let first = (0..row.len()).reduce(|best, i| if row[i] > row[best] { i } else { best });
    for (i, v) in row.iter_mut().enumerate() {
        *v = T::of(if Some(i) == first { 1.0 } else { 0.0 });
    }
}

/// The largest that is a number; NaN comes back by way of the differences to it.
fn max<T: Real>(row: &[T]) -> T {
    row.iter().fold(T::of(f32::NEG_INFINITY), |max, v| if *v > max { *v } else { max })
}
