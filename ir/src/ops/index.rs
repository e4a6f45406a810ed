//! Ops that read elements at indices which are data. Negative indices count from the end of the axis.

mod offsets;
mod scatter;

pub use scatter::*;

use super::layout::args::*;
use super::layout::copy::{buffer, from_raw, raw, take};
use super::*;
use crate::ty::Elem;
use crate::{bail, op};
use offsets::{element_offsets, index_on, pick, tuple_offsets};

op! {
    /// The slices of `x` along `axis` that `indices` names; the axes of `indices` stand in the place of that
    /// axis. ONNX Gather.
    Gather = "gather" (x, indices) { axis: usize }
}
op! {
    /// For each element of `indices` the element of `x` at the same place but for `axis`, where the index
    /// says. ONNX GatherElements.
    GatherElements = "gather_elements" (x, indices) { axis: usize }
}
op! {
    /// The last axis of `indices` holds tuples that index the axes of `x` after the first `batch_dims`, which
    /// both have in common. ONNX GatherND.
    GatherNd = "gather_nd" (x, indices) { batch_dims: usize }
}
op! {
    /// A new `axis` of `size` elements: `values[1]` at the index, `values[0]` elsewhere and where the index is
    /// out of range. `depth` gives the size at run time. ONNX OneHot.
    OneHot = "one_hot" (indices, depth, values) { axis: usize, size: Dim }
}
op! {
    /// The indices of the elements that are not zero, i64[rank,count], in row-major order. ONNX NonZero.
    NonZero = "nonzero" (x) { count: Dim }
}

impl OpDef for Gather {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, indices) = (&args[0], &args[1]);
        expect_axis(x, self.axis)?;
        expect_indices(indices)?;
        let dims = [&x.dims[..self.axis], &indices.dims, &x.dims[self.axis + 1..]].concat();
        Ok(vec![Type { elem: x.elem, dims }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, axis) = (&args[0], self.axis);
        let at = |i: &i64| index_on(*i, x.dims()[axis], axis);
        let indices: Vec<_> = integers(&args[1])?.iter().map(at).collect::<OpResult<_>>()?;
        let dims = [&x.dims()[..axis], args[1].dims(), &x.dims()[axis + 1..]].concat();
        Ok(vec![take(x, axis, &indices)?.reshape(dims)?])
    }
}

impl OpDef for GatherElements {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, indices) = (&args[0], &args[1]);
        expect_axis(x, self.axis)?;
        expect_indices(indices)?;
        if x.rank() != indices.rank() {
            bail!("{x} and {indices} have different ranks");
        }
        Ok(vec![Type { elem: x.elem, dims: indices.dims.clone() }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let offsets = element_offsets(args[0].dims(), &args[1], self.axis)?;
        Ok(vec![pick(&args[0], args[1].dims().to_vec(), 1, &offsets)?])
    }
}

impl OpDef for GatherNd {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, indices) = (&args[0], &args[1]);
        let (lead, rest) = tuple_dims(x, indices, self.batch_dims)?;
        for (a, b) in x.dims.iter().zip(&indices.dims).take(self.batch_dims) {
            agree(a, b, module)?;
        }
        Ok(vec![Type { elem: x.elem, dims: [lead, rest].concat() }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, indices) = (&args[0], &args[1]);
        let (k, lead) = indices.dims().split_last().ok_or("the indices have no axis")?;
        if lead[..self.batch_dims] != x.dims()[..self.batch_dims] {
            bail!("{:?} and {:?} differ in the first {} axes", x.dims(), indices.dims(), self.batch_dims);
        }
        let rest = &x.dims()[self.batch_dims + k..];
        let offsets = tuple_offsets(x.dims(), indices, self.batch_dims)?;
        Ok(vec![pick(x, [lead, rest].concat(), rest.iter().product(), &offsets)?])
    }
}

