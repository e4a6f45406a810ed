//! How a contraction of int8 activations is called, whatever the weights.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
pub(crate) mod blocks;
#[cfg(target_arch = "x86_64")]
mod tiles;
#[cfg(target_arch = "x86_64")]
pub(crate) mod ymm;
#[cfg(target_arch = "x86_64")]
pub(crate) mod zmm;

use crate::{Features, Geometry, Layout, Variant};

/// What processors with tiles also have, and kernels in tile registers use.
pub(crate) const AMX: Features =
    Features::AMX_INT8.union(Features::AVX512).union(Features::AVX512_VNNI).union(Features::AVX512_VBMI);

/// What kernels for the dot products of NEON use.
pub(crate) const DOTPROD: Features = Features::NEON.union(Features::NEON_DOTPROD);

/// The arguments, with sizes as in the [`Geometry`](crate::Geometry) of the weights.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ContractI8 {
    /// Packed weights, from tile 0 on.
    pub weights: *const u8,
    /// Activations i8[rows, groups, group_k], zeros where groups are padded.
    pub x: *const i8,
    /// Σx of each group, i32[rows, groups].
    pub x_sums: *const i32,
    /// i32[rows, groups, n_padded]; the outputs of the tiles asked for are written.
    pub out: *mut i32,
    pub rows: usize,
    pub groups: usize,
    /// A multiple of the layout's step.
    pub group_k: usize,
    pub n_padded: usize,
    /// Tiles to compute, `tile_begin .. tile_end`: how threads share a call.
    pub tile_begin: usize,
    pub tile_end: usize,
    /// As many bytes as [`scratch`] says, of this thread alone; else anything.
    pub scratch: *mut u8,
}

/// Bytes that a call of `variant` works in, with weights of geometry `g` and so many rows; `None` if only the
/// call knows.
pub fn scratch(variant: &Variant<ContractI8, Layout>, g: &Geometry, rows: Option<usize>) -> usize {
    if variant.needs.contains(AMX) { blocks::scratch(g, rows) } else { 0 }
}

/// One group of one tile: where the kernel proper starts reading and writing.
pub(crate) struct Cell {
    pub weights: *const u8,
    pub x: *const i8,
    pub x_sums: *const i32,
    pub out: *mut i32,
    pub steps: usize,
}

impl ContractI8 {
    #[inline(always)]
    pub(crate) fn cell(&self, layout: Layout, tile: usize, group: usize) -> Cell {
        let steps = self.group_k / layout.k_step();
        let before = (tile * self.groups + group) * steps;
        Cell {
            weights: self.weights.wrapping_add(before * layout.step_bytes()),
            x: self.x.wrapping_add(group * self.group_k),
            x_sums: self.x_sums.wrapping_add(group),
            out: self.out.wrapping_add(group * self.n_padded + tile * layout.tile()),
            steps,
        }
    }

    /// Activations between rows.
    #[inline(always)]
    pub(crate) fn x_stride(&self) -> usize {
        self.groups * self.group_k
    }

    /// Outputs between rows.
    #[inline(always)]
    pub(crate) fn out_stride(&self) -> usize {
        self.groups * self.n_padded
    }

    /// The cell's view from row `row` on.
    #[inline(always)]
    pub(crate) fn at_row(&self, cell: &Cell, row: usize) -> Cell {
        Cell {
            x: cell.x.wrapping_add(row * self.x_stride()),
            x_sums: cell.x_sums.wrapping_add(row * self.groups),
            out: cell.out.wrapping_add(row * self.out_stride()),
            ..*cell
        }
    }
}

