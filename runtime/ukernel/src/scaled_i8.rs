//! Contractions of int8 activations whose groups are scaled before they are added:
//!
//! ```text
//! out[b, n] = Σ_g scale[g, n] · sum[b, g, n]      or   Σ_g factor[b, g] · (scale[g, n] · sum[b, g, n])
//! ```
//!
//! in f32, where sums are those of [`signsum_i8`](crate::signsum_i8) or [`dot_i8`](crate::dot_i8), which never reach memory.
//! Groups are added left to right, and every product and sum is rounded, as by [`rescale`](crate::rescale). Not all variants
//! of sums have such a one: [`of`] says which.
#![allow(unsafe_code)]

use crate::contract_i8::ContractI8;
use crate::variant::on_x86;
use crate::{Features, Layout, Variant, dot_i8, signsum_i8};

/// The arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ScaledI8 {
    /// As for the sums, but `out` is f32[rows, n_padded], and there is no scratch.
    pub sums: ContractI8,
    /// f32[groups, scales_stride], of all tiles.
    pub scales: *const f32,
    pub scales_stride: usize,
    /// f32[rows, groups]; null for none.
    pub factors: *const f32,
}

impl ScaledI8 {
    /// The scales of a group of a tile.
    #[inline(always)]
    pub(crate) fn scales_of(&self, group: usize, layout: Layout, tile: usize) -> *const f32 {
        self.scales.wrapping_add(group * self.scales_stride + tile * layout.tile())
    }

    /// What a row's sums of a group are multiplied with besides.
    ///
    /// # Safety
    /// The row and the group exist.
    #[inline(always)]
    pub(crate) unsafe fn factor(&self, row: usize, group: usize) -> Option<f32> {
        // SAFETY: the caller's.
        (!self.factors.is_null()).then(|| unsafe { *self.factors.add(row * self.sums.groups + group) })
    }

    /// The outputs of a row of a tile.
    #[inline(always)]
    pub(crate) fn out(&self, row: usize, layout: Layout, tile: usize) -> *mut f32 {
        self.sums.out.cast::<f32>().wrapping_add(row * self.sums.n_padded + tile * layout.tile())
    }
}

/// One for each instruction set, preferred first.
macro_rules! variants {
    ($layout:ident, $oracle:ident, $scalar:ident, [$($needs:expr, $family:ident::$module:ident::$entry:ident;)+]) => {
        &[
            $(Variant {
                symbol: stringify!($entry),
                needs: $needs,
                layout: Layout::$layout,
                entry: on_x86!(crate::$family::$module::$entry),
            },)+
            Variant {
                symbol: stringify!($scalar),
                needs: Features::NONE,
                layout: Layout::$oracle,
                entry: Some($scalar),
            },
        ]
    };
}

const AVX512: Features = Features::AVX512.union(Features::AVX512_VNNI);
const AVX_VNNI: Features = Features::AVX2.union(Features::AVX_VNNI);

/// Of ternary weights.
pub static TRITS: &[Variant<ScaledI8, Layout>] = variants!(TwoBit32, Trits, trine_scaled_i8_scalar_trits, [
    AVX512, signsum_i8::avx512vnni::trine_scaled_i8_avx512vnni_2bit_32;
    AVX_VNNI, signsum_i8::avxvnni::trine_scaled_i8_avxvnni_2bit_32;
    Features::AVX2, signsum_i8::avx2::trine_scaled_i8_avx2_2bit_32;
]);

/// Of any int8 weights.
pub static BYTES: &[Variant<ScaledI8, Layout>] = variants!(EightBit32, EightBit32, trine_scaled_i8_scalar_8bit_32, [
    AVX512, dot_i8::avx512vnni::trine_scaled_i8_avx512vnni_8bit_32;
    AVX_VNNI, dot_i8::avxvnni::trine_scaled_i8_avxvnni_8bit_32;
    Features::AVX2, dot_i8::avx2::trine_scaled_i8_avx2_8bit_32;
]);

