//! Attention beside its equations, in f64.

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
    hidden: f32,
    modes: u32,
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
                let mask = self.mask.get(row * self.keys() + j).copied().unwrap_or(0.0);
                match mask == f32::NEG_INFINITY && self.modes & HIDES != 0 {
                    true => f64::from(self.hidden),
                    false => s + f64::from(mask),
                }
            })
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let e: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
        let sum: f64 = e.iter().sum();
        let weighed = |d: usize| -> f64 {
            if max == f64::NEG_INFINITY {
                let is_nan = !e.is_empty() && self.modes & NAN_UNSEEN != 0;
                return if is_nan { f64::NAN } else { 0.0 };
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
        hidden: p.hidden,
        modes: p.modes,
    };
    // SAFETY: the buffers have the sizes that the arguments give; callers only pass variants
    // that run here.
    unsafe { (variant.entry())(&args) };
    out
}

fn problem() -> impl Strategy<Value = Problem> {
    let dims = || prop_oneof![1usize..150, Just(64), Just(128)];
    let softcap = prop_oneof![Just(0f32), Just(5.0)];
    let rows = prop_oneof![Just(1usize), 2usize..40];
    let hidden = prop_oneof![Just(None), Just(Some(f32::NEG_INFINITY)), Just(Some(f32::MIN))];
    let scores = prop_oneof![Just(f32::NEG_INFINITY), Just(f32::MIN), Just(-1e4f32), Just(0.5)];
    (rows, dims(), dims(), 0usize..70, 0usize..3, softcap, hidden, (scores, 0u32..4)).prop_flat_map(
        |(rows, d, dv, visible, more, softcap, hidden, (score, modes))| {
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
                hidden: score,
                modes,
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
            let close = (f64::from(*got) - want).abs() < 2e-5 || got.is_nan() && want.is_nan();
            prop_assert!(close, "{got} {want}");
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
        hidden: 0.0,
        modes: 0,
        mask,
        values,
    };
    let hidden = Problem { visible: 9, mask: vec![f32::NEG_INFINITY; 9], ..p.clone() };
    let several = Problem { rows: 3, mask: vec![f32::NEG_INFINITY; 27], ..hidden.clone() };
    let alone = Problem { alone: true, ..several.clone() };
    for p in [Problem { rows: 3, ..p.clone() }, p, hidden, several, alone] {
        let zeros = vec![0.0; p.rows * 5];
        for_each_variant(VARIANTS, |v| assert_eq!(run(v, &p), zeros, "{} {p:?}", v.name()));
        let p = Problem { modes: NAN_UNSEEN, ..p };
        let is_right = |y: &f32| if p.visible > 0 { y.is_nan() } else { *y == 0.0 };
        for_each_variant(VARIANTS, |v| assert!(run(v, &p).iter().all(is_right), "{} {p:?}", v.name()));
    }
}

/// The lowest float hides keys from a query only beside others: a mask of nothing else weighs all alike.
#[test]
fn nothing_but_lowest_floats_hides_nothing() {
    let values: Vec<f32> = (0..99).map(|i| i as f32).collect();
    let (d, dv, softcap, mask) = (1, 1, 0.0, vec![f32::MIN; 12]);
    let (first, rows, visible, more, alone, hidden, modes) = (0, 3, 4, 0, false, 0.0, 0);
    let p = Problem { first, rows, d, dv, visible, more, alone, softcap, hidden, modes, mask, values };
    let mean = (0..4).map(|j| p.v(j)[0]).sum::<f32>() / 4.0;
    for_each_variant(VARIANTS, |v| assert_eq!(run(v, &p), [mean; 3], "{}", v.name()));
}

/// A value that is not a number reaches the queries that see it alone.
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
        hidden: 0.0,
        modes: 0,
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
