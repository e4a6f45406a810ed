//! The elements under every window as a matrix, so that a convolution is a matrix product (im2col), and back.

use std::ops::Range;

use crate::ops::window::{WindowAxis, step};

/// Windows over one channel: `counts` of them on `extents` elements. The matrix has a row a tap and a column a
/// window, both row-major over the axes.
pub(in crate::ops) struct Patches {
    pub axes: Vec<WindowAxis>,
    pub extents: Vec<usize>,
    pub counts: Vec<usize>,
}

/// Elements of a patch matrix that are made at once.
const TILE: usize = 1 << 18;

impl Patches {
    /// Rows of the matrix.
    pub fn taps(&self) -> usize {
        self.axes.iter().map(|a| a.kernel).product()
    }

    /// Columns of the matrix.
    pub fn windows(&self) -> usize {
        self.counts.iter().product()
    }

    /// The windows in stretches, of which `rows` rows are of bounded size.
    pub fn tiles(&self, rows: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (all, width) = (self.windows(), (TILE / rows.max(1)).max(16));
        (0..all).step_by(width).map(move |start| start..all.min(start + width))
    }

    /// Columns `windows` of the matrix of `channel`; zero where a tap is on a pad.
    pub fn gather<T: Copy + Default>(&self, channel: &[T], windows: Range<usize>, matrix: &mut [T]) {
        matrix.fill(T::default());
        let stride = self.last_stride();
        self.each_row(matrix.chunks_mut(windows.len()), windows, |row, column, offset, count| {
            let row = &mut row[column..column + count];
            match stride {
                1 => row.copy_from_slice(&channel[offset..offset + count]),
                _ => row.iter_mut().zip(channel[offset..].iter().step_by(stride)).for_each(|(r, c)| *r = *c),
            }
        });
    }

    /// Adds columns `windows` of the matrix to the elements of `channel` that they stand for.
    pub fn scatter<T: Copy>(
        &self,
        matrix: &[T],
        windows: Range<usize>,
        channel: &mut [T],
        add: fn(T, T) -> T,
    ) {
        let stride = self.last_stride();
        self.each_row(matrix.chunks(windows.len()), windows, |row, column, offset, count| {
            let row = &row[column..column + count];
            channel[offset..].iter_mut().step_by(stride).zip(row).for_each(|(c, r)| *c = add(*c, *r));
        });
    }

    /// Calls `f` with a row, a column, an offset and a count for every stretch of columns of that row whose taps
    /// are on elements: the first on `offset`, the others a stride of the last axis apart.
    fn each_row<R>(
        &self,
        rows: impl Iterator<Item = R>,
        windows: Range<usize>,
        mut f: impl FnMut(&mut R, usize, usize, usize),
    ) {
        let (Some(last), Some(&extent), Some(&count)) =
            (self.axes.last(), self.extents.last(), self.counts.last())
        else {
            return;
        };
        let kernel: Vec<_> = self.axes.iter().map(|a| a.kernel).collect();
        let mut tap = vec![0; kernel.len()];
        for mut row in rows {
            let shift = tap[kernel.len() - 1] * last.dilation;
            // The windows of the last axis whose tap is after the pad, and before the end.
            let low = last.pads.0.saturating_sub(shift).div_ceil(last.stride);
            let high = (extent + last.pads.0).saturating_sub(shift).div_ceil(last.stride);
            let mut window = windows.start;
            while window < windows.end {
                let (outer, first) = (window / count, window % count);
                let end = count.min(first + windows.end - window);
                let (low, high) = (low.max(first), high.min(end));
                if low < high
                    && let Some(line) = self.line(outer, &tap)
                {
                    let offset = line * extent + low * last.stride + shift - last.pads.0;
                    f(&mut row, window - windows.start + low - first, offset, high - low);
                }
                window += end - first;
            }
            step(&mut tap, &kernel);
        }
    }

    /// The line of the last axis that `tap` of the windows `outer` of the other axes is on, if not on a pad.
    fn line(&self, mut outer: usize, tap: &[usize]) -> Option<usize> {
        let (mut line, mut scale) = (0, 1);
        for (i, axis) in self.axes.iter().enumerate().rev().skip(1) {
            let at = outer % self.counts[i];
            outer /= self.counts[i];
            let position = (at * axis.stride + tap[i] * axis.dilation).checked_sub(axis.pads.0)?;
            if position >= self.extents[i] {
                return None;
            }
            line += position * scale;
            scale *= self.extents[i];
        }
        Some(line)
    }

    fn last_stride(&self) -> usize {
        self.axes.last().map_or(1, |a| a.stride)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patches() -> Patches {
        let axes = WindowAxis::all(&[2, 3], &[2, 1], &[1, 0, 0, 2], &[1, 2]).unwrap();
        let (extents, counts) = (vec![3, 5], vec![2, 3]);
        let windows = [axes[0].count(3, false).unwrap(), axes[1].count(5, false).unwrap()];
        assert_eq!(windows[..], counts);
        Patches { axes, extents, counts }
    }

    #[test]
    fn columns_are_the_elements_under_windows() {
        let p = patches();
        let channel: Vec<i32> = (1..=15).collect();
        let mut all = vec![0; 36];
        p.gather(&channel, 0..6, &mut all);
        for (tap, row) in all.chunks(6).enumerate() {
            for (window, v) in row.iter().enumerate() {
                let y = (window / 3 * 2 + tap / 3) as i32 - 1;
                let x = (window % 3 + tap % 3 * 2) as i32;
                let inside = (0..3).contains(&y) && x < 5;
                assert_eq!(*v, if inside { y * 5 + x + 1 } else { 0 }, "{tap} {window}");
            }
        }
        let mut part = vec![7; 6 * 3];
        p.gather(&channel, 2..5, &mut part);
        for (row, part) in all.chunks(6).zip(part.chunks(3)) {
            assert_eq!(row[2..5], *part);
        }
    }

    #[test]
    fn scattering_is_the_transpose_of_gathering() {
        let p = patches();
        let mut counted = vec![0; 15];
        for window in 0..6 {
            p.scatter(&[1; 6], window..window + 1, &mut counted, |a, b| a + b);
        }
        let mut hits = vec![0; 15];
        let mut all = vec![0; 36];
        p.gather(&(0..15).collect::<Vec<usize>>(), 0..6, &mut all);
        let mut ones = vec![0; 36];
        p.gather(&[1usize; 15], 0..6, &mut ones);
        all.iter().zip(ones).for_each(|(i, one)| hits[*i] += one);
        assert_eq!(counted, hits);
    }
}