/// Of weights in -8 ..= 7.
pub static NIBBLES: &[Variant<ScaledI8, Layout>] = variants!(FourBit32, FourBit32, trine_scaled_i8_scalar_4bit_32, [
    AVX512, dot_i8::avx512vnni::trine_scaled_i8_avx512vnni_4bit_32;
    AVX_VNNI, dot_i8::avxvnni::trine_scaled_i8_avxvnni_4bit_32;
    Features::AVX2, dot_i8::avx2::trine_scaled_i8_avx2_4bit_32;
]);

/// The variant that scales the sums of `sums`, on the same weights and the same machines, if there is one.
pub fn of(sums: &Variant<ContractI8, Layout>) -> Option<&'static Variant<ScaledI8, Layout>> {
    let all = [TRITS, BYTES, NIBBLES].into_iter().flatten();
    all.into_iter().find(|v| v.layout == sums.layout && v.needs == sums.needs)
}

/// # Safety
/// The arguments are as [`ScaledI8`] says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_scaled_i8_scalar_trits(args: *const ScaledI8) {
    // SAFETY: the caller's.
    unsafe { scalar(&*args, signsum_i8::VARIANTS) }
}

/// # Safety
/// The arguments are as [`ScaledI8`] says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_scaled_i8_scalar_8bit_32(args: *const ScaledI8) {
    // SAFETY: the caller's.
    unsafe { scalar(&*args, dot_i8::VARIANTS) }
}

/// # Safety
/// The arguments are as [`ScaledI8`] says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_scaled_i8_scalar_4bit_32(args: *const ScaledI8) {
    // SAFETY: the caller's.
    unsafe { scalar(&*args, dot_i8::NIBBLES) }
}

/// Outputs of a tile, at most.
const TILE: usize = 32;

