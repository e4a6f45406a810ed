//! Attention of queries to the keys they see, one head:
//!
//! ```text
//! s[j] = scale · Σ_d q[d] · k[j, d]
//! s[j] = softcap · tanh(s[j] / softcap)        if there is a softcap
//! s[j] = s[j] + mask[j]                        if there is a mask
//! out[d] = (Σ_j e[j] · v[j, d]) / Σ_j e[j]     e[j] = exp(s[j] - max s)
//! ```
//!
//! The last sum is striped over 16 lanes as in [`softmax`](crate::softmax), and so is the first for a
//! single query; for several it is in sequence of d, and the sum over values is always in sequence of j.
//! Products of q and k, and of e and v, are fused with their additions. A causal mask is the number of
//! keys that are visible to the first query, and how many more to each after it: what lies beyond changes
//! nothing. Without visible keys, or with all of them masked by -∞, the output is 0.
#![allow(unsafe_code)]

mod block;

pub use block::scratch;

use crate::exp::tanh;
use crate::gemv::nk::dots;
use crate::lanes::{LANES, Lanes, variants};
use crate::matmul::Tiles;
use crate::softmax::exp_less_max;

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
    pub scale: f32,
    /// Positive, or 0 for none.
    pub softcap: f32,
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
        if args.rows > 1 {
            block::block::<L>(args);
            return;
        }
        if args.visible == 0 {
            args.out.write_bytes(0, args.dv);
            return;
        }
        dot_keys::<L>(args);
        finish_scores::<L>(args, args.scratch, args.mask, args.visible);
        let sum = exp_less_max::<L>(args.scratch, args.scratch, args.visible);
        if sum.is_nan() && sees_nothing::<L>(args) {
            args.out.write_bytes(0, args.dv);
            return;
        }
        let mut d = 0;
        while d < args.dv {
            if args.dv - d >= 4 * LANES {
                weigh_values::<L, 4>(args, d, sum);
                d += 4 * LANES;
            } else {
                weigh_values::<L, 1>(args, d, sum);
                d += LANES;
            }
        }
    }
}

