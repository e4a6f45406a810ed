//! Attention of queries to the keys they see, one head, or the only query each of several heads that share keys:
//!
//! ```text
//! s[j] = scale · Σ_d q[d] · k[j, d]
//! s[j] = softcap · tanh(s[j] / softcap)        if there is a softcap
//! s[j] = s[j] + mask[j]                        if there is a mask, or hidden where it is -∞ if that is asked for
//! out[d] = (Σ_j e[j] · v[j, d]) / Σ_j e[j]     e[j] = exp(s[j] - max s)
//! ```
//!
//! The last sum is striped over 16 lanes as in [`softmax`](crate::softmax), and so is the first for the only query of a
//! head; for several it is in sequence of d, and the sum over values is always in sequence of j.
//! Products of q and k, and of e and v, are fused with their additions. A causal mask is the number of
//! keys that are visible to the first query, and how many more to each after it: what lies beyond changes
//! nothing. What a mask hides has the weight 0, and is not read where 0 times it is 0. Without visible keys the output is
//! 0, and so it is where all scores are -∞, unless NaN is asked for, or weights of 0 for those that are NaN.
#![allow(unsafe_code)]

mod block;
#[cfg(test)]
mod tests;

pub use block::scratch;

use crate::exp::tanh;
use crate::gemv::{blocks, nk::dots};
use crate::lanes::{LANES, Lanes, variants};
use crate::matmul::Tiles;
use crate::softmax::exp_less_max_of_rows;

/// The arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AttentionF32 {
    /// f32[rows, d].
    pub q: *const f32,
    /// Values from a query to the next.
    pub q_row: usize,
    /// f32[keys, d].
    pub k: *const f32,
    /// Values from a key to the next.
    pub k_stride: usize,
    /// f32[keys, dv].
    pub v: *const f32,
    /// Values from a value row to the next.
    pub v_stride: usize,
    /// f32[rows, keys], added to the scores; or null.
    pub mask: *const f32,
    /// Values from a row of the mask to the next.
    pub mask_row: usize,
    /// f32[[`scratch`]].
    pub scratch: *mut f32,
    /// f32[rows, dv].
    pub out: *mut f32,
    /// Values from a row of `out` to the next.
    pub out_row: usize,
    /// Queries, at least one.
    pub rows: usize,
    pub d: usize,
    pub dv: usize,
    pub keys: usize,
    /// Keys that the first query sees, of those that there are.
    pub visible: usize,
    /// How many more each query sees than the one before it, as long as there are.
    pub more: usize,
    /// 1 where each query is the only one of its head, and all see the same keys; else 0.
    pub alone: usize,
    pub scale: f32,
    /// Positive, or 0 for none.
    pub softcap: f32,
    /// The scores that are hidden, with [`HIDES`].
    pub hidden: f32,
    /// Those of [`HIDES`], [`NAN_UNSEEN`] and [`ZERO_NAN`] that hold.
    pub modes: u32,
}

/// A mask of -∞ does not add itself to a score, but puts `hidden` in its place.
pub const HIDES: u32 = 1;

/// Rows whose scores are all -∞ are NaN.
pub const NAN_UNSEEN: u32 = 2;

/// Rows whose weights are NaN have weights of 0.
pub const ZERO_NAN: u32 = 4;

impl AttentionF32 {
    fn hides(&self) -> bool {
        self.modes & HIDES != 0
    }

    fn zeroes(&self) -> bool {
        self.modes & ZERO_NAN != 0
    }

    /// What a query's outputs are that sees none of the `visible` keys.
    fn unseen(&self, visible: usize) -> f32 {
        if visible > 0 && self.modes & NAN_UNSEEN != 0 { f32::NAN } else { 0.0 }
    }
}

