//! Ops that give the same elements another shape or order.
//!
//! Where the shape is known only when its operand is, the `…_dynamic` twin takes that operand and names the
//! result's dimensions in an attribute, as symbols or as whatever is known about them.

pub(super) mod args;
pub(super) mod copy;
pub(super) mod join;
mod pad;
mod repeat;
mod shape;
pub(super) mod slice;

pub use join::*;
pub use pad::*;
pub use repeat::*;
pub use shape::*;
pub use slice::*;

use super::require::may_equal;
use super::*;
use crate::{bail, op};
use args::*;
use copy::View;

op! {
    /// `x` itself, under another name.
    Identity = "identity" (x) {}
}
op! {
    /// The elements of `x` under another shape of as many elements. At most one dimension of `shape` may
    /// have no value yet at run time; it follows from the others.
    Reshape = "reshape" (x) { shape: Vec<Dim> }
}
op! {
    /// `reshape` to the shape in an i64 operand, where one -1 stands for what is left and, without
    /// `allow_zero`, 0 for the dimension of `x` at that axis. ONNX Reshape.
    ReshapeDynamic = "reshape_dynamic" (x, shape) { allow_zero: bool, dims: Vec<Dim> }
}
op! {
    /// `x` without the axes in an i64 operand, which are of length 1. ONNX Squeeze.
    SqueezeDynamic = "squeeze_dynamic" (x, axes) { dims: Vec<Dim> }
}
op! {
    /// `x` with axes of length 1 where an i64 operand says, counted in the result. ONNX Unsqueeze.
    UnsqueezeDynamic = "unsqueeze_dynamic" (x, axes) { dims: Vec<Dim> }
}
op! {
    /// Axis `i` of the result is axis `perm[i]` of `x`.
    Transpose = "transpose" (x) { perm: Vec<usize> }
}
op! {
    /// The upper or lower triangle of the last two axes, above or below the `k`-th diagonal (0 if absent),
    /// diagonal included; zero elsewhere. ONNX Trilu.
    Trilu = "trilu" (x, k: optional) { upper: bool }
}

impl OpDef for Identity {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        Ok(vec![args[0].clone()])
    }
    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        Ok(vec![args[0].clone()])
    }
}

impl OpDef for Reshape {
    const SIZES: Sizes = Sizes::Either;

    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        let result = Type { elem: x.elem, dims: dimensions(&self.shape)? };
        let (Some(a), Some(b)) = (x.count(), result.count()) else { bail!("{x} has too many elements") };
        if !may_equal(&a, &b, module) {
            bail!("{x} has {a} elements, {result} has {b}");
        }
        Ok(vec![result])
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let dims: Vec<_> = self.shape.iter().map(|d| d.eval(cx.dims())).collect();
        Ok(vec![fill_in(&args[0], &dims)?])
    }
}

