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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, tensor};

    #[test]
    fn rows_lie_along_the_axis() {
        let x = tensor(&[2, 3], &[1f32, 1000.0, 3.0, 1.0, 1001.0, 2.0]);
        let y = one(Softmax { axis: 0 }, &[&x]);
        let e = 1f32.exp();
        let want = [0.5, 1.0 / (1.0 + e), e / (1.0 + e), 0.5, e / (1.0 + e), 1.0 / (1.0 + e)];
        let log = one(LogSoftmax { axis: 0 }, &[&x]);
        let (y, log) = (y.values::<f32>().unwrap(), log.values::<f32>().unwrap());
        for ((y, log), want) in y.iter().zip(log.iter()).zip(want) {
            assert!((y - want).abs() < 1e-6 && (log - want.ln()).abs() < 1e-6, "{y} {log} {want}");
        }
        let hard = one(Hardmax { axis: 1 }, &[&x]);
        assert_eq!(hard, tensor(&[2, 3], &[0f32, 1.0, 0.0, 0.0, 1.0, 0.0]));
        let equal = one(Hardmax { axis: 0 }, &[&tensor(&[2, 1], &[7f64; 2])]);
        assert_eq!(equal, tensor(&[2, 1], &[1f64, 0.0]));
    }

    #[test]
    fn degenerate_rows_are_not_numbers() {
        let inf = f32::INFINITY;
        for row in [[-inf, -inf], [1.0, inf], [f32::NAN, 1.0]] {
            let y = one(Softmax { axis: 0 }, &[&tensor(&[2], &row)]);
            assert!(y.values::<f32>().unwrap().iter().any(|v| v.is_nan()), "{row:?}");
        }
        let masked = one(Softmax { axis: 0 }, &[&tensor(&[2], &[-inf, 1.0])]);
        assert_eq!(masked, tensor(&[2], &[0f32, 1.0]));
    }
}
