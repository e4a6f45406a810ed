//! Shapes that broadcast, and functions of the elements that meet.

use super::*;
use crate::bail;
use crate::tensor::{Element, result_count};

/// The broadcast of two shapes; dimensions are equal or one of them is 1, which is required where it is not known.
pub fn broadcast(a: &[Dim], b: &[Dim], module: &dyn Signatures) -> OpResult<Vec<Dim>> {
    let one = Dim::constant(1);
    let rank = a.len().max(b.len());
    let at = |dims: &[Dim], i: usize| (i + dims.len()).checked_sub(rank).map_or(&one, |j| &dims[j]).clone();
    (0..rank).map(|i| broadcast_dim(&at(a, i), &at(b, i), module)).collect()
}

/// The broadcast of two dimensions.
pub fn broadcast_dim(a: &Dim, b: &Dim, module: &dyn Signatures) -> OpResult<Dim> {
    let one = Dim::constant(1);
    if a == b || *b == one {
        return Ok(a.clone());
    }
    if *a == one {
        return Ok(b.clone());
    }
    let Some(both) = Dim::broadcast([a.clone(), b.clone()]) else {
        bail!("cannot broadcast `{a}` against `{b}`")
    };
    // Against a constant the other is as long, or 1.
    let constant = [a, b].into_iter().find(|d| d.as_const().is_some());
    module.require(&both, constant.unwrap_or(&both));
    Ok(constant.cloned().unwrap_or(both))
}

/// The broadcast of two shapes at run time.
pub fn broadcast_dims(a: &[usize], b: &[usize]) -> OpResult<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |j| dims[j]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            (x, y) => bail!("cannot broadcast {x} against {y}"),
        })
        .collect()
}

/// For each element of a tensor of shape `to`, row-major, the offset of the element of a tensor of shape
/// `from` that broadcasts to it.
pub fn offsets(from: &[usize], to: &[usize]) -> impl Iterator<Item = usize> + use<> {
    let mut strides = vec![0; to.len()];
    let mut stride = 1;
    for (i, d) in from.iter().enumerate().rev() {
        strides[i + to.len() - from.len()] = if *d == 1 { 0 } else { stride };
        // Overflows only beside an axis of length 0, where nothing is read.
        stride = usize::wrapping_mul(stride, *d);
    }
    let total = if to.contains(&0) { 0 } else { to.iter().product() };
    let to = to.to_vec();
    let (mut index, mut offset) = (vec![0; to.len()], 0);
    (0..total).map(move |_| {
        let current = offset;
        for axis in (0..to.len()).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < to[axis] {
                break;
            }
            offset -= strides[axis] * to[axis];
            index[axis] = 0;
        }
        current
    })
}

/// `f` of every element.
pub(super) fn map<T: Element, U: Element>(x: &Tensor, f: impl Fn(T) -> U) -> OpResult<Tensor> {
    result_count(U::ELEM, x.dims())?;
    Ok(Tensor::from_vec(x.dims().to_vec(), x.values::<T>()?.iter().map(|v| f(*v)).collect())?)
}

/// `f` of every pair of elements that broadcasting brings together.
pub(super) fn zip<A: Element, B: Element, U: Element>(
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(A, B) -> U,
) -> OpResult<Tensor> {
    zip_slices((a.dims(), &a.values::<A>()?), (b.dims(), &b.values::<B>()?), f)
}

/// `zip` of shapes and their elements.
pub(super) fn zip_slices<A: Copy, B: Copy, U: Element>(
    (a_dims, a): (&[usize], &[A]),
    (b_dims, b): (&[usize], &[B]),
    f: impl Fn(A, B) -> U,
) -> OpResult<Tensor> {
    let dims = broadcast_dims(a_dims, b_dims)?;
    let total = result_count(U::ELEM, &dims)?;
    let mut values = Vec::with_capacity(total);
    if total > 0 {
        let (a_dims, b_dims) = (padded(a_dims, dims.len()), padded(b_dims, dims.len()));
        let axis = (0..=dims.len())
            .find(|i| is_run(&a_dims[*i..], &dims[*i..]) && is_run(&b_dims[*i..], &dims[*i..]));
        // The empty suffix is a run of one element.
        let axis = axis.unwrap_or(dims.len());
        let run: usize = dims[axis..].iter().product();
        let (a_run, b_run): (usize, usize) =
            (a_dims[axis..].iter().product(), b_dims[axis..].iter().product());
        let starts = offsets(&a_dims[..axis], &dims[..axis]).zip(offsets(&b_dims[..axis], &dims[..axis]));
        for (i, j) in starts {
            let (a, b) = (&a[i * a_run..][..a_run], &b[j * b_run..][..b_run]);
            match (a, b) {
                _ if a_run == b_run => values.extend(a.iter().zip(b).map(|(a, b)| f(*a, *b))),
                (&[a], b) if b_run == run => values.extend(b.iter().map(|b| f(a, *b))),
                (a, b) => values.extend(a.iter().map(|a| f(*a, b[0]))),
            }
        }
    }
    Ok(Tensor::from_vec(dims, values)?)
}

/// Whether the elements of a shape meet those of `to` one by one, or a single one meets them all.
fn is_run(dims: &[usize], to: &[usize]) -> bool {
    dims == to || dims.iter().all(|d| *d == 1)
}

/// `dims` with ones before it.
fn padded(dims: &[usize], rank: usize) -> Vec<usize> {
    let mut all = vec![1; rank - dims.len()];
    all.extend(dims);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_meet_the_elements_that_offsets_name(
            dims in prop::collection::vec(0usize..4, 0..5),
            ones in prop::collection::vec(any::<(bool, bool)>(), 5),
            (drop_a, drop_b) in (0usize..3, 0usize..3),
        ) {
            let shape = |drop: usize, keep: fn(&(bool, bool)) -> bool| -> Vec<usize> {
                let all = dims.iter().zip(&ones).map(|(d, one)| if keep(one) { 1 } else { *d });
                all.skip(drop).collect()
            };
            let (a_dims, b_dims) = (shape(drop_a, |o| o.0), shape(drop_b, |o| o.1));
            let count = |dims: &[usize]| (0..dims.iter().product::<usize>() as i64).collect::<Vec<_>>();
            let (a, b) = (count(&a_dims), count(&b_dims));
            let got = zip_slices((&a_dims, &a), (&b_dims, &b), |a, b| a * 1000 + b).unwrap();
            let to = broadcast_dims(&a_dims, &b_dims).unwrap();
            let want: Vec<i64> = offsets(&a_dims, &to)
                .zip(offsets(&b_dims, &to))
                .map(|(i, j)| a[i] * 1000 + b[j])
                .collect();
            prop_assert_eq!(&*got.values::<i64>().unwrap(), &want);
            prop_assert_eq!(got.dims(), &to);
        }
    }
}
