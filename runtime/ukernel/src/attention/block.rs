//! Several queries at a time, so that keys and values are read from registers and the first cache.
//!
//! Scores are a product of matrices, of each tile of queries with the keys that any of it sees, and so is what the
//! values that all of a tile see add to its outputs. What later queries of it see beyond that is added after it, in
//! the same sequence; nothing that is not visible to a query reaches it, not even times 0. A mask that hides the last keys
//! from a query, as a causal one that a model computes does, leaves as little to do as a causal one, unless a key or a
//! value is NaN, infinite or huge: such ones reach the query through a mask.

use core::ops::Range;

use super::{AttentionF32, fill, finish_scores, mask_row, zero_nan};
use crate::lanes::{LANES, Lanes};
use crate::matmul::{self, MatmulF32, Tiles};
use crate::softmax::{exp_less_max, exp_less_max_of_rows};

/// What a mask adds where models write the lowest float for -∞: exponentials of scores that are pushed so far down are 0
/// beside those of others, as long as no score comes near this.
const HIDDEN: f32 = -1e30;

/// Above what scores can be, hidden ones may weigh: below it, [`HIDDEN`] and what lies above it differ by more.
const MODERATE: f32 = 1e20;

/// Queries whose exponentials are computed together.
const TOGETHER: usize = 4;

