//! Weights by input: rows of weights, scaled, are added to the outputs.
//!
//! One row of activations takes an input at a time, so that memory is read as one stream, which the
//! processor foresees better than any request. Where threads share the outputs, each reads a part of every row of
//! weights: no stream any more, so it asks for the rows to come. Several rows take a few inputs in a pass over the
//! outputs, and ask for the next. Outputs are cut into panels that stay in the second cache between passes.

use super::{GemvF32, blocks};
use crate::lanes::{LANES, Lanes, prefetch, variants};

variants! {
    GemvF32, gemv =>
    trine_gemv_kn_f32_scalar, trine_gemv_kn_f32_neon, trine_gemv_kn_f32_avx2, trine_gemv_kn_f32_avx512
}

/// Outputs of a panel.
const PANEL: usize = 16384;
/// Weights that are asked for ahead of their use.
const AHEAD: usize = 1024;

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
pub(crate) unsafe fn gemv<L: Lanes>(args: &GemvF32) {
    // SAFETY: the caller's; blocks stay inside the ranges.
    unsafe {
        blocks!(args.rows, |b| {
            4 => panels::<L, 4>(args, b),
            2 => panels::<L, 2>(args, b),
            1 => panels::<L, 1>(args, b),
        });
    }
}

/// All outputs of `R` rows.
///
/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn panels<L: Lanes, const R: usize>(args: &GemvF32, b: usize) {
    for from in (args.n_begin..args.n_end).step_by(PANEL) {
        let n = PANEL.min(args.n_end - from);
        // SAFETY: the caller's; panels and inputs stay inside the sizes that the arguments give.
        unsafe {
            let out = args.out.add(b * args.out_stride + from);
            for r in 0..R {
                out.add(r * args.out_stride).write_bytes(0, n);
            }
            let w = args.w.add(from);
            let x = args.x.add(b * args.x_stride);
            if R == 1 {
                let ahead = if n < args.w_stride { AHEAD.div_ceil(n) } else { 0 };
                for k in 0..args.k {
                    add_inputs::<L, R, 1>(args, w.add(k * args.w_stride), x.add(k), out, n, ahead);
                }
                continue;
            }
            blocks!(args.k, |k| {
                4 => add_inputs::<L, R, 4>(args, w.add(k * args.w_stride), x.add(k), out, n, 4),
                1 => add_inputs::<L, R, 1>(args, w.add(k * args.w_stride), x.add(k), out, n, 1),
            });
        }
    }
}

/// Adds `K` inputs to `n` outputs of `R` rows, and asks for the weights `ahead` inputs further on.
///
/// # Safety
/// `K` rows of `n` weights and `R` rows of `K` inputs are readable, `R` rows of `n` outputs writable.
#[inline(always)]
unsafe fn add_inputs<L: Lanes, const R: usize, const K: usize>(
    args: &GemvF32,
    w: *const f32,
    x: *const f32,
    out: *mut f32,
    n: usize,
    ahead: usize,
) {
    // SAFETY: the caller's; `i` is below `n`.
    unsafe {
        let mut scales = [[0.0; K]; R];
        for (r, scales) in scales.iter_mut().enumerate() {
            *scales = x.add(r * args.x_stride).cast::<[f32; K]>().read();
        }
        for i in (0..n).step_by(LANES) {
            let mut weights = [L::splat(0.0); K];
            for (k, weights) in weights.iter_mut().enumerate() {
                let row = w.add(k * args.w_stride);
                if ahead > 0 {
                    prefetch(row.wrapping_add(ahead * args.w_stride + i));
                }
                *weights = L::load_at(row, i, n, 0.0);
            }
            for (r, scales) in scales.iter().enumerate() {
                let out = out.add(r * args.out_stride);
                let mut sum = L::load_at(out, i, n, 0.0);
                for (weights, &scale) in weights.iter().zip(scales) {
                    sum = sum.fused_add_product(*weights, L::splat(scale));
                }
                sum.store_at(out, i, n);
            }
        }
    }
}
