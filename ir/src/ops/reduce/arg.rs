//! Where along an axis the extreme is.

use std::cmp::Ordering;

use super::*;
use crate::tensor::Element;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// The index of the largest along `axis`, as i64: the first such, or the last. NaN is larger than all.
    ArgMax = "argmax" (x) { axis: usize, keepdims: bool, last: bool }
}

op! {
    /// The index of the smallest along `axis`, as i64: the first such, or the last. NaN is larger than all.
    ArgMin = "argmin" (x) { axis: usize, keepdims: bool, last: bool }
}

macro_rules! arg {
    ($name:ident, $extreme:expr) => {
        impl OpDef for $name {
            fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
                let x = &args[0];
                check_axes(x, &[self.axis])?;
                if !is_number(x.elem) {
                    bail!("expects numbers of 8 bits or more, got {x}");
                }
                if x.dims[self.axis] == Dim::constant(0) {
                    bail!("axis {} of {x} has no elements", self.axis);
                }
                let dims = reduced_dims(&x.dims, &[self.axis], self.keepdims, Dim::constant(1));
                Ok(vec![Type { elem: Elem::I64, dims }])
            }

            fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
                let dims = reduced_dims(args[0].dims(), &[self.axis], self.keepdims, 1);
                let x = axes_last(&args[0], &[self.axis])?;
                let found = match_number!(x.elem(), T => extremes::<T>(&x, $extreme, self.last)?);
                Ok(vec![Tensor::from_vec(dims, found)?])
            }
        }
    };
}
arg!(ArgMax, Ordering::Greater);
arg!(ArgMin, Ordering::Less);

fn extremes<T: Element>(x: &Tensor, extreme: Ordering, last: bool) -> OpResult<Vec<i64>> {
    let values = x.values::<T>()?;
    let of_row = |row: &[T]| {
        let mut best = 0;
        for (i, v) in row.iter().enumerate().skip(1) {
            let order = order(v, &row[best]);
            if order == extreme || last && order == Ordering::Equal {
                best = i;
            }
        }
        if row.is_empty() {
            bail!("the axis has no elements");
        }
        Ok(best as i64)
    };
    rows(&values, x.dims()).map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, run, tensor};

    #[test]
    fn first_or_last_of_equals() {
        let x = tensor(&[3, 2], &[1f32, 5.0, 4.0, 5.0, 4.0, f32::NAN]);
        let max = |last| one(ArgMax { axis: 0, keepdims: false, last }, &[&x]);
        let min = |last| one(ArgMin { axis: 0, keepdims: true, last }, &[&x]);
        assert_eq!(max(false), tensor(&[2], &[1i64, 2]));
        assert_eq!(max(true), tensor(&[2], &[2i64, 2]));
        assert_eq!(min(false), tensor(&[1, 2], &[0i64, 0]));
        assert_eq!(min(true), tensor(&[1, 2], &[0i64, 1]));
        let none = tensor::<i8>(&[2, 0], &[]);
        assert!(run(ArgMax { axis: 1, keepdims: true, last: false }, &[Some(&none)]).is_err());
    }
}
