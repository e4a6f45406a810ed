//! Packing: a panel of the right-hand side, its columns side by side for each k.

use super::tile::Ahead;
use crate::lanes::{LANES, Lanes};
use core::array;

/// A part of `b`, as it lies there.
pub(super) struct Panel {
    pub b: *const f32,
    pub row: isize,
    pub column: isize,
    /// Rows of `b`.
    pub depth: usize,
    pub columns: usize,
}

/// Values between rows that lie so close together that they are read as well where they are.
const CLOSE: isize = 256;

impl Panel {
    /// Whether tiles can read it where it lies.
    #[inline(always)]
    pub fn is_packed(&self) -> bool {
        self.column == 1 && (0..=CLOSE).contains(&self.row) && self.columns.is_multiple_of(LANES)
    }

    /// How to ask for share `i` of the panel: its columns `16 · i ..`.
    #[inline(always)]
    pub fn ahead(&self, i: usize) -> Ahead {
        let start = self.b.wrapping_offset((i * LANES) as isize * self.column);
        // A line is 16 values along the axis whose stride is 1: of each row, or of each column.
        match self.row {
            1 => Ahead { start, step: self.column, block: LANES as isize },
            row => Ahead { start, step: row, block: LANES as isize * row },
        }
    }
}

/// Packs the panel as f32[depth, 16 · vectors]; columns that it lacks are zero.
///
/// # Safety
/// The panel is readable and `to` writable.
#[inline(always)]
pub(super) unsafe fn pack<L: Lanes>(panel: &Panel, to: *mut f32, vectors: usize) {
    for v in 0..vectors {
        let columns = panel.columns.saturating_sub(v * LANES).min(LANES);
        let from = panel.b.wrapping_offset((v * LANES) as isize * panel.column);
        // SAFETY: the caller's; `columns` columns at `from` are in the panel, and the vector is one of
        // those of each packed row.
        unsafe {
            let to = to.add(v * LANES);
            match (columns, panel.row, panel.column) {
                (1.., _, 1) => copy::<L>(panel, from, columns, to, vectors),
                (1.., 1, _) => transpose::<L>(panel, from, columns, to, vectors),
                _ => gather::<L>(panel, from, columns, to, vectors),
            }
        }
    }
}

/// Columns that are neighbours.
///
/// # Safety
/// `columns` in 1 ..= 16 of the panel at `from` are readable, and a vector in each row at `to` writable.
#[inline(always)]
unsafe fn copy<L: Lanes>(panel: &Panel, from: *const f32, columns: usize, to: *mut f32, vectors: usize) {
    for k in 0..panel.depth {
        // SAFETY: the caller's.
        unsafe {
            let row = L::load_at(from.offset(k as isize * panel.row), 0, columns, 0.0);
            row.store(to.add(k * vectors * LANES));
        }
    }
}

/// Columns whose values are neighbours.
///
/// # Safety
/// As for [`copy`].
#[inline(always)]
unsafe fn transpose<L: Lanes>(panel: &Panel, from: *const f32, columns: usize, to: *mut f32, vectors: usize) {
    for k in (0..panel.depth).step_by(LANES) {
        let mut rows = [L::splat(0.0); LANES];
        for (j, row) in rows.iter_mut().enumerate().take(columns) {
            // SAFETY: the caller's; the column is in the panel and `k` below its depth.
            *row = unsafe { L::load_at(from.offset(j as isize * panel.column), k, panel.depth, 0.0) };
        }
        for (i, column) in L::transpose(rows).into_iter().enumerate().take(panel.depth - k) {
            // SAFETY: the caller's; row `k + i` is below the depth.
            unsafe { column.store(to.add((k + i) * vectors * LANES)) };
        }
    }
}

/// Columns of any strides, or none.
///
/// # Safety
/// As for [`copy`], but `columns` may be 0.
#[inline(always)]
unsafe fn gather<L: Lanes>(panel: &Panel, from: *const f32, columns: usize, to: *mut f32, vectors: usize) {
    for k in 0..panel.depth {
        let value = |j: usize| match j < columns {
            // SAFETY: the caller's.
            true => unsafe { *from.offset(k as isize * panel.row + j as isize * panel.column) },
            false => 0.0,
        };
        let row: [f32; LANES] = array::from_fn(value);
        // SAFETY: the caller's.
        unsafe { to.add(k * vectors * LANES).cast::<[f32; LANES]>().write(row) };
    }
}
