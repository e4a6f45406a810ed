//! Rfft and Irfft: transforms of real signals, as products with the matrices of their sums.

use trine_ir::ops::{Concat, Matmul, Split, Sub};
use trine_ir::{Dim, Elem, OpResult, Tensor, Value, bail};

use super::NodeCx;
use super::nn::{cast, reshape, transpose};

/// Signals longer than this along an axis are refused: their matrices have its square of elements.
const LONGEST: usize = 1 << 11;

/// Rfft-1: `[…,n]` to `[…,n/2+1,2]`, over the last `signal_ndim` axes; those before the last are whole.
pub fn rfft(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let elem = cx.ty(x).elem;
    let x = cast(cx, x, Elem::F64)?;
    let (rank, axes) = (cx.rank(x), axes(cx, cx.rank(x))?);
    let n = length(cx, x, rank - 1)?;
    let kept = n / 2 + 1;
    let [cos, sin] = waves(n, kept, |j, k| (j, k));
    let mut parts = [product(cx, x, &cos, [n, kept])?, product(cx, x, &negated(&sin), [n, kept])?];
    for axis in (rank - axes..rank - 1).rev() {
        parts = turned(cx, parts, axis, false)?;
    }
    Ok(vec![joined(cx, parts, elem)?])
}

/// Irfft-1: `[…,n/2+1,2]` to `[…,n]` for an even n.
pub fn irfft(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let elem = cx.ty(x).elem;
    let x = cast(cx, x, Elem::F64)?;
    let ty = cx.ty(x);
    if ty.dims.last().and_then(Dim::as_const) != Some(2) {
        bail!("expects pairs of a real and an imaginary part, got {ty}");
    }
    let (rank, axes) = (ty.rank() - 1, axes(cx, ty.rank() - 1)?);
    let halves = cx.add_node(Split { axis: rank, sizes: vec![Dim::constant(1); 2] }, &[Some(x)])?;
    let dims = ty.dims[..rank].to_vec();
    let mut parts = [reshape(cx, halves[0], dims.clone())?, reshape(cx, halves[1], dims)?];
    for axis in rank - axes..rank - 1 {
        parts = turned(cx, parts, axis, true)?;
    }
    let kept = length(cx, parts[0], rank - 1)?;
    let Some(n) = kept.checked_sub(1).map(|half| 2 * half).filter(|n| (1..=LONGEST).contains(n)) else {
        bail!("{kept} frequencies are those of no signal that is supported")
    };
    let [cos, sin] = waves(kept, n, |k, j| (j, k));
    // Those that are not kept mirror those that are, but for the first and the last.
    let weight = |k: usize| if k == 0 || k + 1 == kept { 1.0 / n as f64 } else { 2.0 / n as f64 };
    let weighed = |m: &[f64]| m.iter().enumerate().map(|(i, v)| v * weight(i / n)).collect::<Vec<_>>();
    let real = product(cx, parts[0], &weighed(&cos), [kept, n])?;
    let imaginary = product(cx, parts[1], &weighed(&sin), [kept, n])?;
    let y = cx.add(Sub {}, &[real, imaginary])?;
    Ok(vec![cast(cx, y, elem)?])
}

/// How many of `rank` axes the signal has.
fn axes(cx: &NodeCx, rank: usize) -> OpResult<usize> {
    if !cx.attr_bool("onesided", true)? || cx.attr_bool("normalized", false)? {
        bail!("transforms are one-sided and not normalized");
    }
    match usize::try_from(cx.attr_int("signal_ndim", 1)?) {
        Ok(axes) if (1..=rank).contains(&axes) => Ok(axes),
        _ => bail!("`signal_ndim` is not that of a tensor of {rank} axes"),
    }
}

fn length(cx: &NodeCx, x: Value, axis: usize) -> OpResult<usize> {
    match cx.ty(x).dims[axis].as_const() {
        Some(n) if (1..=LONGEST).contains(&n) => Ok(n),
        _ => bail!("a signal {} is not of 1 to {LONGEST} elements along axis {axis}", cx.ty(x)),
    }
}

/// `cos` and `sin` of `2π·j·k/n` as `[rows,columns]`, with j and k by row and column; n is the larger number.
fn waves(rows: usize, columns: usize, jk: fn(usize, usize) -> (usize, usize)) -> [Vec<f64>; 2] {
    let n = rows.max(columns);
    let angle = |i: usize| {
        let (j, k) = jk(i / columns, i % columns);
        std::f64::consts::TAU * (j * k % n) as f64 / n as f64
    };
    [
        (0..rows * columns).map(|i| angle(i).cos()).collect(),
        (0..rows * columns).map(|i| angle(i).sin()).collect(),
    ]
}

fn negated(m: &[f64]) -> Vec<f64> {
    m.iter().map(|v| -v).collect()
}

fn product(cx: &mut NodeCx, x: Value, matrix: &[f64], dims: [usize; 2]) -> OpResult<Value> {
    let matrix = cx.constant(Tensor::from_vec(dims.to_vec(), matrix.to_vec())?);
    cx.add(Matmul { trans_b: false }, &[x, matrix])
}

/// A whole transform along `axis`, or its inverse.
fn turned(
    cx: &mut NodeCx,
    [real, imaginary]: [Value; 2],
    axis: usize,
    inverse: bool,
) -> OpResult<[Value; 2]> {
    let n = length(cx, real, axis)?;
    let [cos, sin] = waves(n, n, |j, k| (j, k));
    let by = if inverse { 1.0 / n as f64 } else { 1.0 };
    let cos: Vec<_> = cos.iter().map(|v| v * by).collect();
    let sin: Vec<_> = sin.iter().map(|v| if inverse { v * by } else { -v }).collect();
    let mut perm: Vec<_> = (0..cx.rank(real)).collect();
    let last = perm.len() - 1;
    perm.swap(axis, last);
    let (real, imaginary) = (transpose(cx, real, &perm)?, transpose(cx, imaginary, &perm)?);
    let mut of = |x: Value, m: &[f64]| product(cx, x, m, [n, n]);
    let (rc, is) = (of(real, &cos)?, of(imaginary, &sin)?);
    let (rs, ic) = (of(real, &sin)?, of(imaginary, &cos)?);
    let (real, imaginary) = (cx.add(Sub {}, &[rc, is])?, cx.add(trine_ir::ops::Add {}, &[rs, ic])?);
    Ok([transpose(cx, real, &perm)?, transpose(cx, imaginary, &perm)?])
}

/// Real and imaginary parts along a new last axis.
fn joined(cx: &mut NodeCx, parts: [Value; 2], elem: Elem) -> OpResult<Value> {
    let mut columns = vec![];
    for part in parts {
        let dims = [cx.ty(part).dims.as_slice(), &[Dim::constant(1)]].concat();
        columns.push(reshape(cx, part, dims)?);
    }
    let axis = cx.rank(columns[0]) - 1;
    let y = cx.add(Concat { axis }, &columns)?;
    cast(cx, y, elem)
}