/// The equation, a group of a tile at a time, whose sums the oracle of `table` gives.
///
/// # Safety
/// The arguments describe live buffers.
unsafe fn scalar(args: &ScaledI8, table: &'static [Variant<ContractI8, Layout>]) {
    let Some(oracle) = crate::oracle(table) else { return };
    let (all, layout) = (&args.sums, oracle.layout);
    for (tile, row) in
        (all.tile_begin..all.tile_end).flat_map(|tile| (0..all.rows).map(move |row| (tile, row)))
    {
        let mut outputs = [-0.0f32; TILE];
        for group in 0..all.groups {
            let cell = all.at_row(&all.cell(layout, tile, group), row);
            let mut sums = [0; TILE];
            let one = ContractI8 {
                weights: cell.weights,
                x: cell.x,
                x_sums: cell.x_sums,
                out: sums.as_mut_ptr(),
                rows: 1,
                groups: 1,
                n_padded: layout.tile(),
                tile_begin: 0,
                tile_end: 1,
                ..*all
            };
            let scales = args.scales_of(group, layout, tile);
            // SAFETY: the caller's; the sums are those of one tile.
            unsafe {
                (oracle.entry())(&one);
                let factor = args.factor(row, group);
                for (i, (output, sum)) in outputs.iter_mut().zip(sums).take(layout.tile()).enumerate() {
                    let term = sum as f32 * *scales.add(i);
                    *output += factor.map_or(term, |factor| term * factor);
                }
            }
        }
        for (i, output) in outputs.into_iter().take(layout.tile()).enumerate() {
            // SAFETY: the caller's.
            unsafe { args.out(row, layout, tile).add(i).write(output) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Call;
    use crate::contract_i8::testing::{Case, cases};
    use crate::rescale;
    use crate::{Geometry, oracle};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// Variants of scaled sums, and of the sums alone.
    type Tables = (&'static [Variant<ScaledI8, Layout>], &'static [Variant<ContractI8, Layout>]);

    /// Every variant that runs here gives what the oracles of sums and of rescaling do, one after the other.
    fn check((scaled, sums): Tables, (n, k, group, weights, x): &Case, by_row: bool) {
        let (n, k, features) = (*n, *k, Features::detect());
        let rows = x.len() / k;
        let padded = |g: &Geometry| {
            let (mut padded, mut x_sums) = (vec![0; rows * g.k_padded()], vec![0; rows * g.groups]);
            for (i, run) in padded.chunks_exact_mut(g.group_k).enumerate() {
                let (b, from) = (i / g.groups, i % g.groups * g.group);
                let values = &x[b * k..][from..k.min(from + g.group)];
                run[..values.len()].copy_from_slice(values);
                x_sums[i] = values.iter().map(|&v| i32::from(v)).sum();
            }
            (padded, x_sums)
        };
        let packed = |g: &Geometry| {
            let mut packed = vec![0; g.bytes];
            g.pack(weights, &mut packed).unwrap();
            packed
        };
        let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 16.0;
        let groups = k.div_ceil((*group).min(k));
        let factors: Vec<f32> = (0..rows * groups).map(|i| value(i + 7)).collect();
        let factors = by_row.then_some(&factors[..]);
        let want = {
            let v = oracle(sums).unwrap();
            let g = Geometry::new(v.layout, n, k, *group).unwrap();
            let (x, x_sums) = padded(&g);
            let mut out = vec![0; rows * g.groups * g.n_padded];
            Call::contract_i8(v, &g, rows, (&packed(&g), &x, &x_sums), &mut out, &mut []).unwrap().run();
            let scales: Vec<f32> =
                (0..g.groups * g.n_padded).map(|i| value(i / g.n_padded * n + i % g.n_padded)).collect();
            let mut y = vec![0.0; rows * g.n_padded];
            let sums = crate::call::Sums::Integers(&out);
            let sizes = (rows, g.groups, g.n_padded);
            Call::rescale_f32(
                oracle(rescale::VARIANTS).unwrap(),
                sizes,
                (sums, (&scales, factors, None, None)),
                &mut y,
            )
            .unwrap()
            .run();
            y.chunks(g.n_padded).flat_map(|row| row[..n].to_vec()).collect::<Vec<f32>>()
        };
        for v in scaled.iter().filter(|v| features.contains(v.needs)) {
            let g = Geometry::new(v.layout, n, k, *group).unwrap();
            let (x, x_sums) = padded(&g);
            let scales: Vec<f32> =
                (0..g.groups * g.n_padded).map(|i| value(i / g.n_padded * n + i % g.n_padded)).collect();
            let mut y = vec![f32::NAN; rows * g.n_padded];
            Call::scaled_i8(v, &g, rows, (&packed(&g), &x, &x_sums), (&scales, factors), &mut y)
                .unwrap()
                .run();
            for (row, (got, want)) in y.chunks(g.n_padded).zip(want.chunks(n)).enumerate() {
                for (i, (got, want)) in got.iter().zip(want).enumerate() {
                    assert_eq!(
                        got.to_bits(),
                        want.to_bits(),
                        "{} row {row}, output {i}: {got} {want}",
                        v.name()
                    );
                }
            }
        }
    }

    proptest! {
        #[test]
        fn groups_of_signs_are_scaled_and_added(case in cases(-1..=1), by_row in any::<bool>()) {
            check((TRITS, signsum_i8::VARIANTS), &case, by_row && case.2 < case.1);
        }

        #[test]
        fn groups_of_products_are_scaled_and_added(case in cases(-8..=7), by_row in any::<bool>()) {
            let by_row = by_row && case.2 < case.1;
            check((BYTES, dot_i8::VARIANTS), &case, by_row);
            check((NIBBLES, dot_i8::NIBBLES), &case, by_row);
        }
    }

    #[test]
    fn sums_have_the_variant_of_their_machines() {
        for (sums, scaled) in
            [(signsum_i8::VARIANTS, TRITS), (dot_i8::VARIANTS, BYTES), (dot_i8::NIBBLES, NIBBLES)]
        {
            for v in scaled {
                let own = sums.iter().find(|own| own.layout == v.layout && own.needs == v.needs).unwrap();
                assert_eq!(of(own).unwrap().symbol, v.symbol);
            }
        }
    }
}
