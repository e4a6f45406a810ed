//! Sums of int8 activations, each taken, dropped or subtracted by a ternary weight:
//!
//! ```text
//! out[b, g, n] = Σ_{k in group g} t[n, k] · x[b, k]      t ∈ {-1, 0, 1}, x and out integers
//! ```
//!
//! exact in i32. Packed layouts hold t + 1 and the activations' own sums Σx are subtracted at the
//! end. Scales are the caller's: a sum a group is what group-wise scales need, one group is a plain
//! matrix product. Variants differ in the [`Layout`] they read; see there for the padding.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vbmi;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
mod scalar;

use crate::{Features, Layout, Variant};

/// The arguments, with sizes as in the [`Geometry`](crate::Geometry) of the weights.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SignSumI8 {
    /// Packed weights, from tile 0 on.
    pub weights: *const u8,
    /// Activations i8[rows, groups, group_k], zeros where groups are padded.
    pub x: *const i8,
    /// Σx of each group, i32[rows, groups].
    pub x_sums: *const i32,
    /// i32[rows, groups, n_padded]; the outputs of the tiles asked for are written.
    pub out: *mut i32,
    pub rows: usize,
    pub groups: usize,
    /// A multiple of the layout's step.
    pub group_k: usize,
    pub n_padded: usize,
    /// Tiles to compute, `tile_begin .. tile_end`: how threads share a call.
    pub tile_begin: usize,
    pub tile_end: usize,
}

/// Preferred first. `5in8_16` reads a fifth fewer bytes than `2bit_32`: it wins where weights stream
/// from memory and loses where they stay in a cache, so it is the caller's to ask for.
pub static VARIANTS: &[Variant<SignSumI8, Layout>] = &[
    #[cfg(target_arch = "x86_64")]
    Variant {
        symbol: "trine_signsum_i8_avx512vnni_2bit_32",
        needs: Features::AVX512.union(Features::AVX512_VNNI),
        layout: Layout::TwoBit32,
        entry: avx512vnni::trine_signsum_i8_avx512vnni_2bit_32,
    },
    #[cfg(target_arch = "x86_64")]
    Variant {
        symbol: "trine_signsum_i8_avx512vbmi_5in8_16",
        needs: Features::AVX512.union(Features::AVX512_VNNI).union(Features::AVX512_VBMI),
        layout: Layout::FiveInEight16,
        entry: avx512vbmi::trine_signsum_i8_avx512vbmi_5in8_16,
    },
    #[cfg(target_arch = "x86_64")]
    Variant {
        symbol: "trine_signsum_i8_avx2_2bit_32",
        needs: Features::AVX2,
        layout: Layout::TwoBit32,
        entry: avx2::trine_signsum_i8_avx2_2bit_32,
    },
    Variant {
        symbol: "trine_signsum_i8_scalar_trits",
        needs: Features::NONE,
        layout: Layout::Trits,
        entry: scalar::trine_signsum_i8_scalar_trits,
    },
];

/// One group of one tile: where the kernel proper starts reading and writing.
struct Cell {
    weights: *const u8,
    x: *const i8,
    x_sums: *const i32,
    out: *mut i32,
    steps: usize,
}

impl SignSumI8 {
    #[inline(always)]
    fn cell(&self, layout: Layout, tile: usize, group: usize) -> Cell {
        let steps = self.group_k / layout.k_step();
        let before = (tile * self.groups + group) * steps;
        Cell {
            weights: self.weights.wrapping_add(before * layout.step_bytes()),
            x: self.x.wrapping_add(group * self.group_k),
            x_sums: self.x_sums.wrapping_add(group),
            out: self.out.wrapping_add(group * self.n_padded + tile * layout.tile()),
            steps,
        }
    }

    /// Activations between rows.
    #[inline(always)]
    fn x_stride(&self) -> usize {
        self.groups * self.group_k
    }

    /// Outputs between rows.
    #[inline(always)]
    fn out_stride(&self) -> usize {
        self.groups * self.n_padded
    }

