//! Dense f32 matrix products:
//!
//! ```text
//! c[m, n] = Σ_k a[m, k] · b[k, n]
//! ```
//!
//! Products are added from +0 in sequence of k, each fused with its addition, so results depend
//! neither on how the outputs are cut into calls nor on how many rows a call has; except that one
//! row with `b` by output (`b_row` = 1) is a dot product, striped as in [`dot`](crate::dot).
//!
//! `b` is cut into panels of columns, packed k by k, which every tile of rows reads from the second
//! cache; meanwhile the next one is asked for. Weights are packed once, as [`Panels`]. What is not is
//! packed panel by panel into scratch, of as many columns as a register tile has, unless its rows lie
//! close together; few rows are not worth that: they stream `b`.
#![allow(unsafe_code)]

pub mod blocks;
mod codes;
mod pack;
mod panels;
mod tile;

use core::ops::Range;

use crate::gemv::{GemvF32, kn, nk};
use crate::lanes::{LANES, variants};
pub use codes::Codes;
use pack::{Panel, pack};
pub use panels::Panels;
pub(crate) use tile::Tiles;
use tile::{Ahead, Tile};

/// Values of scratch that a call needs.
pub const SCRATCH: usize = DEPTH * WIDTH;

/// Columns of a panel of [`Panels`], and the most of one in scratch: calls that start at multiples of it leave no
/// others over.
pub const WIDTH: usize = 3 * LANES;

/// Up to this many rows `b` is streamed, best all its columns in one call.
pub const FEW_ROWS: usize = 4;

/// The most k of a packed panel.
const DEPTH: usize = 1024;

/// The arguments. Strides are in values.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MatmulF32 {
    /// f32[m, k].
    pub a: *const f32,
    /// From a row of `a` to the next, and from a column to the next.
    pub a_row: isize,
    pub a_column: isize,
    /// f32[k, n], or packed as [`Panels`].
    pub b: *const f32,
    /// From a row of `b` to the next, and from a column to the next, unless it is packed.
    pub b_row: isize,
    pub b_column: isize,
    /// f32[m, n]; the columns asked for are written. Apart from all else.
    pub c: *mut f32,
    pub c_row: isize,
    pub m: usize,
    pub k: usize,
    /// Columns to compute, `n_begin .. n_end`: how threads share a call. Where `b` is packed it begins at a panel.
    pub n_begin: usize,
    pub n_end: usize,
    /// f32[[`SCRATCH`]], of this call alone; not needed where `b` is packed.
    pub scratch: *mut f32,
    /// 1 where `b` is packed, else 0.
    pub packed: usize,
}

