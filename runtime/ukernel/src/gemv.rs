//! Dense f32 matrices times a few rows of activations, for weights that are not ternary:
//!
//! ```text
//! out[b, n] = Σ_k w[n, k] · x[b, k]      weights by output ("nk", as Gemm with transB has them)
//! out[b, n] = Σ_k w[k, n] · x[b, k]      weights by input  ("kn", as MatMul has them)
//! ```
//!
//! Both stream the weights once for up to four rows, and fuse a product with its addition. By output,
//! sums are striped: lane l of 16 adds the products of k = l, l + 16, … in sequence, and then the lanes
//! are added by halves. By input, products are added from +0 in sequence of k.
#![allow(unsafe_code)]

pub mod kn;
pub mod nk;

/// The arguments of either orientation.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GemvF32 {
    /// f32[n, k] or f32[k, n].
    pub w: *const f32,
    /// Values from a row of `w` to the next.
    pub w_stride: usize,
    /// f32[rows, k].
    pub x: *const f32,
    /// Values from a row of `x` to the next.
    pub x_stride: usize,
    /// f32[rows, n]; the outputs asked for are written.
    pub out: *mut f32,
    /// Values from a row of `out` to the next.
    pub out_stride: usize,
    pub rows: usize,
    pub k: usize,
    /// Outputs to compute, `n_begin .. n_end`: how threads share a call.
    pub n_begin: usize,
    pub n_end: usize,
}

/// Cuts `n` into blocks of the sizes given, largest first and ending in 1, and calls with the start
/// and the size of each.
macro_rules! blocks {
    ($n:expr, |$start:ident| { $($size:literal => $block:expr),+ $(,)? }) => {
        let (n, mut $start) = ($n, 0);
        $(while n - $start >= $size {
            $block;
            $start += $size;
        })+
    };
}
pub(crate) use blocks;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variant;
    use crate::lanes::testing::{for_each_variant, same};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    struct Problem {
        n: usize,
        k: usize,
        rows: usize,
        x: Vec<f32>,
        w: Vec<f32>,
    }

    fn run(v: &Variant<GemvF32>, p: &Problem, w_stride: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; p.rows * p.n];
        for (n_begin, n_end) in [(0, p.n / 3), (p.n / 3, p.n)] {
            let args = GemvF32 {
                w: p.w.as_ptr(),
                w_stride,
                x: p.x.as_ptr(),
                x_stride: p.k,
                out: out.as_mut_ptr(),
                out_stride: p.n,
                rows: p.rows,
                k: p.k,
                n_begin,
                n_end,
            };
            // SAFETY: the buffers have the sizes that the arguments give; callers only pass variants
            // that run here.
            unsafe { (v.entry())(&args) };
        }
        out
    }

    fn striped(w: &[f32], x: &[f32]) -> f32 {
        let mut lanes = [0f32; 16];
        for (i, (w, x)) in w.iter().zip(x).enumerate() {
            lanes[i % 16] = w.mul_add(*x, lanes[i % 16]);
        }
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
        }
        lanes[0]
    }

    fn problem() -> impl Strategy<Value = Problem> {
        (1usize..150, 1usize..70, 1usize..8).prop_flat_map(|(n, k, rows)| {
            let x = prop::collection::vec(-2f32..2.0, rows * k);
            let w = prop::collection::vec(-2f32..2.0, n * k);
            (x, w).prop_map(move |(x, w)| Problem { n, k, rows, x, w })
        })
    }

    impl std::fmt::Debug for Problem {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "n={} k={} rows={}", self.n, self.k, self.rows)
        }
    }

    proptest! {
        #[test]
        fn weights_by_output(p in problem()) {
            let (w, x) = (p.w.chunks(p.k), p.x.chunks(p.k));
            let want: Vec<f32> =
                x.flat_map(|x| w.clone().map(move |w| striped(w, x))).collect();
            for_each_variant(nk::VARIANTS, |v| {
                let got = run(v, &p, p.k);
                assert!(got.iter().zip(&want).all(|(&a, &b)| same(a, b)), "{}", v.name());
            });
        }

        #[test]
        fn weights_by_input(p in problem()) {
            let sum = |x: &[f32], n: usize| {
                x.iter().enumerate().fold(0.0, |sum, (k, x)| x.mul_add(p.w[k * p.n + n], sum))
            };
            let x = p.x.chunks(p.k);
            let want: Vec<f32> = x.flat_map(|x| (0..p.n).map(move |n| sum(x, n))).collect();
            for_each_variant(kn::VARIANTS, |v| {
                let got = run(v, &p, p.n);
                assert!(got.iter().zip(&want).all(|(&a, &b)| same(a, b)), "{}", v.name());
            });
        }
    }
}
