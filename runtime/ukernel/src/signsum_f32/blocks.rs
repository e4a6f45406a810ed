//! The order in which a call goes through weights and rows.
//!
//! Tables of a row take more room than its inputs, by a factor of ten. A few rows have theirs made once, in the second
//! cache, and the weights stream past them. Of many, tables of a block of inputs stay in the first cache while the
//! tiles of that block pass, whose sums wait in the outputs: everything is read from far away once.

use super::{SignSumF32, step_len};
use crate::Layout;

/// What an instruction set does, for steps of `K` inputs.
pub trait Lookup<const K: usize> {
    const LAYOUT: Layout;
    /// Rows whose sums registers hold.
    const ROWS: usize;
    /// Steps of a block: as many as the first cache holds tables of, for so many rows.
    const STEPS: usize;
    /// Bytes ahead of those of a stream of weights that are read.
    const AHEAD: usize;

    /// The tables of a step.
    ///
    /// # Safety
    /// There is room for them.
    unsafe fn prepare(x: &[f32; K], tables: *mut f32);

    /// The sums of a block for `rows` rows, at most [`Lookup::ROWS`].
    ///
    /// # Safety
    /// What the block says is there.
    unsafe fn sums(block: &Block, rows: usize);
}

/// Some steps of a group of a tile, for a few rows.
pub struct Block {
    pub weights: *const u8,
    /// Bytes from weights that are read to those that are asked for.
    pub ahead: usize,
    pub steps: usize,
    /// Where those of the first row lie, and how many values from a row to the next.
    tables: (*const f32, usize),
    out: (*mut f32, usize),
    /// Whether the sums so far are in the outputs.
    pub adds: bool,
}

impl Block {
    #[inline(always)]
    pub fn tables(&self, row: usize) -> *const f32 {
        self.tables.0.wrapping_add(row * self.tables.1)
    }

    #[inline(always)]
    pub fn out(&self, row: usize) -> *mut f32 {
        self.out.0.wrapping_add(row * self.out.1)
    }
}

/// # Safety
/// The arguments are as [`SignSumF32`] says, and the machine has what `L` needs.
#[inline(always)]
pub unsafe fn run<const K: usize, L: Lookup<K>>(args: &SignSumF32) {
    let steps = args.group_k / K;
    let (step_bytes, step_len) = (L::LAYOUT.step_bytes(), step_len(L::LAYOUT));
    let tile_bytes = args.groups * steps * step_bytes;
    let weights = |tile: usize, group: usize, step: usize| {
        args.weights.wrapping_add(tile * tile_bytes + (group * steps + step) * step_bytes)
    };
    let out_stride = args.groups * args.n_padded;
    let out = |row: usize, group: usize, tile: usize| {
        let cell = row * args.groups + group;
        args.out.wrapping_add(cell * args.n_padded + tile * L::LAYOUT.tile())
    };
    // SAFETY: the caller's; tiles, groups, steps and rows stay inside the sizes that the arguments give.
    unsafe {
        if args.rows <= L::ROWS {
            let tables_stride = args.groups * steps * step_len;
            for row in 0..args.rows {
                for group in 0..args.groups {
                    let tables = args.scratch.add(row * tables_stride + group * steps * step_len);
                    prepare::<K, L>(args, (row, group), (0, steps), tables);
                }
            }
            for tile in args.tile_begin..args.tile_end {
                for group in 0..args.groups {
                    let block = Block {
                        weights: weights(tile, group, 0),
                        ahead: L::AHEAD,
                        steps,
                        tables: (args.scratch.add(group * steps * step_len), tables_stride),
                        out: (out(0, group, tile), out_stride),
                        adds: false,
                    };
                    L::sums(&block, args.rows);
                }
            }
            return;
        }
        for group in 0..args.groups {
            // One block at least, so that sums of nothing are written too.
            for first in (0..steps.max(1)).step_by(L::STEPS) {
                let steps = L::STEPS.min(steps - first);
                let tables_stride = steps * step_len;
                for row in (0..args.rows).step_by(L::ROWS) {
                    let rows = L::ROWS.min(args.rows - row);
                    for r in 0..rows {
                        let tables = args.scratch.add(r * tables_stride);
                        prepare::<K, L>(args, (row + r, group), (first, steps), tables);
                    }
                    for tile in args.tile_begin..args.tile_end {
                        let block = Block {
                            weights: weights(tile, group, first),
                            ahead: tile_bytes,
                            steps,
                            tables: (args.scratch, tables_stride),
                            out: (out(row, group, tile), out_stride),
                            adds: first > 0,
                        };
                        L::sums(&block, rows);
                    }
                }
            }
        }
    }
}

/// The tables of `count` steps of a group of a row, from step `first` on.
///
/// # Safety
/// The arguments describe live buffers, and there is room for the tables.
#[inline(always)]
unsafe fn prepare<const K: usize, L: Lookup<K>>(
    args: &SignSumF32,
    (row, group): (usize, usize),
    (first, count): (usize, usize),
    mut tables: *mut f32,
) {
    // SAFETY: the caller's: rows of `k` values, `x_stride` apart.
    let x = unsafe { core::slice::from_raw_parts(args.x.wrapping_add(row * args.x_stride), args.k) };
    let x = x.chunks(args.group.max(1)).nth(group).unwrap_or(&[]);
    for step in first..first + count {
        let rest = x.get(step * K..).unwrap_or(&[]);
        // SAFETY: the caller's.
        unsafe {
            match rest.first_chunk() {
                Some(full) => L::prepare(full, tables),
                None => {
                    let mut padded = [0.0; K];
                    padded.iter_mut().zip(rest).for_each(|(to, x)| *to = *x);
                    L::prepare(&padded, tables);
                }
            }
        }
        tables = tables.wrapping_add(step_len(L::LAYOUT));
    }
}
