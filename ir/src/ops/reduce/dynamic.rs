//! Reductions of axes that are known only at run time.

use super::*;
use crate::{bail, op};

op! {
    /// The reduction `by` over the axes that a vector of integers names, counted from the end where negative; over
    /// all if it is empty, or with `noop`, over none, which reduces each element for itself.
    ///
    /// `dims` is the shape of the result.
    ReduceDynamic = "reduce_dynamic" (x, axes) { by: ReduceKind, keepdims: bool, noop: bool, dims: Vec<Dim> }
}

impl OpDef for ReduceDynamic {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, axes) = (&args[0], &args[1]);
        layout::args::expect_vector(axes, "axes", None)?;
        // What the reduction says of the element type.
        self.by.op(vec![], true).infer(&[Some(x)], module)?;
        let rank = match axes.dims.first().and_then(Dim::as_const) {
            _ if self.keepdims => x.rank(),
            Some(0) => {
                if self.noop {
                    x.rank()
                } else {
                    0
                }
            }
            Some(n) if n <= x.rank() => x.rank() - n,
            Some(n) => bail!("{n} axes of {x}"),
            None => bail!("the number of axes must be known to drop them"),
        };
        if rank != self.dims.len() {
            bail!("the result has {rank} axes, not {}", self.dims.len());
        }
        Ok(vec![Type { elem: x.elem, dims: layout::args::dimensions(&self.dims)? }])
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, axes) = (&args[0], layout::args::integers(&args[1])?);
        let mut axes =
            axes.into_iter().map(|a| layout::args::axis(a, x.rank())).collect::<OpResult<Vec<_>>>()?;
        if axes.is_empty() && !self.noop {
            axes = (0..x.rank()).collect();
        }
        check_axes(&x.ty(), &axes)?;
        self.by.op(axes, self.keepdims).eval(&[Some(x)], cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{run, tensor};
    use crate::ty::Elem;

    fn reduce(axes: &[i64], keepdims: bool, noop: bool, dims: &[usize]) -> OpResult<Tensor> {
        let x = tensor(&[2, 3], &[1i32, 2, 3, 4, 5, 6]);
        let dims = dims.iter().map(|d| Dim::constant(*d)).collect();
        let op = ReduceDynamic { by: ReduceKind::ReduceSum, keepdims, noop, dims };
        Ok(run(op, &[Some(&x), Some(&Tensor::vector(axes.to_vec()))])?.remove(0))
    }

    #[test]
    fn axes_are_counted_from_either_end() {
        assert_eq!(reduce(&[-1], true, false, &[2, 1]), Ok(tensor(&[2, 1], &[6i32, 15])));
        assert_eq!(reduce(&[0], false, false, &[3]), Ok(tensor(&[3], &[5i32, 7, 9])));
        assert_eq!(reduce(&[], false, false, &[]), Ok(Tensor::scalar(21i32)));
        assert_eq!(reduce(&[], true, true, &[2, 3]).unwrap().elem(), Elem::I32);
        let square = ReduceDynamic {
            by: ReduceKind::ReduceSumSquare,
            keepdims: true,
            noop: true,
            dims: vec![2.into()],
        };
        let y = run(square, &[Some(&tensor(&[2], &[3i32, -4])), Some(&tensor::<i64>(&[0], &[]))]).unwrap();
        assert_eq!(y, [tensor(&[2], &[9i32, 16])]);
        for axes in [vec![2], vec![1, -1], vec![0, 1, 0]] {
            assert!(reduce(&axes, true, false, &[1, 1]).is_err());
        }
    }
}
