//! The distinct elements of a tensor, or slices of it.

use std::cmp::Ordering;

use super::*;
use crate::op;
use crate::ops::layout::copy::{View, strides, take};
use crate::ty::Elem;

op! {
    /// The distinct slices of `x` along `axis`, or elements where there is none, in ascending order or that in which they come
    /// first. Then, each a vector of i64: where each comes first, which one each slice of `x` is, and how often each is there.
    /// ONNX Unique.
    ///
    /// Slices are compared element by element; NaN equals itself and is the largest, and zeros of both signs are equal.
    Unique = "unique" (x) { axis: Option<usize>, sorted: bool, count: Dim }
}

impl OpDef for Unique {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        let count = layout::args::dimensions(std::slice::from_ref(&self.count))?.remove(0);
        let mut dims = vec![count.clone()];
        let mut slices = x.count().ok_or("the shape is too large")?;
        if let Some(axis) = self.axis {
            layout::args::expect_axis(x, axis)?;
            dims = x.dims.clone();
            slices = std::mem::replace(&mut dims[axis], count.clone());
        }
        let vector = |n: &Dim| Type { elem: Elem::I64, dims: vec![n.clone()] };
        let y = Type { elem: x.elem, dims };
        Ok(vec![y, vector(&count), vector(&slices), vector(&count)])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, axis) = match self.axis {
            Some(axis) => (args[0].clone(), axis),
            None => (args[0].reshape(vec![args[0].len()])?, 0),
        };
        let found = match x.elem() {
            Elem::Bool => Found::among(&first(&x, axis)?.unpacked()?, x.dims()[axis]),
            elem if elem.bits() >= 8 => match_number!(elem, T => {
                Found::among(&first(&x, axis)?.values::<T>()?, x.dims()[axis])
            }),
            elem => {
                let bytes = first(&x, axis)?.unpacked()?.into_owned();
                // Flipping the sign bit makes the order of signed bytes that of unsigned ones.
                let flip = if elem.is_signed() { 0x80 } else { 0 };
                Found::among(&bytes.iter().map(|b| b ^ flip).collect::<Vec<u8>>(), x.dims()[axis])
            }
        };
        let Found { mut starts, mut class, mut counts } = found;
        if !self.sorted {
            let mut order: Vec<usize> = (0..starts.len()).collect();
            order.sort_by_key(|i| starts[*i]);
            let mut place = vec![0; order.len()];
            order.iter().enumerate().for_each(|(new, old)| place[*old] = new);
            class.iter_mut().for_each(|c| *c = place[*c]);
            starts = order.iter().map(|i| starts[*i]).collect();
            counts = order.iter().map(|i| counts[*i]).collect();
        }
        let y = take(&x, axis, &starts)?;
        let vector = |v: Vec<usize>| Tensor::vector(v.into_iter().map(|i| i as i64).collect());
        Ok(vec![y, vector(starts), vector(class), vector(counts)])
    }
}

/// `x` with `axis` before all others, in order.
fn first(x: &Tensor, axis: usize) -> OpResult<Tensor> {
    let (mut dims, mut steps) = (x.dims().to_vec(), strides(x.dims()));
    dims[..=axis].rotate_right(1);
    steps[..=axis].rotate_right(1);
    View { dims, strides: steps, offset: 0 }.read(x)
}

/// Slices that are equal, in ascending order.
struct Found {
    /// Where each comes first.
    starts: Vec<usize>,
    /// Which one each slice is.
    class: Vec<usize>,
    counts: Vec<usize>,
}

