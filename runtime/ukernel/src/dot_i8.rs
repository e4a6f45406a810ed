//! Sums of products of int8 activations and int8 weights:
//!
//! ```text
//! out[b, g, n] = Σ_{k in group g} w[n, k] · x[b, k]      w, x and out integers
//! ```
//!
//! in i32, which holds the exact sum of any group of fewer than 2^17 inputs. Weights are packed as
//! w + 128, since instructions multiply an unsigned byte with a signed one, and 128·Σx is subtracted
//! at the end. Scales are the caller's, as for [`signsum_i8`](crate::signsum_i8).
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use crate::contract_i8::ContractI8;
use crate::{Features, Layout, Variant};

/// Preferred first. All read one layout.
pub static VARIANTS: &[Variant<ContractI8, Layout>] = &[
    #[cfg(target_arch = "x86_64")]
    Variant {
        symbol: "trine_dot_i8_amx_8bit_32",
        needs: crate::contract_i8::amx::NEEDS,
        layout: Layout::EightBit32,
        entry: amx::trine_dot_i8_amx_8bit_32,
    },
    #[cfg(target_arch = "x86_64")]
    Variant {
        symbol: "trine_dot_i8_avx512vnni_8bit_32",
        needs: Features::AVX512.union(Features::AVX512_VNNI),
        layout: Layout::EightBit32,
        entry: avx512vnni::trine_dot_i8_avx512vnni_8bit_32,
    },
    #[cfg(target_arch = "x86_64")]
    Variant {
        symbol: "trine_dot_i8_avxvnni_8bit_32",
        needs: Features::AVX2.union(Features::AVX_VNNI),
        layout: Layout::EightBit32,
        entry: avxvnni::trine_dot_i8_avxvnni_8bit_32,
    },
    #[cfg(target_arch = "x86_64")]
    Variant {
        symbol: "trine_dot_i8_avx2_8bit_32",
        needs: Features::AVX2,
        layout: Layout::EightBit32,
        entry: avx2::trine_dot_i8_avx2_8bit_32,
    },
    #[cfg(target_arch = "aarch64")]
    Variant {
        symbol: "trine_dot_i8_neon_8bit_32",
        needs: Features::NEON_DOTPROD,
        layout: Layout::EightBit32,
        entry: neon::trine_dot_i8_neon_8bit_32,
    },
    Variant {
        symbol: "trine_dot_i8_scalar_8bit_32",
        needs: Features::NONE,
        layout: Layout::EightBit32,
        entry: scalar::trine_dot_i8_scalar_8bit_32,
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
        fn every_variant_is_exact(case in cases(i8::MIN..=i8::MAX)) {
            check(VARIANTS, &case);
        }
    }

    /// The sums that come nearest to overflowing an accumulator.
    #[test]
    fn extremes_are_exact() {
        for k in [4096, Geometry::MAX_GROUP - 1] {
            for (weight, value) in [(127, 127), (127, -128), (-128, 127), (-128, -128)] {
                for rows in [1, 17] {
                    check(VARIANTS, &(1, k, k, vec![weight; k], vec![value; rows * k]));
                }
            }
        }
    }
}