impl OpDef for OneHot {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (indices, depth, values) = (&args[0], &args[1], &args[2]);
        let one = |d: &Dim| d.as_const().is_none_or(|n| n == 1);
        if self.axis > indices.rank() || depth.rank() > 1 || !depth.dims.iter().all(one) {
            bail!("cannot give {indices} an axis {} of {depth} elements", self.axis);
        }
        if values.rank() != 1 || values.dims[0].as_const().is_some_and(|n| n != 2) {
            bail!("the values must be two, not {values}");
        }
        let mut dims = indices.dims.clone();
        dims.insert(self.axis, dimensions(std::slice::from_ref(&self.size))?.remove(0));
        Ok(vec![Type { elem: values.elem, dims }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (indices, values) = (&args[0], &args[2]);
        let depth = whole_numbers(&args[1])?;
        let depth = depth.first().and_then(|d| usize::try_from(*d).ok()).ok_or("the depth is not a size")?;
        let mut dims = indices.dims().to_vec();
        dims.insert(self.axis, depth);
        let (pair, width) = raw(values)?;
        if pair.len() != 2 * width {
            bail!("{} values, not two", values.len());
        }
        let (off, on) = pair.split_at(width);
        let mut out = buffer(values.elem(), &dims, width)?;
        out.chunks_exact_mut(width).for_each(|e| e.copy_from_slice(off));
        let inner: usize = dims[self.axis + 1..].iter().product();
        for (i, index) in whole_numbers(indices)?.into_iter().enumerate() {
            if let Some(hot) = position(index, depth) {
                let at = (i / inner * depth + hot) * inner + i % inner;
                out[at * width..][..width].copy_from_slice(on);
            }
        }
        Ok(vec![from_raw(values.elem(), dims, out)?])
    }
}

impl OpDef for NonZero {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let count = dimensions(std::slice::from_ref(&self.count))?.remove(0);
        Ok(vec![Type { elem: Elem::I64, dims: vec![args[0].rank().into(), count] }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = &args[0];
        let (bytes, width) = raw(x)?;
        // The sign of a float zero is not a value.
        let top = if x.elem().is_float() { 0x7f } else { 0xff };
        let nonzero = |e: &[u8]| e[width - 1] & top != 0 || e[..width - 1].iter().any(|b| *b != 0);
        let elements = bytes.chunks_exact(width).enumerate();
        let found: Vec<usize> = elements.filter(|(_, e)| nonzero(e)).map(|(i, _)| i).collect();
        let mut out = Vec::with_capacity(found.len() * x.rank());
        for axis in 0..x.rank() {
            let inner: usize = x.dims()[axis + 1..].iter().product();
            out.extend(found.iter().map(|i| (i / inner % x.dims()[axis]) as i64));
        }
        Ok(vec![Tensor::from_vec(vec![x.rank(), found.len()], out)?])
    }
}

/// Checks that an operand can be indices.
pub(super) fn expect_indices(ty: &Type) -> OpResult<()> {
    match ty.elem {
        Elem::I32 | Elem::I64 => Ok(()),
        _ => bail!("indices must be i32 or i64, not {ty}"),
    }
}

/// The axes of `indices` before its tuples, and those of `x` after what the tuples index.
pub(super) fn tuple_dims<'a>(
    x: &'a Type,
    indices: &'a Type,
    batch_dims: usize,
) -> OpResult<(&'a [Dim], &'a [Dim])> {
    expect_indices(indices)?;
    let Some((k, lead)) = indices.dims.split_last() else { bail!("the indices have no axis") };
    let Some(k) = k.as_const() else { bail!("the length `{k}` of the index tuples is not constant") };
    match x.dims.get(batch_dims.saturating_add(k)..) {
        Some(rest) if batch_dims <= lead.len() => Ok((lead, rest)),
        _ => bail!("tuples of {k} after {batch_dims} batch axes do not index {x} by {indices}"),
    }
}

/// The elements of a tensor of any numbers, towards zero.
fn whole_numbers(x: &Tensor) -> OpResult<Vec<i64>> {
    macro_rules! convert {
        ($t:ty, $f:expr) => {
            x.values::<$t>()?.iter().map($f).collect()
        };
    }
    Ok(match x.elem() {
        Elem::F32 => convert!(f32, |v| *v as i64),
        Elem::F64 => convert!(f64, |v| *v as i64),
        Elem::F16 => convert!(half::f16, |v| v.to_f32() as i64),
        Elem::Bf16 => convert!(half::bf16, |v| v.to_f32() as i64),
        Elem::I64 => convert!(i64, |v| *v),
        Elem::I32 => convert!(i32, |v| (*v).into()),
        Elem::I16 => convert!(i16, |v| (*v).into()),
        Elem::U16 => convert!(u16, |v| (*v).into()),
        Elem::U32 => convert!(u32, |v| (*v).into()),
        Elem::U64 => convert!(u64, |v| i64::try_from(*v).unwrap_or(i64::MAX)),
        elem if elem.is_signed() => x.unpacked()?.iter().map(|v| (*v as i8).into()).collect(),
        _ => x.unpacked()?.iter().map(|v| (*v).into()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DimEnv;

    fn eval(op: impl Into<Op>, args: &[&Tensor]) -> OpResult<Tensor> {
        let args: Vec<_> = args.iter().map(|a| Some(*a)).collect();
        Ok(op.into().eval(&args, &DimEnv::default())?.remove(0))
    }

    #[test]
    fn indices_count_from_both_ends_and_are_checked() {
        let x = Tensor::from_vec(vec![3, 2], vec![0i32, 1, 2, 3, 4, 5]).unwrap();
        let y = eval(Gather { axis: 0 }, &[&x, &Tensor::vector(vec![-1i64, 0])]).unwrap();
        assert_eq!(&*y.values::<i32>().unwrap(), &[4, 5, 0, 1]);
        for bad in [3i64, -4, i64::MIN] {
            let error = eval(Gather { axis: 0 }, &[&x, &Tensor::scalar(bad)]).unwrap_err();
            assert_eq!(error.0, format!("index {bad} is out of range for axis 0 of 3 elements"));
        }
        let indices = Tensor::from_vec(vec![1, 2], vec![2i32, -3]).unwrap();
        let y = eval(GatherElements { axis: 0 }, &[&x, &indices]).unwrap();
        assert_eq!(&*y.values::<i32>().unwrap(), &[4, 1]);
        let wide = Tensor::from_vec(vec![1, 3], vec![0i32; 3]).unwrap();
        assert!(eval(GatherElements { axis: 0 }, &[&x, &wide]).is_err());
    }

    #[test]
    fn tuples_index_after_the_batch() {
        let x = Tensor::from_vec(vec![2, 2, 2], (0..8i32).collect()).unwrap();
        let indices = Tensor::from_vec(vec![2, 1], vec![1i64, 0]).unwrap();
        let y = eval(GatherNd { batch_dims: 1 }, &[&x, &indices]).unwrap();
        assert_eq!((y.dims(), &*y.values::<i32>().unwrap()), (&[2, 2][..], &[2, 3, 4, 5][..]));
        let beyond = Tensor::from_vec(vec![1, 2], vec![0i64, 2]).unwrap();
        let error = eval(GatherNd { batch_dims: 0 }, &[&x, &beyond]).unwrap_err();
        assert_eq!(error.0, "index 2 is out of range for axis 1 of 2 elements");
    }

    #[test]
    fn negative_zero_is_zero() {
        let x = Tensor::from_vec(vec![2, 2], vec![-0.0f32, 1.0, f32::NAN, 0.0]).unwrap();
        let y = eval(NonZero { count: Dim::symbol("n") }, &[&x]).unwrap();
        assert_eq!((y.dims(), &*y.values::<i64>().unwrap()), (&[2, 2][..], &[0, 1, 1, 0][..]));
    }
}
