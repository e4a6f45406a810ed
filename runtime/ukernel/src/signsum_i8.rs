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
mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vbmi;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512vnni;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avxvnni;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use crate::contract_i8::{self, ContractI8};
use crate::variant::{on_aarch64, on_x86};
use crate::{Features, Layout, Variant};

/// Preferred first. `5in8_16` reads a fifth fewer bytes than `2bit_32`: it wins where weights stream
/// from memory and loses where they stay in a cache, so it is the caller's to ask for.
pub static VARIANTS: &[Variant<ContractI8, Layout>] = &[
    Variant {
        symbol: "trine_signsum_i8_amx_2bit_32",
        needs: contract_i8::AMX,
        layout: Layout::TwoBit32,
        entry: on_x86!(amx::trine_signsum_i8_amx_2bit_32),
    },
    Variant {
        symbol: "trine_signsum_i8_amx_5in8_16",
        needs: contract_i8::AMX,
        layout: Layout::FiveInEight16,
        entry: on_x86!(amx::trine_signsum_i8_amx_5in8_16),
    },
    Variant {
        symbol: "trine_signsum_i8_avx512vnni_2bit_32",
        needs: Features::AVX512.union(Features::AVX512_VNNI),
        layout: Layout::TwoBit32,
        entry: on_x86!(avx512vnni::trine_signsum_i8_avx512vnni_2bit_32),
    },
    Variant {
        symbol: "trine_signsum_i8_avx512vbmi_5in8_16",
        needs: Features::AVX512.union(Features::AVX512_VNNI).union(Features::AVX512_VBMI),
        layout: Layout::FiveInEight16,
        entry: on_x86!(avx512vbmi::trine_signsum_i8_avx512vbmi_5in8_16),
    },
    Variant {
        symbol: "trine_signsum_i8_avxvnni_2bit_32",
        needs: Features::AVX2.union(Features::AVX_VNNI),
        layout: Layout::TwoBit32,
        entry: on_x86!(avxvnni::trine_signsum_i8_avxvnni_2bit_32),
    },
    Variant {
        symbol: "trine_signsum_i8_avx2_2bit_32",
        needs: Features::AVX2,
        layout: Layout::TwoBit32,
        entry: on_x86!(avx2::trine_signsum_i8_avx2_2bit_32),
    },
    Variant {
        symbol: "trine_signsum_i8_neon_2bit_32",
        needs: contract_i8::DOTPROD,
        layout: Layout::TwoBit32,
        entry: on_aarch64!(neon::trine_signsum_i8_neon_2bit_32),
    },
    Variant {
        symbol: "trine_signsum_i8_scalar_trits",
        needs: Features::NONE,
        layout: Layout::Trits,
        entry: Some(scalar::trine_signsum_i8_scalar_trits),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Geometry;
    use crate::contract_i8::testing::{cases, check};
    use proptest::prelude::*;
    use std::vec;

    proptest! {
        #[test]
        fn every_variant_is_exact(case in cases(-1..=1)) {
            check(VARIANTS, &case);
        }
    }

    /// The sums that come nearest to overflowing an accumulator.
    #[test]
    fn extremes_are_exact() {
        for k in [4096, Geometry::MAX_GROUP] {
            for (trit, value) in [(1, 127), (1, -128), (-1, 127), (-1, -128)] {
                for rows in [1, 17] {
                    check(VARIANTS, &(1, k, k, vec![trit; k], vec![value; rows * k]));
                }
            }
        }
    }
}
