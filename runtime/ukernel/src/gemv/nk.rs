//! Weights by output: a row of weights at a time, so that memory is read as one stream.

use super::{GemvF32, blocks};
use crate::lanes::{LANES, Lanes, prefetch, variants};

variants! {
    GemvF32, gemv =>
    trine_gemv_nk_f32_scalar, trine_gemv_nk_f32_neon, trine_gemv_nk_f32_avx2, trine_gemv_nk_f32_avx512
}

/// Values ahead of a load.
const PREFETCH: usize = 512;

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
pub(crate) unsafe fn gemv<L: Lanes>(args: &GemvF32) {
    // SAFETY: the caller's; blocks stay inside the ranges.
    unsafe {
        blocks!(args.rows, |b| {
            4 => outputs::<L, 4>(args, b),
            2 => outputs::<L, 2>(args, b),
            1 => outputs::<L, 1>(args, b),
        });
    }
}

/// All outputs of `R` rows.
///
/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn outputs<L: Lanes, const R: usize>(args: &GemvF32, b: usize) {
    for n in args.n_begin..args.n_end {
        // SAFETY: the caller's; `n` is an output and the rows from `b` on exist.
        unsafe {
            let x = args.x.add(b * args.x_stride);
            let w = args.w.add(n * args.w_stride);
            let out = args.out.add(b * args.out_stride + n);
            let dots = dots::<L, R, 1>(x, args.x_stride, w, args.w_stride, args.k);
            for (r, [dot]) in dots.into_iter().enumerate() {
                *out.add(r * args.out_stride) = dot;
            }
        }
    }
}

/// The products of `R` rows of `x` with `N` rows of `w`, all of `k` values: the striped sum.
///
/// # Safety
/// The rows are readable.
#[inline(always)]
pub(crate) unsafe fn dots<L: Lanes, const R: usize, const N: usize>(
    x: *const f32,
    x_stride: usize,
    w: *const f32,
    w_stride: usize,
    k: usize,
) -> [[f32; N]; R] {
    let mut sums = [[L::splat(0.0); N]; R];
    for i in (0..k).step_by(LANES) {
        for n in 0..N {
            let row = w.wrapping_add(n * w_stride);
            prefetch(row.wrapping_add(i + PREFETCH));
            // SAFETY: the caller's; `i` is below `k`. Lanes past the end add 0 · 0.
            unsafe {
                let w = L::load_at(row, i, k, 0.0);
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = L::load_at(x.wrapping_add(r * x_stride), i, k, 0.0);
                    sums[n] = sums[n].fused_add_product(w, x);
                }
            }
        }
    }
    let mut dots = [[0.0; N]; R];
    for r in 0..R {
        if N == 4 {
            let four = L::sums([sums[r][0], sums[r][1 % N], sums[r][2 % N], sums[r][3 % N]]);
            dots[r].copy_from_slice(&four);
            continue;
        }
        for n in 0..N {
            dots[r][n] = sums[r][n].sum();
        }
    }
    dots
}
