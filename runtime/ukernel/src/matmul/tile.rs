//! The register tile: a few rows of `a` times a packed panel.
//!
//! All its sums are in registers for the whole depth of the panel. Its size is the instruction set's:
//! enough sums in flight to hide the latency of an addition, as many as there are registers.

use super::WIDTH;
#[cfg(target_arch = "aarch64")]
use crate::lanes::Neon;
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};
use crate::lanes::{LANES, Lanes, Scalar, prefetch};

/// Values ahead of those of a stream that are read.
const STREAM: usize = 1024;

/// One tile's work.
pub(crate) struct Tile {
    pub a: *const f32,
    pub a_row: isize,
    pub a_column: isize,
    /// f32[depth], rows of at least 16 · vectors.
    pub b: *const f32,
    /// From a row of `b` to the next.
    pub b_row: usize,
    pub c: *mut f32,
    pub c_row: isize,
    pub depth: usize,
    /// Columns of `c`, of which a tile takes as many as it has: with fewer vectors where those are enough.
    pub columns: usize,
    /// Whether `c` holds the sums so far.
    pub adds: bool,
    pub ahead: Ahead,
}

/// Memory to ask for on the way, a line for each k: `step` values apart, and every 16 lines starting
/// again `block` values on.
pub(crate) struct Ahead {
    pub start: *const f32,
    pub step: isize,
    pub block: isize,
}

impl Ahead {
    /// Asks for one line, which is in the cache.
    #[inline(always)]
    pub fn none(cached: *const f32) -> Ahead {
        Ahead { start: cached, step: 0, block: 0 }
    }

    /// Asks for a line of each row of the panel that is being read.
    #[inline(always)]
    pub fn stream(panel: *const f32) -> Ahead {
        let step = WIDTH as isize;
        Ahead { start: panel.wrapping_add(STREAM), step, block: step * LANES as isize }
    }

    /// Asks for share `i` of a packed panel of `depth`, if there are so many, in as many lines.
    #[inline(always)]
    pub fn share(panel: *const f32, i: usize, depth: usize) -> Ahead {
        match i * LANES < WIDTH {
            true => {
                let (start, step) = (panel.wrapping_add(i * depth * LANES), LANES as isize);
                Ahead { start, step, block: step * LANES as isize }
            }
            false => Ahead::none(panel),
        }
    }
}

/// The tile of an instruction set.
pub(crate) trait Tiles: Lanes + Sized {
    const ROWS: usize;
    const VECTORS: usize;

    /// The products of the first `rows` ≤ [`Tiles::ROWS`] rows.
    ///
    /// # Safety
    /// The rows, panel and columns exist, and `b` is packed for [`Tiles::VECTORS`].
    unsafe fn tile(tile: &Tile, rows: usize);

    /// The product of one row with a whole panel of [`Panels`](super::Panels).
    ///
    /// # Safety
    /// The row, panel and columns exist.
    #[inline(always)]
    unsafe fn row(tile: &Tile) {
        // SAFETY: the caller's.
        unsafe { sums::<Self, 1, { WIDTH / LANES }>(tile) }
    }
}

macro_rules! tiles {
    ($lanes:ty, $rows:literal x $vectors:literal, fewer: $fewer:tt x $narrower:tt) => {
        impl Tiles for $lanes {
            const ROWS: usize = $rows;
            const VECTORS: usize = $vectors;

            #[inline(always)]
            unsafe fn tile(tile: &Tile, rows: usize) {
                tiles! { by_vectors tile rows $vectors $fewer $narrower $rows }
            }
        }
    };
    (by_vectors $tile:ident $rows:ident $vectors:literal $fewer:tt [$($narrower:literal)*] $all:literal) => {
        match $tile.columns.div_ceil(LANES) {
            $($narrower => tiles! { by_rows $tile $rows $narrower $fewer $all },)*
            _ => tiles! { by_rows $tile $rows $vectors $fewer $all },
        }
    };
    (by_rows $tile:ident $rows:ident $vectors:literal [$($fewer:literal)*] $all:literal) => {
        // SAFETY: the caller's.
        unsafe {
            match $rows {
                $($fewer => sums::<Self, $fewer, $vectors>($tile),)*
                _ => sums::<Self, $all, $vectors>($tile),
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
tiles! { Avx512, 8 x 3, fewer: [1 2 3 4 5 6 7] x [1 2] }
#[cfg(target_arch = "x86_64")]
tiles! { Avx2, 6 x 1, fewer: [1 2 3 4 5] x [] }
#[cfg(target_arch = "aarch64")]
tiles! { Neon, 5 x 1, fewer: [1 2 3 4] x [] }
tiles! { Scalar, 4 x 1, fewer: [1 2 3] x [] }

/// # Safety
/// `R` rows of `a` and `c`, and `V` vectors in each row of `b`, exist.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "sums that are iterated over go through memory")]
unsafe fn sums<L: Lanes, const R: usize, const V: usize>(tile: &Tile) {
    let mut sums = [[L::splat(0.0); V]; R];
    // SAFETY: the caller's; columns from `columns` on are not touched.
    unsafe {
        if tile.adds {
            for r in 0..R {
                let c = tile.c.offset(r as isize * tile.c_row);
                for v in 0..V {
                    if v * LANES < tile.columns {
                        sums[r][v] = L::load_at(c, v * LANES, tile.columns, 0.0);
                    }
                }
            }
        }
        let (mut a, mut b, mut ahead) = (tile.a, tile.b, tile.ahead.start);
        for k in (0..tile.depth).step_by(LANES) {
            let mut line = ahead;
            for _ in k..tile.depth.min(k + LANES) {
                prefetch(line);
                line = line.wrapping_offset(tile.ahead.step);
                let mut columns = [L::splat(0.0); V];
                for (v, column) in columns.iter_mut().enumerate() {
                    *column = L::load(b.add(v * LANES));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let a = L::splat(*a.wrapping_offset(r as isize * tile.a_row));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = sum.fused_add_product(a, column);
                    }
                }
                a = a.wrapping_offset(tile.a_column);
                b = b.add(tile.b_row);
            }
            ahead = ahead.wrapping_offset(tile.ahead.block);
        }
        for r in 0..R {
            let c = tile.c.offset(r as isize * tile.c_row);
            for v in 0..V {
                if v * LANES < tile.columns {
                    sums[r][v].store_at(c, v * LANES, tile.columns);
                }
            }
        }
    }
}
