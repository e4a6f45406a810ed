//! How layout ops move elements: strided reads, selections along an axis, and pasting into a larger tensor.
//!
//! All of them see elements as bytes of one width, whatever the type; those under 8 bits take a byte on the
//! way. Runs that are contiguous on both sides are copied as one.

use std::borrow::Cow;

use super::*;
use crate::tensor::result_count;
use crate::ty::Elem;

/// The bytes of a tensor, and how many make an element.
pub(in crate::ops) fn raw(x: &Tensor) -> OpResult<(Cow<'_, [u8]>, usize)> {
    match x.elem().bits() {
        bits if bits < 8 => Ok((x.unpacked()?, 1)),
        bits => Ok((Cow::Borrowed(x.bytes()), bits / 8)),
    }
}

/// The tensor of bytes as `raw` gives them.
pub(in crate::ops) fn from_raw(elem: Elem, dims: Vec<usize>, bytes: Vec<u8>) -> OpResult<Tensor> {
    match elem.bits() {
        bits if bits < 8 => Ok(Tensor::pack(elem, dims, &bytes)?),
        _ => Ok(Tensor::new(elem, dims, bytes.into())?),
    }
}

/// Bytes for a result, as many elements of `width` as `dims` ask for, all zero.
pub(in crate::ops) fn buffer(elem: Elem, dims: &[usize], width: usize) -> OpResult<Vec<u8>> {
    Ok(vec![0; result_count(elem, dims)? * width])
}

/// Row-major strides of a shape, in elements.
pub(in crate::ops) fn strides(dims: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; dims.len()];
    for axis in (1..dims.len()).rev() {
        // Saturates beside an axis of length 0, where nothing is read.
        strides[axis - 1] = strides[axis].saturating_mul(dims[axis] as isize);
    }
    strides
}

/// Which element of a source each element of a result is: the one at `offset + Σ index·stride`.
pub(in crate::ops) struct View {
    pub dims: Vec<usize>,
    pub strides: Vec<isize>,
    pub offset: usize,
}

impl View {
    /// A shape as it lies in memory.
    pub fn of(dims: &[usize]) -> View {
        View { dims: dims.to_vec(), strides: strides(dims), offset: 0 }
    }

    /// The elements of `x` that the view names, in its order.
    pub fn read(self, x: &Tensor) -> OpResult<Tensor> {
        let (src, width) = raw(x)?;
        let mut out = buffer(x.elem(), &self.dims, width)?;
        if !out.is_empty() {
            let axes = self.merged_axes();
            match width {
                1 => read::<1>(&src, &axes, self.offset, &mut out),
                2 => read::<2>(&src, &axes, self.offset, &mut out),
                4 => read::<4>(&src, &axes, self.offset, &mut out),
                _ => read::<8>(&src, &axes, self.offset, &mut out),
            }
        }
        from_raw(x.elem(), self.dims, out)
    }

    /// Length and stride of each axis, without those of length 1, and with neighbours that make one longer
    /// axis joined.
    fn merged_axes(&self) -> Vec<(usize, isize)> {
        let mut axes: Vec<(usize, isize)> = vec![];
        for (dim, stride) in self.dims.iter().zip(&self.strides).filter(|(d, _)| **d != 1) {
            match axes.last_mut() {
                Some((n, s)) if *s == stride * *dim as isize => (*n, *s) = (*n * dim, *stride),
                _ => axes.push((*dim, *stride)),
            }
        }
        axes
    }
}

/// `x` with another `axis`, whose element `i` is element `indices[i]` of the old one.
pub(in crate::ops) fn take(x: &Tensor, axis: usize, indices: &[usize]) -> OpResult<Tensor> {
    let mut dims = x.dims().to_vec();
    let len = std::mem::replace(&mut dims[axis], indices.len());
    let (src, width) = raw(x)?;
    let mut out = buffer(x.elem(), &dims, width)?;
    if !out.is_empty() {
        let run = dims[axis + 1..].iter().product::<usize>() * width;
        let rows = src.chunks_exact(run * len);
        for (row, out) in rows.zip(out.chunks_exact_mut(run * indices.len())) {
            for (out, i) in out.chunks_exact_mut(run).zip(indices) {
                out.copy_from_slice(&row[i * run..(i + 1) * run]);
            }
        }
    }
    from_raw(x.elem(), dims, out)
}

/// Copies all of `src`, of shape `dims`, into `out`, of shape `out_dims`, from the index `start` on. It must
/// fit; elements are of `width` bytes.
pub(in crate::ops) fn paste(
    out: &mut [u8],
    out_dims: &[usize],
    start: &[usize],
    src: &[u8],
    dims: &[usize],
    width: usize,
) {
    if src.is_empty() {
        return;
    }
    let whole = dims.iter().zip(out_dims).rev().take_while(|(a, b)| a == b).count();
    let split = dims.len().saturating_sub(whole + 1);
    let run = dims[split..].iter().product::<usize>() * width;
    let steps = strides(out_dims);
    let offset = start.iter().zip(&steps).map(|(i, s)| i * *s as usize).sum();
    let axes: Vec<_> = dims[..split].iter().copied().zip(steps).collect();
    for (run, at) in src.chunks_exact(run).zip(Walk::new(&axes, offset)) {
        out[at * width..][..run.len()].copy_from_slice(run);
    }
}