    /// The cell's view from row `row` on.
    #[inline(always)]
    fn at_row(&self, cell: &Cell, row: usize) -> Cell {
        Cell {
            x: cell.x.wrapping_add(row * self.x_stride()),
            x_sums: cell.x_sums.wrapping_add(row * self.groups),
            out: cell.out.wrapping_add(row * self.out_stride()),
            ..*cell
        }
    }
}

/// Four neighbouring activations, as the lane that is broadcast.
///
/// # Safety
/// Four bytes at `x` are readable.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn four(x: *const i8) -> i32 {
    // SAFETY: the caller's.
    unsafe { x.cast::<i32>().read_unaligned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Geometry;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// Σ t·x, straight from the equation.
    fn expected(g: &Geometry, trits: &[i8], x: &[i8], b: usize, group: usize, n: usize) -> i32 {
        let inputs = group * g.group..g.k.min((group + 1) * g.group);
        inputs.map(|k| i32::from(trits[n * g.k + k]) * i32::from(x[b * g.k + k])).sum()
    }

    /// Runs one variant, its tiles split in two calls as two threads would.
    fn run(v: &Variant<SignSumI8, Layout>, g: &Geometry, trits: &[i8], x: &[i8]) -> Vec<i32> {
        let rows = x.len() / g.k;
        let mut weights = vec![0; g.bytes];
        g.pack(trits, &mut weights).unwrap();
        let mut padded = vec![0; rows * g.k_padded()];
        let mut x_sums = vec![0; rows * g.groups];
        for (i, run) in padded.chunks_exact_mut(g.group_k).enumerate() {
            let (b, from) = (i / g.groups, i % g.groups * g.group);
            let values = &x[b * g.k..][from..g.k.min(from + g.group)];
            run[..values.len()].copy_from_slice(values);
            x_sums[i] = values.iter().map(|&v| i32::from(v)).sum();
        }
        let mut out = vec![i32::MIN; rows * g.groups * g.n_padded];
        for range in [0..g.tiles / 2, g.tiles / 2..g.tiles] {
            let args = SignSumI8 {
                weights: weights.as_ptr(),
                x: padded.as_ptr(),
                x_sums: x_sums.as_ptr(),
                out: out.as_mut_ptr(),
                rows,
                groups: g.groups,
                group_k: g.group_k,
                n_padded: g.n_padded,
                tile_begin: range.start,
                tile_end: range.end,
            };
            // SAFETY: the buffers have the sizes of `g`; callers only pass variants that run here.
            unsafe { (v.entry)(&args) };
        }
        out
    }

    fn check(n: usize, k: usize, group: usize, trits: &[i8], x: &[i8]) {
        let features = Features::detect();
        for v in VARIANTS.iter().filter(|v| features.contains(v.needs)) {
            let g = Geometry::new(v.layout, n, k, group).unwrap();
            let out = run(v, &g, trits, x);
            for (i, got) in out.into_iter().enumerate() {
                let (cell, o) = (i / g.n_padded, i % g.n_padded);
                let (b, group) = (cell / g.groups, cell % g.groups);
                let want = match o {
                    o if o < n => expected(&g, trits, x, b, group, o),
                    _ => 0,
                };
                assert_eq!(got, want, "{} b={b} g={group} n={o}", v.name());
            }
        }
    }

    fn arguments() -> impl Strategy<Value = (usize, usize, usize, Vec<i8>, Vec<i8>)> {
        let group = prop_oneof![Just(usize::MAX), Just(16), Just(32), Just(64), Just(128)];
        (1usize..80, 1usize..300, 1usize..20, group).prop_flat_map(|(n, k, rows, group)| {
            let trits = prop::collection::vec(-1i8..=1, n * k);
            let x = prop::collection::vec(any::<i8>(), rows * k);
            (Just(n), Just(k), Just(group), trits, x)
        })
    }

    proptest! {
        #[test]
        fn every_variant_is_exact((n, k, group, trits, x) in arguments()) {
            check(n, k, group, &trits, &x);
        }
    }

    /// The sums that come nearest to overflowing an accumulator.
    #[test]
    fn extremes_are_exact() {
        for k in [4096, Geometry::MAX_GROUP] {
            for (trit, value) in [(1, 127), (1, -128), (-1, 127), (-1, -128)] {
                check(1, k, k, &vec![trit; k], &vec![value; k]);
            }
        }
    }
}