/// Values of scratch that a call works in.
pub const fn scratch(rows: usize, keys: usize) -> usize {
    matmul::SCRATCH + rows * (keys + 2)
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
pub(super) unsafe fn block<L: Tiles>(args: &AttentionF32) {
    let rows = args.rows;
    let pack = args.scratch;
    // SAFETY: scratch holds the panel of a product, two numbers for each row, and the scores; all else is the caller's.
    unsafe {
        let sums = pack.add(matmul::SCRATCH);
        let counts = sums.add(rows).cast::<u32>();
        let mut keys = 0;
        for row in 0..rows {
            let count = seen_by::<L>(args, row);
            *counts.add(row) = count as u32;
            keys = count.max(keys);
        }
        let visible = |row: usize| args.keys.min(args.visible + row * args.more);
        let seen = |row: usize| *counts.add(row) as usize;
        let hidden = (0..rows).filter(|row| seen(*row) < visible(*row)).map(seen).min();
        if hidden.is_some_and(|first| !is_moderate::<L>(args, first..visible(rows - 1))) {
            (0..rows).for_each(|row| *counts.add(row) = visible(row) as u32);
            keys = visible(rows - 1);
        }
        // What all of some queries see, and what any of them does.
        let common = |rows: Range<usize>| rows.map(seen).min().unwrap_or(0);
        let any = |rows: Range<usize>| rows.map(seen).max().unwrap_or(0);
        let scores = sums.add(2 * rows);
        let product = |a, a_row: usize, b, b_strides: (usize, usize), c, c_row: usize, (k, n)| MatmulF32 {
            a,
            a_row: a_row as isize,
            a_column: 1,
            b,
            b_row: b_strides.0 as isize,
            b_column: b_strides.1 as isize,
            c,
            c_row: c_row as isize,
            m: rows,
            k,
            n_begin: 0,
            n_end: n,
            scratch: pack,
            packed: 0,
        };
        let (k, v) = ((1, args.k_stride), (args.v_stride, 1));
        let of_keys = product(args.q, args.q_row, args.k, k, scores, keys, (args.d, keys));
        matmul::within::<L>(&of_keys, |rows| (any(rows), args.d));
        for row in 0..rows {
            let scores = scores.add(row * keys);
            finish_scores::<L>(args, scores, mask_row(args, row), seen(row));
            if !args.zeroes() && (0..seen(row)).all(|j| *scores.add(j) == f32::NEG_INFINITY) {
                *counts.add(row) = 0;
            }
        }
        let mut row = 0;
        while row < rows {
            let (scores, sums) = (scores.add(row * keys), sums.add(row));
            if rows - row < TOGETHER {
                *sums = exp_less_max::<L>(scores, scores, seen(row));
                row += 1;
                continue;
            }
            let n = any(row..row + TOGETHER);
            for r in 0..TOGETHER {
                // e^-∞ changes no sum.
                (seen(row + r)..n).for_each(|j| *scores.add(r * keys + j) = f32::NEG_INFINITY);
            }
            let together = exp_less_max_of_rows::<L, TOGETHER>(scores, scores, keys, n);
            sums.cast::<[f32; TOGETHER]>().write(together);
            row += TOGETHER;
        }
        if args.zeroes() {
            for row in 0..rows {
                zero_nan(scores.add(row * keys), seen(row), &mut *sums.add(row));
            }
        }
        let of_values = |depth| product(scores, keys, args.v, v, args.out, args.out_row, (depth, args.dv));
        if rows <= matmul::FEW_ROWS {
            matmul::matmul::<L>(&of_values(common(0..rows)));
        } else {
            matmul::within::<L>(&of_values(keys), |rows| (args.dv, common(rows)));
        }
        for row in 0..rows {
            let tile = row / L::ROWS * L::ROWS;
            let common = common(tile..rows.min(tile + L::ROWS));
            let (scores, sum) = (scores.add(row * keys), *sums.add(row));
            let out = args.out.add(row * args.out_row);
            if seen(row) == 0 {
                fill(out, args.dv, args.unseen(visible(row)));
                continue;
            }
            let mut d = 0;
            while d < args.dv {
                let more = (common, seen(row));
                if args.dv - d >= 4 * LANES {
                    finish_outputs::<L, 4>(args, scores, more, out, d, sum);
                    d += 4 * LANES;
                } else {
                    finish_outputs::<L, 1>(args, scores, more, out, d, sum);
                    d += LANES;
                }
            }
        }
    }
}

/// How many keys a query sees: those that are visible, up to the last one that its mask leaves. If it leaves one,
/// those that [`HIDDEN`] pushes down are hidden, else only those at -∞.
///
/// # Safety
/// The arguments describe live buffers and there are more rows.
#[inline(always)]
unsafe fn seen_by<L: Lanes>(args: &AttentionF32, row: usize) -> usize {
    let visible = args.keys.min(args.visible + row * args.more);
    if args.mask.is_null() {
        return visible;
    }
    // SAFETY: the caller's; what is read are the first `visible` values of the row.
    unsafe {
        let mask = mask_row(args, row);
        match up_to_above::<L>(mask, visible, HIDDEN) {
            // What is hidden has a score that may weigh.
            seen if args.hides() && (seen == 0 || args.hidden > HIDDEN) => visible,
            0 => up_to_above::<L>(mask, visible, f32::NEG_INFINITY),
            seen => seen,
        }
    }
}

/// Whether no score of the keys is beyond [`MODERATE`], and all their values are finite: a weight of 0 then makes 0 of
/// them.
///
/// # Safety
/// The arguments describe live buffers and there are so many keys.
#[inline(always)]
unsafe fn is_moderate<L: Lanes>(args: &AttentionF32, keys: Range<usize>) -> bool {
    // SAFETY: the caller's.
    let (k, q, v) = unsafe {
        (
            greatest::<L>(args.k, args.k_stride, keys.clone(), args.d),
            greatest::<L>(args.q, args.q_row, 0..args.rows, args.d),
            greatest::<L>(args.v, args.v_stride, keys, args.dv),
        )
    };
    let largest = k.max(1.0) * q.max(1.0) * args.d as f32 * args.scale.abs().max(1.0);
    // NaN is not below anything; `f32::max` drops it.
    !k.is_nan() && !q.is_nan() && largest < MODERATE && v <= f32::MAX
}

/// The largest magnitude of `n` values of each of `rows`, or NaN if there is one.
///
/// # Safety
/// The values are readable.
#[inline(always)]
unsafe fn greatest<L: Lanes>(from: *const f32, stride: usize, rows: Range<usize>, n: usize) -> f32 {
    let mut greatest = L::splat(0.0);
    for row in rows {
        for i in (0..n).step_by(LANES) {
            // SAFETY: the caller's.
            greatest = greatest.max_bits(unsafe { L::load_at(from.add(row * stride), i, n, 0.0) }.abs());
        }
    }
    greatest.greatest_bits()
}

/// The length of `n` values without the last ones, up to one that is above `limit`.
///
/// # Safety
/// The values are readable.
#[inline(always)]
unsafe fn up_to_above<L: Lanes>(values: *const f32, mut n: usize, limit: f32) -> usize {
    // SAFETY: the caller's. NaN is above.
    unsafe {
        while n >= LANES && L::load(values.add(n - LANES)).nan_to_zero().greatest() <= limit {
            n -= LANES;
        }
        while n > 0 && *values.add(n - 1) <= limit {
            n -= 1;
        }
    }
    n
}

/// `V` vectors of a query's output, from dimension `d` on: adds the values from `first` to `last`, and divides by the
/// sum of the exponentials. A single vector may be cut short by `dv`.
///
/// # Safety
/// The arguments describe live buffers, `out` is a row of outputs and has the vectors.
#[inline(always)]
unsafe fn finish_outputs<L: Lanes, const V: usize>(
    args: &AttentionF32,
    scores: *const f32,
    (first, last): (usize, usize),
    out: *mut f32,
    d: usize,
    sum: f32,
) {
    // SAFETY: the caller's.
    unsafe {
        let read = |row: *const f32, i: usize| match V {
            1 => L::load_at(row, d, args.dv, 0.0),
            _ => L::load(row.add(d + LANES * i)),
        };
        let mut y = [L::splat(0.0); V];
        for (i, y) in y.iter_mut().enumerate() {
            *y = read(out, i);
        }
        for j in first..last {
            let weight = L::splat(*scores.add(j));
            let row = args.v.add(j * args.v_stride);
            for (i, y) in y.iter_mut().enumerate() {
                *y = y.fused_add_product(weight, read(row, i));
            }
        }
        for (i, y) in y.into_iter().enumerate() {
            y.div(L::splat(sum)).store_at(out, d + LANES * i, args.dv);
        }
    }
}