variants! {
    AttentionF32, attention =>
    trine_attention_f32_scalar, trine_attention_f32_neon, trine_attention_f32_avx2, trine_attention_f32_avx512
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn attention<L: Tiles>(args: &AttentionF32) {
    let args = &AttentionF32 { visible: args.visible.min(args.keys), ..*args };
    // SAFETY: the caller's; keys and dimensions stay inside the sizes that the arguments give.
    unsafe {
        if args.rows > 1 && args.alone == 0 {
            block::block::<L>(args);
        } else if L::VECTORS > 1 {
            blocks!(args.rows, |row| {
                4 => heads::<L, 4>(args, row),
                3 => heads::<L, 3>(args, row),
                2 => heads::<L, 2>(args, row),
                1 => heads::<L, 1>(args, row),
            });
        } else {
            // A closure would not have the instructions of the variant where it is not inlined.
            for row in 0..args.rows {
                heads::<L, 1>(args, row);
            }
        }
    }
}

/// The only queries of `R` heads, from row `row` on.
///
/// # Safety
/// The arguments describe live buffers and there are so many rows.
#[inline(always)]
unsafe fn heads<L: Lanes, const R: usize>(args: &AttentionF32, row: usize) {
    let n = args.visible;
    // SAFETY: the caller's; scratch holds the scores of all rows.
    unsafe {
        let out = args.out.add(row * args.out_row);
        let scores = args.scratch;
        dot_keys::<L, R>(args, args.q.add(row * args.q_row), scores);
        let mut hidden = [true; R];
        for (r, hidden) in hidden.iter_mut().enumerate() {
            let scores = scores.add(r * n);
            finish_scores::<L>(args, scores, mask_row(args, row + r), n);
            *hidden = (0..n).all(|j| *scores.add(j) == f32::NEG_INFINITY);
        }
        let mut sums = exp_less_max_of_rows::<L, R>(scores, scores, n, n);
        if args.zeroes() && n > 0 {
            for (r, sum) in sums.iter_mut().enumerate() {
                zero_nan(scores.add(r * n), n, sum);
                hidden[r] = false;
            }
        }
        let mut d = 0;
        while d < args.dv {
            if args.dv - d >= 4 * LANES {
                weigh_values::<L, R, 4>(args, d, scores, sums, out);
                d += 4 * LANES;
            } else {
                weigh_values::<L, R, 1>(args, d, scores, sums, out);
                d += LANES;
            }
        }
        for r in (0..R).filter(|r| hidden[*r]) {
            fill(out.add(r * args.out_row), args.dv, args.unseen(n));
        }
    }
}

/// Makes weights of 0 of those that are NaN by their sum.
///
/// # Safety
/// `n` weights are writable.
#[inline(always)]
unsafe fn zero_nan(weights: *mut f32, n: usize, sum: &mut f32) {
    if sum.is_nan() {
        // SAFETY: the caller's.
        unsafe { fill(weights, n, 0.0) };
        *sum = 1.0;
    }
}

/// # Safety
/// `n` values at `to` are writable.
#[inline(always)]
unsafe fn fill(to: *mut f32, n: usize, value: f32) {
    for i in 0..n {
        // SAFETY: the caller's.
        unsafe { *to.add(i) = value };
    }
}

/// # Safety
/// The arguments describe live buffers and there are more rows.
#[inline(always)]
unsafe fn mask_row(args: &AttentionF32, row: usize) -> *const f32 {
    // SAFETY: the caller's.
    if args.mask.is_null() { args.mask } else { unsafe { args.mask.add(row * args.mask_row) } }
}

/// The scores of `R` queries, as many of each as keys are visible.
///
/// # Safety
/// The arguments describe live buffers, of which `q` is a row that so many follow.
#[inline(always)]
unsafe fn dot_keys<L: Lanes, const R: usize>(args: &AttentionF32, q: *const f32, scores: *mut f32) {
    let mut j = 0;
    while j < args.visible {
        // SAFETY: the caller's; `j` and the keys after it are below `visible`.
        unsafe {
            let keys = args.k.add(j * args.k_stride);
            let scores = |r: usize| scores.add(r * args.visible + j);
            if args.visible - j >= 4 {
                let dots = dots::<L, R, 4>(q, args.q_row, keys, args.k_stride, args.d);
                dots.into_iter().enumerate().for_each(|(r, dots)| scores(r).cast::<[f32; 4]>().write(dots));
                j += 4;
            } else {
                let dots = dots::<L, R, 1>(q, args.q_row, keys, args.k_stride, args.d);
                dots.into_iter().enumerate().for_each(|(r, [dot])| scores(r).write(dot));
                j += 1;
            }
        }
    }
}

/// Scale, softcap and mask of the scores of one query.
///
/// # Safety
/// `visible` scores, and as many of the mask if there is one, are live.
#[inline(always)]
unsafe fn finish_scores<L: Lanes>(args: &AttentionF32, scores: *mut f32, mask: *const f32, visible: usize) {
    let (scale, softcap) = (L::splat(args.scale), L::splat(args.softcap));
    let (hidden, largest) = (L::splat(args.hidden), L::splat(f32::MAX));
    for j in (0..visible).step_by(LANES) {
        // SAFETY: the caller's; `j` is below `visible`.
        unsafe {
            let mut s = L::load_at(scores, j, visible, 0.0).mul(scale);
            if args.softcap > 0.0 {
                s = tanh(s.div(softcap)).mul(softcap);
            }
            if !mask.is_null() {
                let mask = L::load_at(mask, j, visible, 0.0);
                s = s.add(mask);
                if args.hides() {
                    // No number but -∞ is below the lowest.
                    s = mask.add(largest).if_negative(hidden, s);
                }
            }
            s.store_at(scores, j, visible);
        }
    }
}

/// `V` vectors of the outputs of `R` queries, from dimension `d` on. A single one may be cut short by `dv`.
///
/// # Safety
/// The arguments describe live buffers and have the vectors; `out` is a row of outputs that `R` follow.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "sums that are iterated over go through memory")]
unsafe fn weigh_values<L: Lanes, const R: usize, const V: usize>(
    args: &AttentionF32,
    d: usize,
    scores: *const f32,
    sums: [f32; R],
    out: *mut f32,
) {
    let mut y = [[L::splat(0.0); V]; R];
    // SAFETY: the caller's.
    unsafe {
        for j in 0..args.visible {
            let row = args.v.add(j * args.v_stride + d);
            let mut values = [L::splat(0.0); V];
            for v in 0..V {
                values[v] = match V {
                    1 => L::load_at(row, 0, args.dv - d, 0.0),
                    _ => L::load(row.add(LANES * v)),
                };
            }
            for r in 0..R {
                let weight = L::splat(*scores.add(r * args.visible + j));
                for v in 0..V {
                    y[r][v] = y[r][v].fused_add_product(weight, values[v]);
                }
            }
        }
        for r in 0..R {
            let sum = L::splat(sums[r]);
            for v in 0..V {
                y[r][v].div(sum).store_at(out.add(r * args.out_row), d + LANES * v, args.dv);
            }
        }
    }
}
