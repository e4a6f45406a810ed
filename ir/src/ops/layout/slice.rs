//! Slices: a regular part of some axes, as ONNX Slice and numpy write it.

use super::args::*;
use super::copy::View;
use super::*;
use crate::{bail, op};

op! {
    /// Elements `start, start+step, …` up to but without `end` of each of `axes`. Negative starts and ends
    /// count from the end of the axis; all are clamped to it. `sizes` states how many elements that gives
    /// where inference cannot tell, and is checked when the op runs. Inference takes symbols to be 1 or more.
    Slice = "slice" (x) {
        axes: Vec<usize>, starts: Vec<Dim>, ends: Vec<Dim>, steps: Vec<i64>, sizes: Option<Vec<Dim>>,
    }
}
op! {
    /// `slice` with its bounds in operands; axes default to the first ones, steps to 1. ONNX Slice.
    SliceDynamic = "slice_dynamic" (x, starts, ends, axes: optional, steps: optional) { dims: Vec<Dim> }
}

impl OpDef for Slice {
    const SIZES: Sizes = Sizes::Either;

    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        let n = self.axes.len();
        let lengths = [self.starts.len(), self.ends.len(), self.steps.len()];
        if lengths != [n; 3] || self.sizes.as_ref().is_some_and(|s| s.len() != n) {
            bail!("{n} axes with {lengths:?} starts, ends and steps");
        }
        if let Some(sizes) = &self.sizes {
            dimensions(sizes)?;
        }
        let mut dims = x.dims.clone();
        for (i, axis) in self.axes.iter().enumerate() {
            expect_axis(x, *axis)?;
            if self.axes[..i].contains(axis) {
                bail!("axis {axis} is sliced twice");
            }
            let (start, end, step) = (&self.starts[i], &self.ends[i], self.steps[i]);
            if step == 0 {
                bail!("a step of 0 along axis {axis}");
            }
            let proven = slice_length(&x.dims[*axis], start, end, step);
            let stated = self.sizes.as_ref().map(|s| s[i].clone());
            dims[*axis] = match (proven, stated) {
                (Some(a), Some(b)) => agree(&a, &b, module)?,
                (Some(a), None) | (None, Some(a)) => a,
                (None, None) => {
                    bail!("`sizes` must state how long `{start}`..`{end}` of `{}` is", x.dims[*axis])
                }
            };
        }
        Ok(vec![Type { elem: x.elem, dims }])
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let value = |d: &Dim| d.eval_integer(cx.dims()).ok_or_else(|| format!("no value for `{d}`"));
        let mut cuts = vec![];
        for (i, axis) in self.axes.iter().enumerate() {
            cuts.push((*axis, value(&self.starts[i])?, value(&self.ends[i])?, self.steps[i]));
        }
        Ok(vec![slice(&args[0], &cuts)?])
    }
}

impl OpDef for SliceDynamic {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        for (i, name) in ["starts", "ends", "axes", "steps"].into_iter().enumerate() {
            if let Some(ty) = args.get(i + 1) {
                expect_vector(ty, name, None)?;
            }
        }
        if self.dims.len() != args[0].rank() {
            bail!("`dims` has {} axes, not those of {}", self.dims.len(), args[0]);
        }
        Ok(vec![Type { elem: args[0].elem, dims: dimensions(&self.dims)? }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, starts, ends) = (&args[0], integers(&args[1])?, integers(&args[2])?);
        let axes = args.get(3).map_or_else(|| Ok((0..starts.len() as i64).collect()), integers)?;
        let steps = args.get(4).map_or_else(|| Ok(vec![1; starts.len()]), integers)?;
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            bail!("{} starts, {} ends, {} axes, {} steps", starts.len(), ends.len(), axes.len(), steps.len());
        }
        let mut cuts = vec![];
        for (i, a) in axes.iter().enumerate() {
            cuts.push((axis(*a, x.rank())?, starts[i], ends[i], steps[i]));
        }
        Ok(vec![slice(x, &cuts)?])
    }
}

/// How many elements a slice of an axis has, for all symbols from 1 on; `None` where it is not known from which end
/// of the axis a bound counts. No part of it is negative, also where a symbol is 0.
pub fn slice_length(len: &Dim, start: &Dim, end: &Dim, step: i64) -> Option<Dim> {
    if let (Some(n), Some(start), Some(end)) = (len.as_const(), start.as_integer(), end.as_integer()) {
        return clamp(n, start, end, step).ok().map(|(_, count)| Dim::constant(count));
    }
    let at_least = |a: &Dim, b: &Dim| a.sub(b).is_some_and(|d| d.is_nonnegative());
    let (zero, one) = (Dim::constant(0), Dim::constant(1));
    // A bound and `more` as clamped from `low` to the length.
    let bound = |bound: &Dim, more: &Dim, low: &Dim| {
        let negative = at_least(&zero, &bound.add(&one)?);
        if !negative && !at_least(bound, &zero) {
            return None;
        }
        let bound = if negative { bound.add(len)? } else { bound.clone() }.add(more)?;
        let bound = if at_least(&bound, low) { bound } else { bound.max_of(low)? };
        if at_least(len, &bound) { Some(bound) } else { bound.min_of(len) }
    };
    // Backwards, bounds are those after an element, so that none of them is negative.
    let (low, high) = match step {
        1.. => (bound(start, &zero, &zero)?, bound(end, &zero, &zero)?),
        _ => (bound(end, &one, &zero)?, bound(start, &one, &one)?),
    };
    let span = high.sub(&low)?;
    let span = if span.is_nonnegative() { span } else { span.max_of(&zero)? };
    span.ceildiv(&Dim::integer(i64::try_from(step.unsigned_abs()).ok()?))
}

