//! Sums of f32 activations, each taken, dropped or subtracted by a ternary weight:
//!
//! ```text
//! out[b, g, n] = Σ_{k in group g} t[n, k] · x[b, k]      t ∈ {-1, 0, 1}
//! ```
//!
//! in one order on every machine: from +0, triples of k in sequence from the start of the group,
//!
//! ```text
//! acc += (t0·x0 + t1·x1) + t2·x2
//! ```
//!
//! where a missing factor of the last triple is 0·0. A dropped activation adds 0·x, so infinities and
//! NaNs spread as they do in a matrix product. Further triples of zeros change nothing, since a sum
//! that starts from +0 never becomes -0: each layout pads groups to its own step.
//!
//! A kernel makes **tables** of the activations: of the products (or sums of three) that a trit (or three) can make, from
//! which a lookup then picks.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod blocks;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use crate::variant::{on_aarch64, on_x86};
use crate::{Features, Geometry, Layout, Variant};

/// The arguments, with sizes as in the [`Geometry`] of the weights.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SignSumF32 {
    /// Packed weights, from tile 0 on.
    pub weights: *const u8,
    /// f32[rows, k], not padded.
    pub x: *const f32,
    /// Values from a row of `x` to the next.
    pub x_stride: usize,
    /// f32[rows, groups, n_padded]; the outputs of the tiles asked for are written.
    pub out: *mut f32,
    /// f32[[`scratch_len`]], of this call alone; fastest when aligned to 64 bytes.
    pub scratch: *mut f32,
    pub rows: usize,
    pub k: usize,
    /// Inputs of a group before padding.
    pub group: usize,
    pub groups: usize,
    /// A multiple of the layout's step.
    pub group_k: usize,
    pub n_padded: usize,
    /// Tiles to compute, `tile_begin .. tile_end`: how threads share a call.
    pub tile_begin: usize,
    pub tile_end: usize,
}

/// Preferred first.
pub static VARIANTS: &[Variant<SignSumF32, Layout>] = &[
    Variant {
        symbol: "trine_signsum_f32_avx512_3in5_64",
        needs: Features::AVX512,
        layout: Layout::ThreeInFive64,
        entry: on_x86!(avx512::trine_signsum_f32_avx512_3in5_64),
    },
    Variant {
        symbol: "trine_signsum_f32_avx2_2bit15_32",
        needs: Features::AVX2,
        layout: Layout::TwoBitTriples32,
        entry: on_x86!(avx2::trine_signsum_f32_avx2_2bit15_32),
    },
    Variant {
        symbol: "trine_signsum_f32_neon_3in5_64",
        needs: Features::NEON,
        layout: Layout::ThreeInFive64,
        entry: on_aarch64!(neon::trine_signsum_f32_neon_3in5_64),
    },
    Variant {
        symbol: "trine_signsum_f32_scalar_trits",
        needs: Features::NONE,
        layout: Layout::Trits,
        entry: Some(scalar::trine_signsum_f32_scalar_trits),
    },
];

/// Values that a call works in, however many rows it has.
pub const fn scratch_len(geometry: &Geometry) -> usize {
    ROWS * geometry.k_padded() / geometry.layout.k_step() * step_len(geometry.layout)
}

/// The most rows whose tables are made at once.
const ROWS: usize = 3;

/// Values of the tables of a step.
const fn step_len(layout: Layout) -> usize {
    match layout {
        Layout::ThreeInFive64 => 6 * TABLE,
        Layout::TwoBitTriples32 => 15 * 4,
        _ => 0,
    }
}

/// Values of the table of a triple: the 27 sums that three trits can make of it, padded.
const TABLE: usize = 32;

