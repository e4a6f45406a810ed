//! Determinants of square matrices.

use super::layout::args::agree;
use super::real::Real;
use super::*;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// The determinants of the matrices in the last two axes, by elimination in f64 with the largest pivot of a column; one of
    /// no rows is 1. ONNX Det.
    Det = "det" (x) {}
}

impl OpDef for Det {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        let [lead @ .., rows, columns] = x.dims.as_slice() else { bail!("{x} holds no matrices") };
        if !x.elem.is_float() {
            bail!("expects floats, got {x}");
        }
        agree(rows, columns, module)?;
        Ok(vec![Type { elem: x.elem, dims: lead.to_vec() }])
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = &args[0];
        let [lead @ .., n, columns] = x.dims() else { bail!("{:?} holds no matrices", x.dims()) };
        if n != columns {
            bail!("matrices of {n} rows and {columns} columns are not square");
        }
        let mut values = f64::read(x)?.into_owned();
        let count = crate::tensor::result_count(Elem::F64, lead)?;
        let det = |i: usize| determinant(&mut values[i * n * n..][..n * n], *n);
        let y = Tensor::from_vec(lead.to_vec(), (0..count).map(det).collect())?;
        Cast { to: x.elem() }.eval(Args::new(&[Some(&y)]), cx)
    }
}

/// The product of the pivots of a matrix of `n` rows, which is left without sense.
fn determinant(m: &mut [f64], n: usize) -> f64 {
    let mut product = 1.0;
    for k in 0..n {
        // NaN is the largest, so that it is not lost.
        let size = |i: &usize| m[i * n + k].abs();
        let pivot = (k..n).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(k);
        if pivot != k {
            (0..n).for_each(|column| m.swap(pivot * n + column, k * n + column));
            product = -product;
        }
        let head = m[k * n + k];
        product *= head;
        if head == 0.0 {
            continue;
        }
        for i in k + 1..n {
            let factor = m[i * n + k] / head;
            for column in k + 1..n {
                m[i * n + column] -= factor * m[k * n + column];
            }
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, run, tensor};

    #[test]
    fn rows_may_have_to_be_swapped() {
        let x = tensor(&[3, 2, 2], &[1f32, 2.0, 3.0, 4.0, 0.0, 1.0, 1.0, 0.0, 2.0, 4.0, 1.0, 2.0]);
        assert_eq!(one(Det {}, &[&x]), tensor(&[3], &[-2f32, -1.0, 0.0]));
        let x = tensor(&[3, 3], &[2f64, 0.0, 1.0, 0.0, 3.0, 0.0, 1.0, 0.0, 2.0]);
        assert_eq!(one(Det {}, &[&x]), Tensor::scalar(9f64));
        let half = half::f16::from_f32(1.5);
        assert_eq!(one(Det {}, &[&tensor(&[1, 1], &[half])]), Tensor::scalar(half));
    }

    #[test]
    fn edges_are_defined() {
        assert_eq!(one(Det {}, &[&tensor::<f32>(&[2, 0, 0], &[])]), tensor(&[2], &[1f32, 1.0]));
        assert_eq!(one(Det {}, &[&tensor::<f32>(&[0, 3, 3], &[])]), tensor::<f32>(&[0], &[]));
        let nan = one(Det {}, &[&tensor(&[2, 2], &[1f32, 0.0, f32::NAN, 1.0])]);
        assert!(nan.values::<f32>().unwrap()[0].is_nan());
        assert!(run(Det {}, &[Some(&tensor(&[2, 3], &[0f32; 6]))]).is_err());
        assert!(run(Det {}, &[Some(&tensor(&[2], &[0f32; 2]))]).is_err());
        assert!(run(Det {}, &[Some(&tensor(&[1, 1], &[0i32]))]).is_err());
    }
}
