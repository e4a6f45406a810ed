//! Padding: more or, where a pad is negative, fewer elements at both ends of each axis.

use super::args::*;
use super::copy::{buffer, from_raw, paste, raw, take};
use super::slice::slice;
use super::*;
use crate::tensor::result_count;
use crate::{attr_enum, bail, op};

attr_enum! {
    /// What stands in the padding.
    PadMode {
        /// One value.
        Constant = "constant",
        /// The elements mirrored at the edge, which is not repeated.
        Reflect = "reflect",
        /// The element at the edge.
        Edge = "edge",
        /// The elements from the other end.
        Wrap = "wrap",
    }
}
op! {
    /// `x` with `pads[i]` elements before and `pads[rank+i]` after those of axis `i`; `value` is what mode
    /// `constant` writes, zero if absent.
    Pad = "pad" (x, value: optional) { mode: PadMode, pads: Vec<Dim> }
}
op! {
    /// `pad` with the pads of all axes, or of `axes`, in operands. ONNX Pad.
    PadDynamic = "pad_dynamic" (x, pads, value: optional, axes: optional) { mode: PadMode, dims: Vec<Dim> }
}

impl OpDef for Pad {
    const SIZES: Sizes = Sizes::Read;

    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        expect_value(x, args.get(1))?;
        if self.pads.len() != 2 * x.rank() {
            bail!("{} pads for {x}, not two an axis", self.pads.len());
        }
        let (before, after) = self.pads.split_at(x.rank());
        let sum = |i: usize| x.dims[i].add(&before[i])?.add(&after[i]);
        let dims: Option<Vec<_>> = (0..x.rank()).map(sum).collect();
        Ok(vec![Type { elem: x.elem, dims: dimensions(&dims.ok_or("a dimension overflows")?)? }])
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let value = |d: &Dim| d.eval_integer(cx.dims()).ok_or_else(|| format!("no value for `{d}`").into());
        let pads: Vec<_> = self.pads.iter().map(value).collect::<OpResult<_>>()?;
        Ok(vec![pad(&args[0], &pads, args.get(1), self.mode)?])
    }
}

impl OpDef for PadDynamic {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        expect_vector(&args[1], "pads", args.get(3).is_none().then_some(2 * x.rank()))?;
        expect_value(x, args.get(2))?;
        if let Some(axes) = args.get(3) {
            expect_vector(axes, "axes", None)?;
        }
        if self.dims.len() != x.rank() {
            bail!("`dims` has {} axes, not those of {x}", self.dims.len());
        }
        Ok(vec![Type { elem: x.elem, dims: dimensions(&self.dims)? }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, given) = (&args[0], integers(&args[1])?);
        let rank = x.rank();
        let axes = args.get(3).map_or_else(|| Ok((0..rank as i64).collect()), integers)?;
        if given.len() != 2 * axes.len() {
            bail!("{} pads for {} axes, not two an axis", given.len(), axes.len());
        }
        let mut pads = vec![0; 2 * rank];
        for (i, a) in axes.iter().enumerate() {
            let axis = axis(*a, rank)?;
            (pads[axis], pads[rank + axis]) = (given[i], given[axes.len() + i]);
        }
        Ok(vec![pad(x, &pads, args.get(2), self.mode)?])
    }
}

fn expect_value(x: &Type, value: Option<&Type>) -> OpResult<()> {
    match value {
        Some(v) if v.elem != x.elem || v.rank() > 1 => bail!("cannot pad {x} with {v}"),
        _ => Ok(()),
    }
}