/// Runs over blocks of rows: `in_blocks!(rows, |row| { 1 => .., 2 => .., .. })` takes the arm of the size of the block
/// that begins with `row`. Sizes count up from 1, and rows are shared among as few blocks as the last of them allows,
/// evenly: a straggler would read the weights as often as a full block.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! in_blocks {
    ($all:expr, |$row:ident| { $($rows:literal => $run:expr,)+ }) => {
        const MOST: usize = [$($rows),+].len();
        let mut $row = 0;
        while $row < $all {
            let left = $all - $row;
            let block = left.div_ceil(left.div_ceil(MOST));
            match block {
                $($rows => $run,)+
                _ => {}
            }
            $row += block;
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use in_blocks;

/// Runs over the tiles of a call, their groups, and blocks of rows, as [`in_blocks`] takes their arms.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! for_each_block {
    ($args:expr, $layout:expr, |$cell:ident| { $($rows:literal => $run:expr,)+ }) => {
        for tile in $args.tile_begin..$args.tile_end {
            for group in 0..$args.groups {
                let whole = $args.cell($layout, tile, group);
                $crate::contract_i8::in_blocks!($args.rows, |row| {
                    $($rows => {
                        let $cell = $args.at_row(&whole, row);
                        $run
                    },)+
                });
            }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use for_each_block;

/// Prefetches the packed weights some steps after those at `w` into the second cache: as far ahead as a stream from
/// memory needs, they would push each other and the activations out of the first. For kernels in 512-bit registers;
/// those in 256-bit ones measure faster with a shorter way into the first cache.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn prefetch_ahead(w: *const u8) {
    use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    const BYTES: usize = 8192;
    // SAFETY: a prefetch of any address is harmless.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(w.wrapping_add(BYTES).cast()) }
}

/// Four neighbouring activations, as the lane that is broadcast.
///
/// # Safety
/// Four bytes at `x` are readable.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(crate) unsafe fn four(x: *const i8) -> i32 {
    // SAFETY: the caller's.
    unsafe { x.cast::<i32>().read_unaligned() }
}

/// What the tests of each kernel share: the equation, and every variant against it.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::{Features, Geometry, Variant};
    use proptest::prelude::*;
    use std::{ops::RangeInclusive, vec, vec::Vec};

    /// A matrix of weights and rows of activations: n, k, group, weights, activations.
    pub type Case = (usize, usize, usize, Vec<i8>, Vec<i8>);

    /// Shapes with tails on every side, the groups that models have, and batches that fall on every
    /// block of rows and between; inputs that are cut, and rows that are taken in several passes.
    pub fn cases(weights: RangeInclusive<i8>) -> impl Strategy<Value = Case> {
        let group = prop_oneof![Just(usize::MAX), Just(32), Just(64), Just(128), Just(256), 1usize..200];
        let rows = prop_oneof![2 => Just(1usize), 6 => 1usize..41, 2 => 16usize..161, 1 => Just(128)];
        let k = prop_oneof![6 => 1usize..300, 1 => 1000usize..2600];
        (1usize..80, k, rows, group).prop_flat_map(move |(n, k, rows, group)| {
            let weights = prop::collection::vec(weights.clone(), n * k);
            let x = prop::collection::vec(any::<i8>(), rows * k);
            (Just(n), Just(k), Just(group), weights, x)
        })
    }

    /// Checks every variant that runs here, and what it does to the padding.
    pub fn check(variants: &[Variant<ContractI8, Layout>], (n, k, group, weights, x): &Case) {
        let (n, k) = (*n, *k);
        let features = Features::detect();
        for v in variants.iter().filter(|v| features.contains(v.needs)) {
            let g = Geometry::new(v.layout, n, k, *group).unwrap();
            let out = run(v, &g, weights, x);
            for (i, got) in out.into_iter().enumerate() {
                let (cell, o) = (i / g.n_padded, i % g.n_padded);
                let (b, group) = (cell / g.groups, cell % g.groups);
                let want = if o < n { expected(&g, weights, x, b, group, o) } else { 0 };
                assert_eq!(got, want, "{} b={b} g={group} n={o}", v.name());
            }
        }
    }

    /// Σ w·x, straight from the equation.
    fn expected(g: &Geometry, weights: &[i8], x: &[i8], b: usize, group: usize, n: usize) -> i32 {
        let inputs = group * g.group..g.k.min((group + 1) * g.group);
        inputs.map(|k| i32::from(weights[n * g.k + k]) * i32::from(x[b * g.k + k])).sum()
    }

    /// Runs one variant, its tiles split in two calls as two threads would.
    fn run(v: &Variant<ContractI8, Layout>, g: &Geometry, weights: &[i8], x: &[i8]) -> Vec<i32> {
        let rows = x.len() / g.k;
        let mut packed = vec![0; g.bytes];
        g.pack(weights, &mut packed).unwrap();
        let mut padded = vec![0; rows * g.k_padded()];
        let mut x_sums = vec![0; rows * g.groups];
        for (i, run) in padded.chunks_exact_mut(g.group_k).enumerate() {
            let (b, from) = (i / g.groups, i % g.groups * g.group);
            let values = &x[b * g.k..][from..g.k.min(from + g.group)];
            run[..values.len()].copy_from_slice(values);
            x_sums[i] = values.iter().map(|&v| i32::from(v)).sum();
        }
        let mut scratch = vec![0xff; scratch(v, g, Some(rows))];
        let mut out = vec![i32::MIN; rows * g.groups * g.n_padded];
        for range in [0..g.tiles / 2, g.tiles / 2..g.tiles] {
            let args = ContractI8 {
                weights: packed.as_ptr(),
                x: padded.as_ptr(),
                x_sums: x_sums.as_ptr(),
                out: out.as_mut_ptr(),
                rows,
                groups: g.groups,
                group_k: g.group_k,
                n_padded: g.n_padded,
                tile_begin: range.start,
                tile_end: range.end,
                scratch: scratch.as_mut_ptr(),
            };
            // SAFETY: the buffers have the sizes of `g`; callers only pass variants that run here.
            unsafe { (v.entry())(&args) };
        }
        out
    }
}