variants! {
    MatmulF32, matmul =>
    trine_matmul_f32_scalar, trine_matmul_f32_neon, trine_matmul_f32_avx2, trine_matmul_f32_avx512
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
pub(crate) unsafe fn matmul<L: Tiles>(args: &MatmulF32) {
    let MatmulF32 { m, k, n_begin, n_end, .. } = *args;
    if n_begin >= n_end {
        return;
    }
    // SAFETY: the caller's; a stride that is 1 or that rows have is not negative.
    unsafe {
        if k == 0 {
            for row in 0..m {
                args.c.offset(row as isize * args.c_row).add(n_begin).write_bytes(0, n_end - n_begin);
            }
        } else if args.packed == 1 {
            weights::<L>(args);
        } else if m <= FEW_ROWS && args.a_column == 1 && args.b_column == 1 {
            kn::gemv::<L>(&stream(args, args.b_row));
        } else if m == 1 && args.a_column == 1 && args.b_row == 1 {
            nk::gemv::<L>(&stream(args, args.b_column));
        } else {
            within::<L>(args, |_| (n_end, k));
        }
    }
}

fn stream(args: &MatmulF32, w_stride: isize) -> GemvF32 {
    GemvF32 {
        w: args.b,
        w_stride: w_stride as usize,
        x: args.a,
        x_stride: args.a_row as usize,
        out: args.c,
        out_stride: args.c_row as usize,
        rows: args.m,
        k: args.k,
        n_begin: args.n_begin,
        n_end: args.n_end,
    }
}

/// Products with weights that are packed.
///
/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn weights<L: Tiles>(args: &MatmulF32) {
    let MatmulF32 { a, m, k, .. } = *args;
    for n in (args.n_begin..args.n_end).step_by(WIDTH) {
        let columns = WIDTH.min(args.n_end - n);
        let panel = args.b.wrapping_add(n * k);
        let mut tile = Tile {
            a,
            a_row: args.a_row,
            a_column: args.a_column,
            b: panel,
            b_row: WIDTH,
            c: args.c.wrapping_add(n),
            c_row: args.c_row,
            depth: k,
            columns,
            adds: false,
            ahead: Ahead::stream(panel),
        };
        // SAFETY: the caller's: the panel is one of `b`, its columns are in `c`, and rows are below `m`.
        unsafe {
            if m == 1 {
                L::row(&tile);
                continue;
            }
            for (i, row) in (0..m).step_by(L::ROWS).enumerate() {
                tile.a = a.offset(row as isize * args.a_row);
                if m > L::ROWS {
                    tile.ahead = Ahead::share(panel.wrapping_add(WIDTH * k), i, k);
                }
                let rows = L::ROWS.min(m - row);
                for from in (0..columns).step_by(L::VECTORS * LANES) {
                    tile.b = panel.add(from);
                    tile.c = args.c.offset(row as isize * args.c_row).add(n + from);
                    tile.columns = columns - from;
                    L::tile(&tile, rows);
                }
            }
        }
    }
}

/// The products of each tile of rows with as many columns, and as many values of k of each, as `limits` says of the
/// rows. With [`MatmulF32::packed`] 0.
///
/// # Safety
/// The arguments describe live buffers, within which the limits are.
#[inline(always)]
pub(crate) unsafe fn within<L: Tiles>(args: &MatmulF32, limits: impl Fn(Range<usize>) -> (usize, usize)) {
    let mut next = panel::<L>(args, args.n_begin, 0);
    while let Some((n, k, panel)) = next {
        next = match (k + panel.depth, n + panel.columns) {
            (k, _) if k < args.k => self::panel::<L>(args, n, k),
            (_, n) => self::panel::<L>(args, n, 0),
        };
        // SAFETY: the caller's; the panel lies in `b`, its rows and columns in `a` and `c`, and it
        // has no more of them than scratch.
        unsafe {
            let (b, b_row) = if panel.is_packed() {
                (panel.b, panel.row as usize)
            } else {
                pack::<L>(&panel, args.scratch, L::VECTORS);
                (args.scratch.cast_const(), L::VECTORS * LANES)
            };
            let mut tile = Tile {
                a: args.a.offset(k as isize * args.a_column),
                a_row: args.a_row,
                a_column: args.a_column,
                b,
                b_row,
                c: args.c.add(n),
                c_row: args.c_row,
                depth: panel.depth,
                columns: panel.columns,
                adds: k > 0,
                ahead: Ahead::none(b),
            };
            for (i, row) in (0..args.m).step_by(L::ROWS).enumerate() {
                tile.ahead = match &next {
                    Some((_, _, next)) if i * LANES < next.columns => next.ahead(i),
                    _ => Ahead::none(b),
                };
                let rows = L::ROWS.min(args.m - row);
                let (columns, depth) = limits(row..row + rows);
                if n >= columns || (k > 0 && k >= depth) {
                    continue;
                }
                tile.columns = panel.columns.min(columns - n);
                tile.depth = panel.depth.min(depth - k);
                tile.a = args.a.offset(k as isize * args.a_column + row as isize * args.a_row);
                tile.c = args.c.offset(row as isize * args.c_row).add(n);
                L::tile(&tile, rows);
            }
        }
    }
}

/// The panel at column `n` and row `k` of `b`, if there is one.
#[inline(always)]
fn panel<L: Tiles>(args: &MatmulF32, n: usize, k: usize) -> Option<(usize, usize, Panel)> {
    (n < args.n_end).then(|| {
        let panel = Panel {
            b: args.b.wrapping_offset(n as isize * args.b_column + k as isize * args.b_row),
            row: args.b_row,
            column: args.b_column,
            depth: DEPTH.min(args.k - k),
            columns: (L::VECTORS * LANES).min(args.n_end - n),
        };
        (n, k, panel)
    })
}

#[cfg(test)]
mod tests;
