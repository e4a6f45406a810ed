//! Weights by output: several rows of weights, or of activations, share what they load.

use super::{GemvF32, blocks};
use crate::lanes::{LANES, Lanes, prefetch, variants};

variants! {
    GemvF32, gemv =>
    trine_gemv_nk_f32_scalar, trine_gemv_nk_f32_avx2, trine_gemv_nk_f32_avx512
}

/// Values ahead of a load.
const PREFETCH: usize = 256;

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn gemv<L: Lanes>(args: &GemvF32) {
    // SAFETY: the caller's; blocks stay inside the ranges.
    unsafe {
        blocks!(args.rows, |b| {
            4 => outputs::<L, 4, 1>(args, b),
            2 => outputs::<L, 2, 2>(args, b),
            1 => outputs::<L, 1, 4>(args, b),
        });
    }
}

/// All outputs of `R` rows, `N` at a time: four sums are what hides their latency.
///
/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn outputs<L: Lanes, const R: usize, const N: usize>(args: &GemvF32, b: usize) {
    // SAFETY: the caller's.
    unsafe {
        let mut n = args.n_begin;
        while n < args.n_end {
            let x = args.x.add(b * args.x_stride);
            let w = args.w.add(n * args.w_stride);
            let out = args.out.add(b * args.out_stride + n);
            if args.n_end - n >= N {
                let sums = dots::<L, R, N>(x, args.x_stride, w, args.w_stride, args.k);
                store(sums, out, args.out_stride);
                n += N;
            } else {
                let sums = dots::<L, R, 1>(x, args.x_stride, w, args.w_stride, args.k);
                store(sums, out, args.out_stride);
                n += 1;
            }
        }
    }
}

/// # Safety
/// The sums' places are writable.
#[inline(always)]
unsafe fn store<const R: usize, const N: usize>(sums: [[f32; N]; R], out: *mut f32, stride: usize) {
    for (r, sums) in sums.iter().enumerate() {
        for (i, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's.
            unsafe { *out.add(r * stride + i) = *sum };
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
                    sums[n] = sums[n].add_product(w, x);
                }
            }
        }
    }
    let mut dots = [[0.0; N]; R];
    for r in 0..R {
        for n in 0..N {
            dots[r][n] = sums[r][n].sum();
        }
    }
    dots
}