impl Found {
    /// Among `count` slices of as many elements each.
    fn among<T: PartialOrd>(values: &[T], count: usize) -> Found {
        let len = values.len().checked_div(count).unwrap_or(0);
        let slice = |i: usize| &values[i * len..][..len];
        let compare = |a: usize, b: usize| {
            let pairs = slice(a).iter().zip(slice(b));
            pairs.map(|(a, b)| order(a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        };
        let mut sorted: Vec<usize> = (0..count).collect();
        sorted.sort_by(|a, b| compare(*a, *b));
        let mut found = Found { starts: vec![], class: vec![0; count], counts: vec![] };
        for (at, i) in sorted.iter().enumerate() {
            if at == 0 || compare(sorted[at - 1], *i).is_ne() {
                found.starts.push(*i);
                found.counts.push(0);
            }
            found.class[*i] = found.starts.len() - 1;
            *found.counts.last_mut().expect("one was pushed") += 1;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::tensor;

    fn unique(x: &Tensor, axis: Option<usize>, sorted: bool) -> (Tensor, [Vec<i64>; 3]) {
        let op = Op::from(Unique { axis, sorted, count: Dim::symbol("n") });
        op.infer(&[Some(&x.ty())], &()).unwrap();
        let y = op.eval(&[Some(x)], &DimEnv::default()).unwrap();
        let of = |i: usize| y[i].values::<i64>().unwrap().to_vec();
        (y[0].clone(), [of(1), of(2), of(3)])
    }

    #[test]
    fn elements_come_in_order_or_as_they_came() {
        let x = tensor(&[2, 3], &[2f32, 1.0, 1.0, 3.0, 4.0, 3.0]);
        let (y, places) = unique(&x, None, true);
        assert_eq!(y, Tensor::vector(vec![1f32, 2.0, 3.0, 4.0]));
        assert_eq!(places, [vec![1, 0, 3, 4], vec![1, 0, 0, 2, 3, 2], vec![2, 1, 2, 1]]);
        let (y, places) = unique(&x, None, false);
        assert_eq!(y, Tensor::vector(vec![2f32, 1.0, 3.0, 4.0]));
        assert_eq!(places, [vec![0, 1, 3, 4], vec![0, 1, 1, 2, 3, 2], vec![1, 2, 2, 1]]);
    }

    #[test]
    fn slices_are_compared_as_wholes() {
        let x = tensor(&[2, 4, 2], &[1i8, 1, 0, 1, 2, 1, 0, 1, 1, 1, 0, 1, 2, 1, 0, 1]);
        let (y, places) = unique(&x, Some(1), true);
        assert_eq!(y, tensor(&[2, 3, 2], &[0i8, 1, 1, 1, 2, 1, 0, 1, 1, 1, 2, 1]));
        assert_eq!(places, [vec![1, 0, 2], vec![1, 0, 2, 0], vec![2, 1, 1]]);
        let empty = tensor::<i8>(&[3, 0], &[]);
        assert_eq!(unique(&empty, Some(0), true).1, [vec![0], vec![0; 3], vec![3]]);
        assert_eq!(unique(&empty, Some(1), true).1, [const { Vec::<i64>::new() }; 3]);
        assert_eq!(unique(&empty, None, false).0, tensor::<i8>(&[0], &[]));
    }

    #[test]
    fn nan_is_one_value_and_zeros_are_equal() {
        let (y, places) = unique(&Tensor::vector(vec![f32::NAN, 0.0, f32::NAN, -0.0, 9.0]), None, true);
        let y = y.values::<f32>().unwrap();
        assert_eq!((y[..2].to_vec(), y[2].is_nan()), (vec![0.0, 9.0], true));
        assert_eq!(places, [vec![1, 4, 0], vec![2, 0, 2, 0, 1], vec![2, 1, 2]]);
        let truths = Tensor::from_bools(vec![3], [true, false, true]).unwrap();
        assert_eq!(unique(&truths, None, true).0, Tensor::from_bools(vec![2], [false, true]).unwrap());
        let narrow = Tensor::pack(Elem::I4, vec![3], &[1, 0xf9, 1]).unwrap();
        assert_eq!(unique(&narrow, None, true).0, Tensor::pack(Elem::I4, vec![2], &[0xf9, 1]).unwrap());
        let single = unique(&Tensor::scalar(5i64), None, true);
        assert_eq!(single, (Tensor::vector(vec![5i64]), [vec![0], vec![0], vec![1]]));
    }
}
