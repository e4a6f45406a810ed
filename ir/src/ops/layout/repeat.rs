//! Ops that write elements several times.

use super::args::*;
use super::copy::{View, strides};
use super::*;
use crate::ops::require::may_broadcast;
use crate::{bail, op};

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
impl OpDef for Expand {
    const SIZES: Sizes = Sizes::Read;

    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        let dims = dimensions(&self.shape)?;
        let Some(lead) = dims.len().checked_sub(x.rank()) else {
            bail!("{x} has more axes than {}", Type { elem: x.elem, dims })
        };
        for (from, to) in x.dims.iter().zip(&dims[lead..]) {
            if !may_broadcast(from, to, module) {
                bail!("cannot expand an axis of {from} elements to {to}");
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
    const SIZES: Sizes = Sizes::Read;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_repeat_along_axes() {
        let x = Tensor::from_vec(vec![2, 1], vec![1i32, 2]).unwrap();
        let y = expand(&x, vec![2, 2, 3]).unwrap();
        assert_eq!(&*y.values::<i32>().unwrap(), &[1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]);
        let y = tile(&x, &[2, 3]).unwrap();
        assert_eq!(
            (y.dims(), &*y.values::<i32>().unwrap()),
            (&[4, 3][..], &[1, 1, 1, 2, 2, 2].repeat(2)[..])
        );
        assert_eq!(tile(&x, &[0, 3]).unwrap().dims(), &[0, 3]);
    }

    #[test]
    fn impossible_and_giant_shapes_are_refused() {
        let x = Tensor::from_vec(vec![2, 1], vec![1i32, 2]).unwrap();
        for shape in [vec![3, 1], vec![2], vec![2, 1 << 50], vec![usize::MAX, 2, 1]] {
            assert!(expand(&x, shape.clone()).is_err(), "{shape:?}");
        }
        assert!(tile(&x, &[usize::MAX, 1]).is_err());
        assert!(tile(&x, &[1 << 30, 1 << 30]).is_err());
    }
}
