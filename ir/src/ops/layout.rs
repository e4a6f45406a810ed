//! Ops that give the same elements another shape or order.
//!
//! Where the shape is known only when its operand is, the `…_dynamic` twin takes that operand and names the
//! result's dimensions in an attribute, as symbols or as whatever is known about them.

use super::layout_args::*;
use super::layout_copy::{View, strides};
use super::*;
use crate::{bail, op};

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
    /// `x` repeated along its axes of length 1, and along new leading axes, up to `shape`.
    Expand = "expand" (x) { shape: Vec<Dim> }
}
op! {
    /// `x` broadcast against a tensor of the shape in an i64 operand. ONNX Expand.
    ExpandDynamic = "expand_dynamic" (x, shape) { dims: Vec<Dim> }
}
op! {
    /// `x` written `repeats[i]` times along axis `i`.
    Tile = "tile" (x) { repeats: Vec<Dim> }
}
op! {
    /// `tile` with the repeats in an i64 operand. ONNX Tile.
    TileDynamic = "tile_dynamic" (x, repeats) { dims: Vec<Dim> }
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
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        let result = Type { elem: x.elem, dims: dimensions(&self.shape)? };
        let known = |t: &Type| t.count().and_then(|n| n.as_const());
        match (known(x), known(&result)) {
            (Some(a), Some(b)) if a != b => bail!("{x} has {a} elements, {result} has {b}"),
            _ => Ok(vec![result]),
        }
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
            bail!("{:?} is no permutation of the axes of {x}", self.perm);
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

impl OpDef for Expand {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        let dims = dimensions(&self.shape)?;
        let Some(lead) = dims.len().checked_sub(x.rank()) else {
            bail!("{x} has more axes than {}", Type { elem: x.elem, dims })
        };
        for (from, to) in x.dims.iter().zip(&dims[lead..]) {
            if let (Some(a), Some(b)) = (from.as_const(), to.as_const())
                && a != b
                && a != 1
            {
                bail!("cannot expand an axis of {a} elements to {b}");
            }
        }
        Ok(vec![Type { elem: x.elem, dims }])
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        Ok(vec![expand(&args[0], resolve(&self.shape, cx.dims())?)?])
    }
}

impl OpDef for ExpandDynamic {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        expect_vector(&args[1], "shape", None)?;
        if self.dims.len() < args[0].rank() {
            bail!("`dims` has fewer axes than {}", args[0]);
        }
        Ok(vec![Type { elem: args[0].elem, dims: dimensions(&self.dims)? }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let shape = sizes(&args[1])?;
        Ok(vec![expand(&args[0], broadcast_dims(args[0].dims(), &shape)?)?])
    }
}

/// `x` repeated up to `dims`, which it must broadcast to.
fn expand(x: &Tensor, dims: Vec<usize>) -> OpResult<Tensor> {
    if broadcast_dims(x.dims(), &dims)? != dims {
        bail!("cannot expand {:?} to {dims:?}", x.dims());
    }
    let mut steps = vec![0; dims.len() - x.rank()];
    steps.extend(x.dims().iter().zip(strides(x.dims())).map(|(d, s)| if *d == 1 { 0 } else { s }));
    View { dims, strides: steps, offset: 0 }.read(x)
}

impl OpDef for Tile {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        if self.repeats.len() != x.rank() {
            bail!("{} repeats for {x}", self.repeats.len());
        }
        let repeats = dimensions(&self.repeats)?;
        let dims = x.dims.iter().zip(&repeats).map(|(d, r)| d.mul(r).ok_or("a dimension overflows"));
        Ok(vec![Type { elem: x.elem, dims: dims.collect::<Result<_, _>>()? }])
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        Ok(vec![tile(&args[0], &resolve(&self.repeats, cx.dims())?)?])
    }
}

impl OpDef for TileDynamic {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        expect_vector(&args[1], "repeats", Some(x.rank()))?;
        if self.dims.len() != x.rank() {
            bail!("`dims` has {} axes, not those of {x}", self.dims.len());
        }
        Ok(vec![Type { elem: x.elem, dims: dimensions(&self.dims)? }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let repeats = sizes(&args[1])?;
        if repeats.len() != args[0].rank() {
            bail!("{} repeats for {} axes", repeats.len(), args[0].rank());
        }
        Ok(vec![tile(&args[0], &repeats)?])
    }
}

/// Each axis is read as two, one of stride 0 for the repeats.
fn tile(x: &Tensor, repeats: &[usize]) -> OpResult<Tensor> {
    let total: Option<Vec<_>> = x.dims().iter().zip(repeats).map(|(d, r)| d.checked_mul(*r)).collect();
    let total = total.ok_or("the result is too large")?;
    let dims = x.dims().iter().zip(repeats).flat_map(|(d, r)| [*r, *d]).collect();
    let steps = strides(x.dims()).into_iter().flat_map(|s| [0, s]).collect();
    Ok(View { dims, strides: steps, offset: 0 }.read(x)?.reshape(total)?)
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
        let (bytes, width) = layout_copy::raw(x)?;
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
        Ok(vec![layout_copy::from_raw(x.elem(), x.dims().to_vec(), bytes)?])
    }
}