/// `[i][c]` is digit i of code c of `3in5_64`, less one; codes from 27 on occur in no weights.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const fn trits_of_codes() -> [[f32; TABLE]; 3] {
    let mut trits = [[0.0; TABLE]; 3];
    let mut code = 0;
    while code < 27 {
        trits[0][code] = (code % 3) as f32 - 1.0;
        trits[1][code] = (code / 3 % 3) as f32 - 1.0;
        trits[2][code] = (code / 9) as f32 - 1.0;
        code += 1;
    }
    trits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// The order of the language, straight from its definition.
    fn expected(g: &Geometry, trits: &[i8], x: &[f32], group: usize, n: usize) -> f32 {
        let inputs: Vec<usize> = (group * g.group..g.k.min((group + 1) * g.group)).collect();
        let product = |k: Option<&usize>| k.map_or(0.0, |&k| f32::from(trits[n * g.k + k]) * x[k]);
        let triples = inputs.chunks(3);
        triples.fold(0.0, |acc, k| acc + ((product(k.first()) + product(k.get(1))) + product(k.get(2))))
    }

    fn run(v: &Variant<SignSumF32, Layout>, g: &Geometry, trits: &[i8], x: &[f32]) -> Vec<f32> {
        let rows = x.len() / g.k;
        let mut weights = vec![0; g.bytes];
        g.pack(trits, &mut weights).unwrap();
        let mut scratch = vec![f32::NAN; scratch_len(g)];
        let mut out = vec![f32::NAN; rows * g.groups * g.n_padded];
        for range in [0..g.tiles / 2, g.tiles / 2..g.tiles] {
            let args = SignSumF32 {
                weights: weights.as_ptr(),
                x: x.as_ptr(),
                x_stride: g.k,
                out: out.as_mut_ptr(),
                scratch: scratch.as_mut_ptr(),
                rows,
                k: g.k,
                group: g.group,
                groups: g.groups,
                group_k: g.group_k,
                n_padded: g.n_padded,
                tile_begin: range.start,
                tile_end: range.end,
            };
            // SAFETY: the buffers have the sizes of `g`; callers only pass variants that run here.
            unsafe { (v.entry())(&args) };
        }
        out
    }

    fn check(n: usize, k: usize, group: usize, trits: &[i8], x: &[f32]) {
        let features = Features::detect();
        for v in VARIANTS.iter().filter(|v| features.contains(v.needs)) {
            let g = Geometry::new(v.layout, n, k, group).unwrap();
            let out = run(v, &g, trits, x);
            for (i, got) in out.into_iter().enumerate() {
                let (cell, o) = (i / g.n_padded, i % g.n_padded);
                let (b, group) = (cell / g.groups, cell % g.groups);
                if o < n {
                    let want = expected(&g, trits, &x[b * k..][..k], group, o);
                    let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                    assert!(same, "{}: {got} != {want}, b={b} g={group} n={o}", v.name());
                }
            }
        }
    }

    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![
            30 => -1e3f32..1e3,
            2 => Just(-0.0f32),
            1 => prop::num::f32::SUBNORMAL,
            1 => prop::num::f32::NORMAL,
        ]
    }

    fn arguments(
        value: impl Strategy<Value = f32> + Clone,
    ) -> impl Strategy<Value = (usize, usize, usize, Vec<i8>, Vec<f32>)> {
        let group = prop_oneof![Just(usize::MAX), Just(16), Just(32), Just(64), Just(128)];
        (1usize..140, prop_oneof![8 => 1usize..200, 1 => 950usize..1000], 1usize..8, group).prop_flat_map(
            move |(n, k, rows, group)| {
                let trits = prop::collection::vec(-1i8..=1, n * k);
                let x = prop::collection::vec(value.clone(), rows * k);
                (Just(n), Just(k), Just(group), trits, x)
            },
        )
    }

    fn unusual() -> impl Strategy<Value = f32> + Clone {
        prop_oneof![
            Just(f32::INFINITY),
            Just(f32::NEG_INFINITY),
            Just(f32::NAN),
            Just(f32::MAX),
            Just(-0.0f32),
            Just(1.0f32),
        ]
    }

    proptest! {
        #[test]
        fn every_variant_gives_the_same_bits(
            (n, k, group, trits, x) in arguments(value().boxed())
        ) {
            check(n, k, group, &trits, &x);
        }

        #[test]
        fn unusual_values_spread_alike((n, k, group, trits, x) in arguments(unusual().boxed())) {
            check(n, k, group, &trits, &x);
        }
    }

    /// Sums of negative zeros come out as +0 whatever the padding.
    #[test]
    fn zeros_are_positive() {
        for k in 1..40 {
            check(3, k, k, &vec![1; 3 * k], &vec![-0.0; k]);
            check(3, k, k, &vec![-1; 3 * k], &vec![0.0; k]);
        }
    }
}
