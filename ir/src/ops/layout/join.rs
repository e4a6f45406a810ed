//! Ops that join tensors along an axis, and take them apart.

use super::args::*;
use super::copy::{buffer, from_raw, paste, raw};
use super::slice::slice;
use super::*;
use crate::{bail, op};

op! {
    /// The operands one after the other along `axis`; their other axes are alike.
    Concat = "concat" (xs: variadic) { axis: usize }
}
op! {
    /// Parts of `x` of the given sizes, in order, along `axis`, which they make up.
    Split = "split" (x) { axis: usize, sizes: Vec<Dim> }
}
op! {
    /// `split` with the sizes in an operand; `dims` states them as far as they are known. ONNX Split.
    SplitDynamic = "split_dynamic" (x, sizes) { axis: usize, dims: Vec<Dim> }
}

impl OpDef for Concat {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let Some(first) = args.get(0) else { bail!("nothing to concatenate") };
        expect_axis(first, self.axis)?;
        let mut result = first.clone();
        for x in args.from(1) {
            if x.elem != first.elem || x.rank() != first.rank() {
                bail!("cannot concatenate {first} and {x}");
            }
            for (axis, (dim, other)) in result.dims.iter_mut().zip(&x.dims).enumerate() {
                *dim = match axis == self.axis {
                    true => dim.add(other).ok_or("the axis is too long")?,
                    false => agree(dim, other, module)?,
                };
            }
        }
        Ok(vec![result])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let parts: Vec<_> = args.from(0).collect();
        Ok(vec![concat(&parts, self.axis)?])
    }
}

/// Tensors of one element type and rank, joined along `axis`.
pub(in crate::ops) fn concat(parts: &[&Tensor], axis: usize) -> OpResult<Tensor> {
    let Some(first) = parts.first() else { bail!("nothing to concatenate") };
    let mut dims = first.dims().to_vec();
    dims[axis] = 0;
    for x in parts {
        if x.dims()[..axis] != first.dims()[..axis] || x.dims()[axis + 1..] != first.dims()[axis + 1..] {
            bail!("cannot concatenate {:?} and {:?} along axis {axis}", first.dims(), x.dims());
        }
        dims[axis] = dims[axis].checked_add(x.dims()[axis]).ok_or("the axis is too long")?;
    }
    let (_, width) = raw(first)?;
    let mut out = buffer(first.elem(), &dims, width)?;
    let mut start = vec![0; dims.len()];
    for x in parts {
        paste(&mut out, &dims, &start, &raw(x)?.0, x.dims(), width);
        start[axis] += x.dims()[axis];
    }
    from_raw(first.elem(), dims, out)
}

impl OpDef for Split {
    const SIZES: Sizes = Sizes::Read;

    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let types = parts(&args[0], self.axis, &self.sizes)?;
        let total = self.sizes.iter().try_fold(Dim::constant(0), |sum, d| sum.add(d));
        agree(&args[0].dims[self.axis], &total.ok_or("the sizes overflow")?, module)?;
        Ok(types)
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        split(&args[0], self.axis, &resolve(&self.sizes, cx.dims())?)
    }
}

impl OpDef for SplitDynamic {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        expect_vector(&args[1], "sizes", Some(self.dims.len()))?;
        parts(&args[0], self.axis, &self.dims)
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        split(&args[0], self.axis, &sizes(&args[1])?)
    }
}

/// The types of parts of `x`.
fn parts(x: &Type, axis: usize, sizes: &[Dim]) -> OpResult<Vec<Type>> {
    expect_axis(x, axis)?;
    let part = |size: Dim| {
        let mut dims = x.dims.clone();
        dims[axis] = size;
        Type { elem: x.elem, dims }
    };
    Ok(dimensions(sizes)?.into_iter().map(part).collect())
}

fn split(x: &Tensor, axis: usize, sizes: &[usize]) -> OpResult<Vec<Tensor>> {
    if sizes.iter().try_fold(0usize, |sum, s| sum.checked_add(*s)) != Some(x.dims()[axis]) {
        bail!("sizes {sizes:?} do not make up the {} elements of axis {axis}", x.dims()[axis]);
    }
    let mut start = 0;
    let part = |size: &usize| {
        let end = start + *size as i64;
        slice(x, &[(axis, std::mem::replace(&mut start, end), end, 1)])
    };
    sizes.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_undoes_concat() {
        let part = |columns: usize, first: i32| {
            let values = (first..).take(2 * columns).collect();
            Tensor::from_vec(vec![2, columns], values).unwrap()
        };
        let (a, b, c) = (part(3, 0), part(0, 0), part(1, 50));
        let whole = concat(&[&a, &b, &c], 1).unwrap();
        assert_eq!(&*whole.values::<i32>().unwrap(), &[0, 1, 2, 50, 3, 4, 5, 51]);
        assert_eq!(split(&whole, 1, &[3, 0, 1]).unwrap(), [a, b, c]);
        assert!(split(&whole, 1, &[3, 2]).is_err());
        assert!(concat(&[&whole, &part(1, 0)], 0).is_err());
    }
}
