//! Attention of queries to the keys they see, one head, or the only query each of several heads that share keys:
//!
//! ```text
//! s[j] = scale · Σ_d q[d] · k[j, d]
//! s[j] = softcap · tanh(s[j] / softcap)        if there is a softcap
//! s[j] = s[j] + mask[j]                        if there is a mask
//! out[d] = (Σ_j e[j] · v[j, d]) / Σ_j e[j]     e[j] = exp(s[j] - max s)
//! ```
//!
//! The last sum is striped over 16 lanes as in [`softmax`](crate::softmax), and so is the first for the only query of a
//! head; for several it is in sequence of d, and the sum over values is always in sequence of j.
//! Products of q and k, and of e and v, are fused with their additions. A causal mask is the number of
//! keys that are visible to the first query, and how many more to each after it: what lies beyond changes
//! nothing. Without visible keys, or with all of them masked by -∞, the output is 0.
#![allow(unsafe_code)]

mod block;

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
            (0..args.rows).for_each(|row| heads::<L, 1>(args, row));
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
        let sums = exp_less_max_of_rows::<L, R>(scores, scores, n, n);
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
            out.add(r * args.out_row).write_bytes(0, args.dv);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variant;
    use crate::lanes::testing::{for_each_variant, same};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    #[derive(Clone, Debug)]
    struct Problem {
        /// The queries are so many from the first one on.
        first: usize,
        rows: usize,
        d: usize,
        dv: usize,
        visible: usize,
        more: usize,
        alone: bool,
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
            &self.values[self.first + row..][..self.d]
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
            alone: p.alone.into(),
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
        (rows, dims(), dims(), 0usize..70, 0usize..3, softcap, hidden).prop_flat_map(
            |(rows, d, dv, visible, more, softcap, hidden)| {
                let (alone, more) = (more == 2, more % 2);
                let keys = visible + (rows - 1).min(20) * more;
                let len = 7 + rows + d + keys * (d.max(dv) + 2);
                prop::collection::vec(-3f32..3.0, len).prop_map(move |values| Problem {
                    first: 0,
                    rows,
                    d,
                    dv,
                    visible,
                    more,
                    alone,
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
            for row in (0..p.rows).filter(|_| p.alone) {
                let mask = p.mask.chunks(p.keys().max(1)).nth(row).map_or(vec![], <[f32]>::to_vec);
                let values = p.values.clone();
                let single = Problem { rows: 1, first: row, mask, values, ..p };
                let got = run(&VARIANTS[VARIANTS.len() - 1], &single);
                let same = got.iter().zip(&oracle[row * p.dv..]).all(|(&a, &b)| same(a, b));
                prop_assert!(same, "row {row}");
            }
        }
    }

    #[test]
    fn no_visible_key_gives_zero() {
        let (mask, values) = (vec![], vec![1.0; 99]);
        let p = Problem {
            first: 0,
            rows: 1,
            d: 3,
            dv: 5,
            visible: 0,
            more: 0,
            alone: false,
            softcap: 0.0,
            mask,
            values,
        };
        let hidden = Problem { visible: 9, mask: vec![f32::NEG_INFINITY; 9], ..p.clone() };
        let several = Problem { rows: 3, mask: vec![f32::NEG_INFINITY; 27], ..hidden.clone() };
        let alone = Problem { alone: true, ..several.clone() };
        for p in [Problem { rows: 3, ..p.clone() }, p, hidden, several, alone] {
            let zeros = vec![0.0; p.rows * 5];
            for_each_variant(VARIANTS, |v| assert_eq!(run(v, &p), zeros, "{} {p:?}", v.name()));
        }
    }

    /// The lowest float hides keys from a query only beside others: a mask of nothing else weighs all alike.
    #[test]
    fn nothing_but_lowest_floats_hides_nothing() {
        let values: Vec<f32> = (0..99).map(|i| i as f32).collect();
        let (d, dv, softcap, mask) = (1, 1, 0.0, vec![f32::MIN; 12]);
        let p =
            Problem { first: 0, rows: 3, d, dv, visible: 4, more: 0, alone: false, softcap, mask, values };
        let mean = (0..4).map(|j| p.v(j)[0]).sum::<f32>() / 4.0;
        for_each_variant(VARIANTS, |v| assert_eq!(run(v, &p), [mean; 3], "{}", v.name()));
    }

    /// A value that is no number reaches the queries that see it alone.
    #[test]
    fn what_is_not_seen_changes_nothing() {
        let mut p = Problem {
            first: 0,
            rows: 12,
            d: 3,
            dv: 5,
            visible: 2,
            more: 1,
            alone: false,
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