/// Both sides of a tile of a transposition, in elements.
const TILE: usize = 16;

fn read<const W: usize>(src: &[u8], axes: &[(usize, isize)], offset: usize, out: &mut [u8]) {
    let (src, out) = (src.as_chunks::<W>().0, out.as_chunks_mut::<W>().0);
    let at = |base: usize, i: usize, step: isize| base.wrapping_add_signed(i as isize * step);
    match axes {
        [] => out[0] = src[offset],
        [outer @ .., (rows, 1), (n, step)] if *step > 1 => {
            for (out, base) in out.chunks_exact_mut(rows * n).zip(Walk::new(outer, offset)) {
                for row in (0..*rows).step_by(TILE) {
                    for column in (0..*n).step_by(TILE) {
                        for i in row..*rows.min(&(row + TILE)) {
                            for j in column..*n.min(&(column + TILE)) {
                                out[i * n + j] = src[at(base + i, j, *step)];
                            }
                        }
                    }
                }
            }
        }
        [outer @ .., (n, step)] => {
            for (out, base) in out.chunks_exact_mut(*n).zip(Walk::new(outer, offset)) {
                match step {
                    1 => out.copy_from_slice(&src[base..base + n]),
                    0 => out.fill(src[base]),
                    _ => out.iter_mut().enumerate().for_each(|(i, o)| *o = src[at(base, i, *step)]),
                }
            }
        }
    }
}

/// Offsets of all indices of `axes` in row-major order, without end: the last is followed by the first.
pub(in crate::ops) struct Walk<'a> {
    axes: &'a [(usize, isize)],
    index: Vec<usize>,
    at: usize,
}

impl Walk<'_> {
    pub(in crate::ops) fn new(axes: &[(usize, isize)], offset: usize) -> Walk<'_> {
        Walk { axes, index: vec![0; axes.len()], at: offset }
    }
}

impl Iterator for Walk<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let current = self.at;
        for (i, (n, step)) in self.index.iter_mut().zip(self.axes).rev() {
            *i += 1;
            self.at = self.at.wrapping_add_signed(*step);
            if *i < *n {
                break;
            }
            self.at = self.at.wrapping_add_signed(-(*n as isize * step));
            *i = 0;
        }
        Some(current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(dims: Vec<usize>) -> Tensor {
        let n = dims.iter().product::<usize>() as i32;
        Tensor::from_vec(dims, (0..n).collect()).unwrap()
    }

    #[test]
    fn every_view_reads_what_its_strides_say() {
        let x = counting(vec![3, 20, 40]);
        for (dims, strides, offset) in [
            (vec![3, 20, 40], vec![800, 40, 1], 0),
            (vec![3, 40, 20], vec![800, 1, 40], 0),
            (vec![40, 20, 3], vec![1, 40, 800], 0),
            (vec![20, 7, 2], vec![-40, 0, 3], 19 * 40),
            (vec![2, 1, 5], vec![800, 9, -2], 39),
            (vec![], vec![], 17),
            (vec![4, 0], vec![1, 1], 0),
        ] {
            let view = View { dims: dims.clone(), strides: strides.clone(), offset };
            let got = view.read(&x).unwrap();
            let total: usize = dims.iter().product();
            let want: Vec<i32> = (0..total)
                .map(|mut flat| {
                    let mut at = offset as isize;
                    for (d, s) in dims.iter().zip(&strides).rev() {
                        at += (flat % d) as isize * s;
                        flat /= d;
                    }
                    at as i32
                })
                .collect();
            assert_eq!(&*got.values::<i32>().unwrap(), want, "{dims:?} {strides:?}");
        }
    }

    #[test]
    fn narrow_elements_move_too() {
        let bytes: Vec<u8> = (0..6).collect();
        let x = Tensor::pack(Elem::U4, vec![2, 3], &bytes).unwrap();
        let view = View { dims: vec![3, 2], strides: vec![1, 3], offset: 0 };
        assert_eq!(&*view.read(&x).unwrap().unpacked().unwrap(), &[0, 3, 1, 4, 2, 5]);
        assert_eq!(&*take(&x, 1, &[2, 2]).unwrap().unpacked().unwrap(), &[2, 2, 5, 5]);
    }

    #[test]
    fn pasting_fills_a_box() {
        let mut out = vec![9; 16];
        paste(&mut out, &[4, 4], &[1, 2], &[1, 2, 3, 4], &[2, 2], 1);
        assert_eq!(out, [9, 9, 9, 9, 9, 9, 1, 2, 9, 9, 3, 4, 9, 9, 9, 9]);
    }
}
