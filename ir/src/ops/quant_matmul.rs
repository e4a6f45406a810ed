//! Matrix products of quantized operands, exact in i32.

use super::quant::{is_quantized, widened};
use super::require::may_broadcast;
use super::window::result_dims;
use super::*;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// `Σ_k (a[..,i,k] - a_zero)·(b[..,k,j] - b_zero)` in i32, with numpy's broadcasting of the leading axes. ONNX
    /// MatMulInteger.
    ///
    /// Operands are integers of up to 8 bits. `a_zero` is one number, `[m]` or `[..,m,1]`; `b_zero` is one number, `[n]`
    /// or `[..,1,n]`; absent they are 0. Sums wrap.
    MatmulInteger = "matmul_integer" (a, b, a_zero: optional, b_zero: optional) {}
}

impl OpDef for MatmulInteger {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (a, b) = (&args[0], &args[1]);
        if [a, b].iter().any(|t| !is_quantized(t.elem) || t.elem.bits() > 8) {
            bail!("expects integers of up to 8 bits, got {a} and {b}");
        }
        let column = |dims: &[Dim]| match dims {
            [m] if *m != Dim::constant(1) => vec![m.clone(), Dim::constant(1)],
            dims => dims.to_vec(),
        };
        check_zero(args.get(2), a, column, module)?;
        check_zero(args.get(3), b, <[Dim]>::to_vec, module)?;
        let (a, b) = (a.with(Elem::I32), b.with(Elem::I32));
        Matmul { trans_b: false }.infer(Args::new(&[Some(&a), Some(&b)]), module)
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        result_dims(self, &args)?;
        let of_rows = args.get(2).map(|zero| match *zero.dims() {
            [m] => zero.reshape(vec![m, 1]),
            _ => Ok(zero.clone()),
        });
        let a = centred(&args[0], of_rows.transpose()?.as_ref())?;
        let b = centred(&args[1], args.get(3))?;
        Matmul { trans_b: false }.eval(Args::new(&[Some(&a), Some(&b)]), cx)
    }
}

/// Checks a zero that `dims` shapes for broadcasting.
fn check_zero(
    zero: Option<&Type>,
    x: &Type,
    dims: impl Fn(&[Dim]) -> Vec<Dim>,
    module: &dyn Signatures,
) -> OpResult<()> {
    let Some(zero) = zero else { return Ok(()) };
    let given = dims(&zero.dims);
    let fits = given.len() <= x.rank()
        && given.iter().rev().zip(x.dims.iter().rev()).all(|(d, to)| may_broadcast(d, to, module));
    if zero.elem != x.elem || !fits && !zero.dims.iter().all(|d| *d == Dim::constant(1)) {
        bail!("zeros {zero} do not fit {x}");
    }
    Ok(())
}

/// `x - zero` as i32.
fn centred(x: &Tensor, zero: Option<&Tensor>) -> OpResult<Tensor> {
    let mut values = widened(x)?;
    if let Some(zero) = zero {
        let zeros = widened(zero)?;
        match zeros.as_slice() {
            [zero] => values.iter_mut().for_each(|v| *v -= zero),
            zeros => values.iter_mut().zip(offsets(zero.dims(), x.dims())).for_each(|(v, i)| *v -= zeros[i]),
        }
    }
    Ok(Tensor::from_vec(x.dims().to_vec(), values)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[Option<&Tensor>]) -> OpResult<Vec<i32>> {
        let op = Op::from(MatmulInteger {});
        let types: Vec<_> = args.iter().map(|a| a.map(Tensor::ty)).collect();
        let inferred = op.infer(&types.iter().map(Option::as_ref).collect::<Vec<_>>(), &())?;
        let y = op.eval(args, &DimEnv::default())?.remove(0);
        assert_eq!(inferred, [y.ty()]);
        Ok(y.values::<i32>()?.to_vec())
    }

    #[test]
    fn zeros_are_for_all_or_for_rows_and_columns() {
        let a = Tensor::from_vec(vec![2, 3], vec![11u8, 7, 3, 10, 6, 2]).unwrap();
        let b = Tensor::from_vec(vec![3, 2], vec![1i8, 4, 2, 5, 3, -6]).unwrap();
        let (twelve, five) = (Tensor::vector(vec![12u8]), Tensor::scalar(5i8));
        assert_eq!(run(&[Some(&a), Some(&b)]).unwrap(), [34, 61, 28, 58]);
        assert_eq!(run(&[Some(&a), Some(&b), Some(&twelve), None]).unwrap(), [-38, 25, -44, 22]);
        let (rows, columns) = (Tensor::vector(vec![12u8, 0]), Tensor::vector(vec![0i8, 1]));
        assert_eq!(run(&[Some(&a), Some(&b), Some(&rows), None]).unwrap(), [-38, 25, 28, 58]);
        assert_eq!(run(&[Some(&a), Some(&b), None, Some(&columns)]).unwrap(), [34, 40, 28, 40]);
        let by_row = rows.reshape(vec![2, 1]).unwrap();
        assert_eq!(run(&[Some(&a), Some(&b), Some(&by_row), None]).unwrap(), [-38, 25, 28, 58]);
        assert_eq!(run(&[Some(&a), Some(&b), None, Some(&five)]).unwrap(), [-71, -44, -62, -32]);
        for zero in [Tensor::vector(vec![1u8; 3]), Tensor::vector(vec![1i8])] {
            assert!(run(&[Some(&a), Some(&b), Some(&zero), None]).is_err());
        }
    }
}