fn pad(x: &Tensor, pads: &[i64], value: Option<&Tensor>, mode: PadMode) -> OpResult<Tensor> {
    let (before, after) = pads.split_at(x.rank());
    let padded = |(i, n): (usize, &usize)| {
        let total = i64::try_from(*n).ok()?.checked_add(before[i])?.checked_add(after[i])?;
        usize::try_from(total).ok()
    };
    let dims: Option<Vec<_>> = x.dims().iter().enumerate().map(padded).collect();
    let Some(dims) = dims else { bail!("pads {pads:?} do not fit the shape {:?}", x.dims()) };
    result_count(x.elem(), &dims)?;
    match mode {
        PadMode::Constant => surround(x, before, dims, value),
        _ => (0..x.rank()).try_fold(x.clone(), |x, axis| {
            let len = x.dims()[axis];
            if dims[axis] == len && before[axis] == 0 {
                return Ok(x);
            }
            if len == 0 {
                bail!("axis {axis} has no elements to pad with");
            }
            let from = |i| source(i as i64 - before[axis], len as i64, mode) as usize;
            take(&x, axis, &(0..dims[axis]).map(from).collect::<Vec<_>>())
        }),
    }
}

/// Which of `len` elements stands at `i`, which may be outside of them.
fn source(i: i64, len: i64, mode: PadMode) -> i64 {
    match mode {
        PadMode::Wrap => i.rem_euclid(len),
        PadMode::Reflect if len > 1 => {
            let i = i.rem_euclid(2 * (len - 1));
            i.min(2 * (len - 1) - i)
        }
        _ => i.clamp(0, len - 1),
    }
}

/// What is left of `x` after negative pads, in a tensor of shape `dims` filled with `value`.
fn surround(x: &Tensor, before: &[i64], dims: Vec<usize>, value: Option<&Tensor>) -> OpResult<Tensor> {
    // Along each axis: the part of `x` that stays, and where it goes.
    let cut = |(axis, n): (usize, &i64)| {
        let first = n.saturating_neg().max(0);
        (axis, first, first.saturating_add(dims[axis] as i64 - n.max(&0)).max(0), 1)
    };
    let kept = slice(x, &before.iter().enumerate().map(cut).collect::<Vec<_>>())?;
    let (bytes, width) = raw(&kept)?;
    let mut out = buffer(x.elem(), &dims, width)?;
    if let Some(value) = value {
        let (value, _) = raw(value)?;
        match value.len() == width {
            true => out.chunks_exact_mut(width).for_each(|e| e.copy_from_slice(&value)),
            false => bail!("the value must be one element"),
        }
    }
    let start: Vec<_> = before.iter().map(|n| (*n).max(0) as usize).collect();
    paste(&mut out, &dims, &start, &bytes, kept.dims(), width);
    from_raw(x.elem(), dims, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_pads_and_crops() {
        let x = Tensor::vector(vec![1i32, 2, 3]);
        let zero = Tensor::scalar(0i32);
        for (mode, pads, want) in [
            (PadMode::Constant, [2, 1], vec![0, 0, 1, 2, 3, 0]),
            (PadMode::Constant, [-1, 2], vec![2, 3, 0, 0]),
            (PadMode::Constant, [1, -2], vec![0, 1]),
            (PadMode::Constant, [-5, 4], vec![0, 0]),
            (PadMode::Constant, [5, -4], vec![0, 0, 0, 0]),
            (PadMode::Reflect, [4, 3], vec![1, 2, 3, 2, 1, 2, 3, 2, 1, 2]),
            (PadMode::Edge, [2, 1], vec![1, 1, 1, 2, 3, 3]),
            (PadMode::Wrap, [2, 4], vec![2, 3, 1, 2, 3, 1, 2, 3, 1]),
            (PadMode::Edge, [-1, 1], vec![2, 3, 3]),
        ] {
            let got = pad(&x, &pads, Some(&zero), mode).unwrap();
            assert_eq!(&*got.values::<i32>().unwrap(), want, "{mode:?} {pads:?}");
        }
    }

    #[test]
    fn impossible_pads_are_refused() {
        let x = Tensor::vector(vec![1i32, 2, 3]);
        for pads in [[-2, -2], [i64::MAX, 1], [1 << 40, 0], [i64::MIN, 0]] {
            assert!(pad(&x, &pads, None, PadMode::Edge).is_err(), "{pads:?}");
        }
        let empty = Tensor::vector(Vec::<i32>::new());
        assert!(pad(&empty, &[1, 0], None, PadMode::Wrap).is_err());
    }
}
