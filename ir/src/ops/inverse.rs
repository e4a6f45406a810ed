//! Inverses of matrices.

use super::real::{Real, in_real};
use super::*;
use crate::{bail, op};

op! {
    /// The inverse of each matrix of the last two axes, by elimination with the largest pivots (com.microsoft Inverse-1). A
    /// matrix that has none gives infinities and NaN.
    Inverse = "inverse" (x) {}
}

impl OpDef for Inverse {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        let [.., rows, columns] = x.dims.as_slice() else { bail!("expects matrices, got {x}") };
        if !x.elem.is_float() || !require::may_equal(rows, columns, module) {
            bail!("expects square matrices of floats, got {x}");
        }
        Ok(vec![x.clone()])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        in_real!(args[0].elem(), inverses(&args[0]))
    }
}

fn inverses<T: Real>(x: &Tensor) -> OpResult<Vec<Tensor>> {
    let [.., n, columns] = x.dims() else { bail!("expects matrices, got {}", x.ty()) };
    if n != columns {
        bail!("expects square matrices, got {}", x.ty());
    }
    let mut y = vec![];
    for matrix in T::read(x)?.chunks((n * n).max(1)) {
        y.extend(inverse(matrix.to_vec(), *n));
    }
    Ok(vec![T::write(x.elem(), x.dims().to_vec(), y)?])
}

/// Gauss-Jordan elimination, of `a` and of what begins as the identity.
fn inverse<T: Real>(mut a: Vec<T>, n: usize) -> Vec<T> {
    let mut y = vec![T::default(); n * n];
    (0..n).for_each(|i| y[i * n + i] = T::of(1.0));
    for column in 0..n {
        let mut pivot = column;
        for row in column + 1..n {
            if a[pivot * n + column].abs().less(a[row * n + column].abs()) {
                pivot = row;
            }
        }
        let by = a[pivot * n + column];
        for m in [&mut a, &mut y] {
            for j in 0..n {
                m.swap(column * n + j, pivot * n + j);
                m[column * n + j] = m[column * n + j] / by;
            }
        }
        for row in (0..n).filter(|row| *row != column) {
            let by = a[row * n + column];
            for m in [&mut a, &mut y] {
                for j in 0..n {
                    m[row * n + j] = m[row * n + j] - by * m[column * n + j];
                }
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(dims: &[usize], values: &[f32]) -> OpResult<Vec<f32>> {
        let (x, op) = (Tensor::from_vec(dims.to_vec(), values.to_vec())?, Op::from(Inverse {}));
        op.infer(&[Some(&x.ty())], &())?;
        Ok(op.eval(&[Some(&x)], &DimEnv::default())?.remove(0).values::<f32>()?.to_vec())
    }

    #[test]
    fn each_matrix_of_a_batch_has_its_own() {
        let y = run(&[2, 2, 2], &[2.0, 1.0, 1.0, 1.0, 0.0, 4.0, 0.5, 0.0]).unwrap();
        assert_eq!(y, [1.0, -1.0, -1.0, 2.0, 0.0, 2.0, 0.25, 0.0]);
        assert!(run(&[0, 3, 3], &[]).unwrap().is_empty());
    }

    #[test]
    fn others_are_refused_or_not_finite() {
        assert!(run(&[2, 3], &[0.0; 6]).is_err());
        assert!(run(&[4], &[0.0; 4]).is_err());
        assert!(run(&[2, 2], &[1.0, 2.0, 2.0, 4.0]).unwrap().iter().any(|v| !v.is_finite()));
    }
}