/// `x` cut by (axis, start, end, step), each axis at most once.
pub(in crate::ops) fn slice(x: &Tensor, cuts: &[(usize, i64, i64, i64)]) -> OpResult<Tensor> {
    let mut view = View::of(x.dims());
    for (i, (axis, start, end, step)) in cuts.iter().enumerate() {
        if cuts[..i].iter().any(|cut| cut.0 == *axis) {
            bail!("axis {axis} is sliced twice");
        }
        let (first, count) = clamp(x.dims()[*axis], *start, *end, *step)?;
        // Products wrap only where nothing is read, or where one element makes the step meaningless.
        let stride = view.strides[*axis];
        view.offset = view.offset.wrapping_add(first.wrapping_mul(stride as usize));
        view.strides[*axis] = stride.wrapping_mul(*step as isize);
        view.dims[*axis] = count;
    }
    view.read(x)
}

/// The first index and the number of elements of a slice of `len` elements.
fn clamp(len: usize, start: i64, end: i64, step: i64) -> OpResult<(usize, usize)> {
    let n = i64::try_from(len).map_err(|_| "the axis is too long")?;
    let from_end = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
    let (start, end) = (from_end(start), from_end(end));
    let (first, span) = match step {
        0 => bail!("a step of 0"),
        1.. => (start.clamp(0, n), end.clamp(0, n) - start.clamp(0, n)),
        _ if n == 0 => (0, 0),
        _ => (start.clamp(0, n - 1), start.clamp(0, n - 1) - end.clamp(-1, n - 1)),
    };
    Ok((first as usize, (span.max(0) as u64).div_ceil(step.unsigned_abs()) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_formulas_where_bounds_have_a_sign() {
        let dim = |t: &str| Dim::parse(t).unwrap();
        for (len, start, end, step, want) in [
            ("10", "2", "-3", 1, Some("5")),
            ("10", "-1", "-11", -3, Some("4")),
            ("n", "0", "n", 1, Some("n")),
            ("n", "1", "n", 1, Some("n-1")),
            ("n", "0", "-1", 1, Some("n-1")),
            ("n", "-1", "n", 1, Some("1")),
            ("n", "-3", "n", 1, Some("n-max(0,n-3)")),
            ("n+2", "-3", "n+2", 1, Some("3")),
            ("n", "0", "3", 1, Some("min(3,n)")),
            ("n", "2", "1", 1, Some("max(0,1-min(2,n))")),
            ("past+seq", "past", "past+seq", 1, Some("seq")),
            ("past+seq", "0", "past", 1, Some("past")),
            ("2048", "0", "seq", 1, Some("min(2048,seq)")),
            ("2*n", "0", "2*n", 2, Some("n")),
            ("n", "0", "n", 2, Some("ceildiv(n,2)")),
            ("n", "n-1", "-n-1", -1, Some("n")),
            ("n", "-1", "-n-1", -1, Some("n")),
            ("n", "3", "0", -2, Some("floordiv(min(4,n),2)")),
            ("min(3,n-1)", "0", "1", 3, Some("floordiv(min(1,n-1)+2,3)")),
            ("n", "past-seq", "n", 1, None),
        ] {
            let got = slice_length(&dim(len), &dim(start), &dim(end), step);
            assert_eq!(got, want.map(dim), "{start}..{end} step {step} of {len}");
        }
    }

    #[test]
    fn bounds_are_clamped_and_steps_may_be_extreme() {
        let x = Tensor::vector((0..5i32).collect());
        for (start, end, step, want) in [
            (i64::MIN, i64::MAX, 1, vec![0, 1, 2, 3, 4]),
            (-2, i64::MAX, 1, vec![3, 4]),
            (i64::MAX, i64::MIN, -1, vec![4, 3, 2, 1, 0]),
            (3, 0, -2, vec![3, 1]),
            (0, 5, i64::MAX, vec![0]),
            (4, -6, i64::MIN, vec![4]),
            (3, 2, 1, vec![]),
        ] {
            let got = slice(&x, &[(0, start, end, step)]).unwrap();
            assert_eq!(&*got.values::<i32>().unwrap(), want, "{start}..{end} step {step}");
        }
        assert!(slice(&x, &[(0, 0, 1, 0)]).is_err());
    }
}