/// Whether every score is -∞, of which the exponentials no longer tell.
///
/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn sees_nothing<L: Lanes>(args: &AttentionF32) -> bool {
    // SAFETY: the caller's; `j` is below `visible`.
    unsafe {
        dot_keys::<L>(args);
        finish_scores::<L>(args, args.scratch, args.mask, args.visible);
        (0..args.visible).all(|j| *args.scratch.add(j) == f32::NEG_INFINITY)
    }
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn dot_keys<L: Lanes>(args: &AttentionF32) {
    let mut j = 0;
    while j < args.visible {
        // SAFETY: the caller's; `j` and the keys after it are below `visible`.
        unsafe {
            let keys = args.k.add(j * args.k_stride);
            let scores = args.scratch.add(j);
            if args.visible - j >= 4 {
                let [dots] = dots::<L, 1, 4>(args.q, 0, keys, args.k_stride, args.d);
                scores.cast::<[f32; 4]>().write(dots);
                j += 4;
            } else {
                let [[dot]] = dots::<L, 1, 1>(args.q, 0, keys, args.k_stride, args.d);
                *scores = dot;
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
    for j in (0..visible).step_by(LANES) {
        // SAFETY: the caller's; `j` is below `visible`.
        unsafe {
            let mut s = L::load_at(scores, j, visible, 0.0).mul(scale);
            if args.softcap > 0.0 {
                s = tanh(s.div(softcap)).mul(softcap);
            }
            if !mask.is_null() {
                s = s.add(L::load_at(mask, j, visible, 0.0));
            }
            s.store_at(scores, j, visible);
        }
    }
}

/// `V` vectors of the output, from dimension `d` on; only the last may be cut short by `dv`.
///
/// # Safety
/// The arguments describe live buffers and `d + 16 · (V - 1)` is below `dv`.
#[inline(always)]
unsafe fn weigh_values<L: Lanes, const V: usize>(args: &AttentionF32, d: usize, sum: f32) {
    let mut sums = [L::splat(0.0); V];
    // SAFETY: the caller's.
    unsafe {
        for j in 0..args.visible {
            let weight = L::splat(*args.scratch.add(j));
            let row = args.v.add(j * args.v_stride);
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = sum.fused_add_product(weight, L::load_at(row, d + LANES * i, args.dv, 0.0));
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            sums.div(L::splat(sum)).store_at(args.out, d + LANES * i, args.dv);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variant;
    use crate::lanes::testing::{for_each_variant, same};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    #[derive(Clone, Debug)]
    struct Problem {
        rows: usize,
        d: usize,
        dv: usize,
        visible: usize,
        more: usize,
        softcap: f32,
        /// `[rows, keys]`, or empty for none.
        mask: Vec<f32>,
        values: Vec<f32>,
    }

    /// A third is hidden, and so are the last few keys of most rows.
    fn mask(rows: usize, keys: usize, hidden: f32) -> Vec<f32> {
        let value = |row: usize, j: usize| match j % 3 == 1 || j + row % 5 > keys {
            true => hidden,
            false => (j % 7) as f32 * 0.1,
        };
        (0..rows).flat_map(|row| (0..keys).map(move |j| value(row, j))).collect()
    }

    impl Problem {
        /// Queries see more and more of them, and the last ones no more than there are.
        fn keys(&self) -> usize {
            self.visible + (self.rows - 1).min(20) * self.more
        }

        fn seen(&self, row: usize) -> usize {
            self.keys().min(self.visible + row * self.more)
        }

        fn q(&self, row: usize) -> &[f32] {
            &self.values[row..][..self.d]
        }

        fn k(&self, j: usize) -> &[f32] {
            &self.values[7 + j * self.d..][..self.d]
        }

        fn v(&self, j: usize) -> &[f32] {
            &self.values[3 + j * (self.dv + 2)..][..self.dv]
        }

        /// In f64, straight from the equations.
        fn expected(&self) -> Vec<f64> {
            (0..self.rows).flat_map(|row| self.expected_row(row)).collect()
        }

        fn expected_row(&self, row: usize) -> Vec<f64> {
            let scores: Vec<f64> = (0..self.seen(row))
                .map(|j| {
                    let products = self.q(row).iter().zip(self.k(j));
                    let mut s: f64 = products.map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
                    s *= 0.125;
                    if self.softcap > 0.0 {
                        s = f64::from(self.softcap) * (s / f64::from(self.softcap)).tanh();
                    }
                    s + self.mask.get(row * self.keys() + j).map_or(0.0, |m| f64::from(*m))
                })
                .collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let e: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f64 = e.iter().sum();
            let weighed = |d: usize| -> f64 {
                if max == f64::NEG_INFINITY {
                    return 0.0;
                }
                let values = (0..e.len()).map(|j| f64::from(self.v(j)[d]));
                values.zip(&e).map(|(v, e)| v * e / sum).sum()
            };
            (0..self.dv).map(weighed).collect()
        }
    }

    fn run(variant: &Variant<AttentionF32>, p: &Problem) -> Vec<f32> {
        let mut work = vec![f32::NAN; scratch(p.rows, p.keys())];
        let mut out = vec![f32::NAN; p.rows * p.dv];
        let args = AttentionF32 {
            q: p.q(0).as_ptr(),
            q_row: 1,
            k: p.values[7..].as_ptr(),
            k_stride: p.d,
            v: p.values[3..].as_ptr(),
            v_stride: p.dv + 2,
            mask: if p.mask.is_empty() { core::ptr::null() } else { p.mask.as_ptr() },
            mask_row: p.keys(),
            scratch: work.as_mut_ptr(),
            out: out.as_mut_ptr(),
            out_row: p.dv,
            rows: p.rows,
            d: p.d,
            dv: p.dv,
            keys: p.keys(),
            visible: p.visible,
            more: p.more,
            scale: 0.125,
            softcap: p.softcap,
        };
        // SAFETY: the buffers have the sizes that the arguments give; callers only pass variants
        // that run here.
        unsafe { (variant.entry)(&args) };
        out
    }

    fn problem() -> impl Strategy<Value = Problem> {
        let dims = || prop_oneof![1usize..150, Just(64), Just(128)];
        let softcap = prop_oneof![Just(0f32), Just(5.0)];
        let rows = prop_oneof![Just(1usize), 2usize..40];
        let hidden = prop_oneof![Just(None), Just(Some(f32::NEG_INFINITY)), Just(Some(f32::MIN))];
        (rows, dims(), dims(), 0usize..70, 0usize..2, softcap, hidden).prop_flat_map(
            |(rows, d, dv, visible, more, softcap, hidden)| {
                let keys = visible + (rows - 1).min(20) * more;
                let len = 7 + rows + d + keys * (d.max(dv) + 2);
                prop::collection::vec(-3f32..3.0, len).prop_map(move |values| Problem {
                    rows,
                    d,
                    dv,
                    visible,
                    more,
                    softcap,
                    mask: hidden.map_or(vec![], |hidden| mask(rows, keys, hidden)),
                    values,
                })
            },
        )
    }

    proptest! {
        #[test]
        fn every_variant_agrees_and_is_right(p in problem()) {
            let oracle = run(&VARIANTS[VARIANTS.len() - 1], &p);
            for_each_variant(VARIANTS, |v| {
                let same = run(v, &p).iter().zip(&oracle).all(|(&a, &b)| same(a, b));
                assert!(same, "{}", v.name());
            });
            for (got, want) in oracle.iter().zip(p.expected()) {
                prop_assert!((f64::from(*got) - want).abs() < 2e-5, "{got} {want}");
            }
        }
    }

    #[test]
    fn no_visible_key_gives_zero() {
        let (mask, values) = (vec![], vec![1.0; 99]);
        let p = Problem { rows: 1, d: 3, dv: 5, visible: 0, more: 0, softcap: 0.0, mask, values };
        let hidden = Problem { visible: 9, mask: vec![f32::NEG_INFINITY; 9], ..p.clone() };
        let several = Problem { rows: 3, mask: vec![f32::NEG_INFINITY; 27], ..hidden.clone() };
        for p in [Problem { rows: 3, ..p.clone() }, p, hidden, several] {
            let zeros = vec![0.0; p.rows * 5];
            for_each_variant(VARIANTS, |v| assert_eq!(run(v, &p), zeros, "{} {p:?}", v.name()));
        }
    }

    /// The lowest float hides keys from a query only beside others: a mask of nothing else weighs all alike.
    #[test]
    fn nothing_but_lowest_floats_hides_nothing() {
        let values: Vec<f32> = (0..99).map(|i| i as f32).collect();
        let (d, dv, softcap, mask) = (1, 1, 0.0, vec![f32::MIN; 12]);
        let p = Problem { rows: 3, d, dv, visible: 4, more: 0, softcap, mask, values };
        let mean = (0..4).map(|j| p.v(j)[0]).sum::<f32>() / 4.0;
        for_each_variant(VARIANTS, |v| assert_eq!(run(v, &p), [mean; 3], "{}", v.name()));
    }

    /// A value that is no number reaches the queries that see it alone.
    #[test]
    fn what_is_not_seen_changes_nothing() {
        let mut p = Problem {
            rows: 12,
            d: 3,
            dv: 5,
            visible: 2,
            more: 1,
            softcap: 0.0,
            mask: vec![],
            values: vec![1.0; 200],
        };
        let at = 3 + 10 * (p.dv + 2);
        p.values[at..at + p.dv].fill(f32::NAN);
        for_each_variant(VARIANTS, |v| {
            for (row, out) in run(v, &p).chunks(p.dv).enumerate() {
                // Key 10 is the first that row 9 sees of those.
                assert!(out.iter().all(|y| y.is_nan() == (row >= 9)), "{} row {row}: {out:?}", v.name());
            }
        });
    }
}
