//! Several queries at a time, so that keys and values are read from registers and the first cache.
//!
//! Scores are a product of matrices, and so is what the values that all of the queries see add to the outputs.
//! What later queries see beyond that is added behind it, in the same sequence; nothing that a query does not
//! see reaches it, not even times 0.

use super::{AttentionF32, finish_scores};
use crate::lanes::LANES;
use crate::matmul::{self, MatmulF32, Tiles};
use crate::softmax::exp_less_max;

/// Values of scratch that a call works in.
pub const fn scratch(rows: usize, keys: usize) -> usize {
    matmul::SCRATCH + rows * (keys + 1)
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
pub(super) unsafe fn block<L: Tiles>(args: &AttentionF32) {
    let AttentionF32 { rows, visible, .. } = *args;
    let seen = |row: usize| args.keys.min(visible + row * args.more);
    let keys = seen(rows - 1);
    let pack = args.scratch;
    // SAFETY: scratch holds the panel of a product, the scores, and a sum for each row; all else is the caller's.
    unsafe {
        let scores = pack.add(matmul::SCRATCH);
        let sums = scores.add(rows * keys);
        let product = |a: *const f32, a_row, b, b_strides: (usize, usize), c, c_row, k, n| {
            matmul::matmul::<L>(&MatmulF32 {
                a,
                a_row,
                a_column: 1,
                b,
                b_row: b_strides.0 as isize,
                b_column: b_strides.1 as isize,
                c,
                c_row,
                m: rows,
                k,
                n_begin: 0,
                n_end: n,
                scratch: pack,
                packed: 0,
            });
        };
        let stride = keys as isize;
        product(args.q, args.q_row as isize, args.k, (1, args.k_stride), scores, stride, args.d, keys);
        for row in 0..rows {
            let scores = scores.add(row * keys);
            let seen = seen(row);
            let mask = if args.mask.is_null() { args.mask } else { args.mask.add(row * args.mask_row) };
            finish_scores::<L>(args, scores, mask, seen);
            let hidden = (0..seen).all(|j| *scores.add(j) == f32::NEG_INFINITY);
            *sums.add(row) = if hidden { 0.0 } else { exp_less_max::<L>(scores, scores, seen) };
        }
        product(
            scores,
            stride,
            args.v,
            (args.v_stride, 1),
            args.out,
            args.out_row as isize,
            visible,
            args.dv,
        );
        for row in 0..rows {
            let (scores, sum) = (scores.add(row * keys), *sums.add(row));
            let out = args.out.add(row * args.out_row);
            if sum == 0.0 {
                out.write_bytes(0, args.dv);
                continue;
            }
            for d in (0..args.dv).step_by(LANES) {
                let mut y = L::load_at(out, d, args.dv, 0.0);
                for j in visible..seen(row) {
                    let v = L::load_at(args.v.add(j * args.v_stride), d, args.dv, 0.0);
                    y = y.fused_add_product(L::splat(*scores.add(j)), v);
                }
                y.div(L::splat(sum)).store_at(out, d, args.dv);
            }
        }
    }
}