impl OpDef for ReshapeDynamic {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        expect_vector(&args[1], "shape", Some(self.dims.len()))?;
        Ok(vec![Type { elem: args[0].elem, dims: dimensions(&self.dims)? }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = &args[0];
        let dim = |(i, d): (usize, &i64)| match *d {
            -1 => Ok(None),
            0 if !self.allow_zero => match x.dims().get(i) {
                Some(d) => Ok(Some(*d)),
                None => bail!("axis {i} of the shape is 0, but the operand has no axis {i}"),
            },
            d => usize::try_from(d).map(Some).map_err(|_| format!("negative dimension {d}").into()),
        };
        let dims: Vec<_> = integers(&args[1])?.iter().enumerate().map(dim).collect::<OpResult<_>>()?;
        Ok(vec![fill_in(x, &dims)?])
    }
}

impl OpDef for SqueezeDynamic {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        expect_vector(&args[1], "axes", args[0].rank().checked_sub(self.dims.len()))?;
        Ok(vec![Type { elem: args[0].elem, dims: dimensions(&self.dims)? }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = &args[0];
        let axes = axes(&args[1], x.rank())?;
        if let Some(axis) = axes.iter().find(|a| x.dims()[**a] != 1) {
            bail!("axis {axis} of {:?} is not of length 1", x.dims());
        }
        let kept = x.dims().iter().enumerate().filter(|(i, _)| !axes.contains(i));
        Ok(vec![x.reshape(kept.map(|(_, d)| *d).collect())?])
    }
}

impl OpDef for UnsqueezeDynamic {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let Some(added) = self.dims.len().checked_sub(args[0].rank()) else {
            bail!("`dims` has fewer axes than {}", args[0]);
        };
        expect_vector(&args[1], "axes", Some(added))?;
        Ok(vec![Type { elem: args[0].elem, dims: dimensions(&self.dims)? }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, rank) = (&args[0], self.dims.len());
        let axes = axes(&args[1], rank)?;
        let mut rest = x.dims().iter();
        let dims = (0..rank).filter_map(|i| if axes.contains(&i) { Some(1) } else { rest.next().copied() });
        Ok(vec![x.reshape(dims.collect())?])
    }
}

/// `x` under a shape of which one dimension may be left out.
fn fill_in(x: &Tensor, dims: &[Option<usize>]) -> OpResult<Tensor> {
    let known: Vec<_> = dims.iter().flatten().copied().collect();
    let rest = crate::tensor::count(&known).and_then(|n| x.len().checked_div(n));
    let dims = match (dims.len() - known.len(), rest) {
        (0, _) => known,
        (1, Some(rest)) => dims.iter().map(|d| d.unwrap_or(rest)).collect(),
        (1, None) => bail!("the free dimension of {known:?} and {:?} has no single value", x.dims()),
        (n, _) => bail!("{n} dimensions have no value, at most one may"),
    };
    if crate::tensor::count(&dims) != Some(x.len()) {
        bail!("{:?} has {} elements, which do not fit {dims:?}", x.dims(), x.len());
    }
    Ok(x.reshape(dims)?)
}

impl OpDef for Transpose {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        let mut axes = self.perm.clone();
        axes.sort_unstable();
        if !axes.iter().copied().eq(0..x.rank()) {
            bail!("{:?} is not a permutation of the axes of {x}", self.perm);
        }
        Ok(vec![Type { elem: x.elem, dims: self.perm.iter().map(|p| x.dims[*p].clone()).collect() }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let from = View::of(args[0].dims());
        let dims = self.perm.iter().map(|p| from.dims[*p]).collect();
        let strides = self.perm.iter().map(|p| from.strides[*p]).collect();
        Ok(vec![View { dims, strides, offset: 0 }.read(&args[0])?])
    }
}

impl OpDef for Trilu {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        if args[0].rank() < 2 {
            bail!("{} has no matrix axes", args[0]);
        }
        if let Some(k) = args.get(1) {
            expect_single(k, "k")?;
        }
        Ok(vec![args[0].clone()])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = &args[0];
        let k = args.get(1).map_or(Ok(0), single)?;
        let (bytes, width) = layout::copy::raw(x)?;
        let mut bytes = bytes.into_owned();
        let (rows, columns) = (x.dims()[x.rank() - 2], x.dims()[x.rank() - 1]);
        if !bytes.is_empty() {
            for (i, row) in bytes.chunks_exact_mut(columns * width).enumerate() {
                // The first column that belongs to the upper triangle, or does no longer to the lower.
                let first = k.saturating_add((i % rows) as i64).saturating_add(!self.upper as i64);
                let first = first.clamp(0, columns as i64) as usize * width;
                let zero = if self.upper { &mut row[..first] } else { &mut row[first..] };
                zero.fill(0);
            }
        }
        Ok(vec![layout::copy::from_raw(x.elem(), x.dims().to_vec(), bytes)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(op: impl Into<Op>, args: &[&Tensor]) -> OpResult<Tensor> {
        let args: Vec<_> = args.iter().map(|a| Some(*a)).collect();
        Ok(op.into().eval(&args, &DimEnv::default())?.remove(0))
    }

    fn dims(text: &[&str]) -> Vec<Dim> {
        text.iter().map(|t| Dim::parse(t).unwrap()).collect()
    }

    #[test]
    fn one_dimension_follows_from_the_others() {
        let x = Tensor::from_vec(vec![2, 6], (0..12i32).collect()).unwrap();
        assert_eq!(eval(Reshape { shape: dims(&["3", "n"]) }, &[&x]).unwrap().dims(), &[3, 4]);
        for bad in [dims(&["m", "n"]), dims(&["5", "n"]), dims(&["13"]), dims(&["0", "n"])] {
            assert!(eval(Reshape { shape: bad.clone() }, &[&x]).is_err(), "{bad:?}");
        }
        let ask = |shape: &[i64], allow_zero| {
            let op = ReshapeDynamic { allow_zero, dims: dims(&["a", "b"]) };
            eval(op, &[&x, &Tensor::vector(shape.to_vec())]).map(|y| y.dims().to_vec())
        };
        assert_eq!(ask(&[0, -1], false), Ok(vec![2, 6]));
        assert_eq!(ask(&[-1, 3], true), Ok(vec![4, 3]));
        for (bad, allow_zero) in
            [([-1, -1], false), ([0, -1], true), ([-2, 6], false), ([i64::MAX, 2], false)]
        {
            assert!(ask(&bad, allow_zero).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn shapes_are_inferred_in_symbols() {
        let x = Type::parse("f32[b,s,64]").unwrap();
        let infer = |op: Op| op.infer(&[Some(&x)], &()).map(|t| t[0].to_string());
        assert_eq!(infer(Transpose { perm: vec![2, 0, 1] }.into()).unwrap(), "f32[64,b,s]");
        assert_eq!(infer(Reshape { shape: dims(&["b*s", "64"]) }.into()).unwrap(), "f32[b*s,64]");
        assert!(infer(Transpose { perm: vec![0, 1, 1] }.into()).is_err());
        assert!(infer(Reshape { shape: dims(&["0-1"]) }.into()).is_err());
    }

    #[test]
    fn triangles_start_at_any_diagonal() {
        let x = Tensor::from_vec(vec![2, 3], (1..7i32).collect()).unwrap();
        for (upper, k, want) in [
            (true, 0, [1, 2, 3, 0, 5, 6]),
            (true, 1, [0, 2, 3, 0, 0, 6]),
            (false, 0, [1, 0, 0, 4, 5, 0]),
            (false, -1, [0, 0, 0, 4, 0, 0]),
            (false, i64::MAX, [1, 2, 3, 4, 5, 6]),
            (true, i64::MIN, [1, 2, 3, 4, 5, 6]),
        ] {
            let y = eval(Trilu { upper }, &[&x, &Tensor::scalar(k)]).unwrap();
            assert_eq!(&*y.values::<i32>().unwrap(), &want, "{upper} {k}");
        }
    }
}
