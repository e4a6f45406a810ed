//! Sums of products of int8 activations and int8 weights:
//!
//! ```text
//! out[b, g, n] = Σ_{k in group g} w[n, k] · x[b, k]      w, x and out integers
//! ```
//!
//! in i32, which holds the exact sum of any group of fewer than 2^17 inputs. Weights are packed as
//! w + 128, or as w + 8 where four bits hold them, since instructions multiply an unsigned byte with a signed one;
//! 128·Σx or 8·Σx is subtracted at the end. Scales are the caller's, as for [`signsum_i8`](crate::signsum_i8).
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
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

/// One for each instruction set, preferred first.
macro_rules! variants {
    ($layout:ident, $amx:ident, $avx512vnni:ident, $avxvnni:ident, $avx2:ident, $neon:ident, $scalar:ident) => {
        &[
            variant!($layout, contract_i8::AMX, $amx, on_x86!(amx::$amx)),
            variant!(
                $layout,
                Features::AVX512.union(Features::AVX512_VNNI),
                $avx512vnni,
                on_x86!(avx512vnni::$avx512vnni)
            ),
            variant!($layout, Features::AVX2.union(Features::AVX_VNNI), $avxvnni, on_x86!(avxvnni::$avxvnni)),
            variant!($layout, Features::AVX2, $avx2, on_x86!(avx2::$avx2)),
            variant!($layout, contract_i8::DOTPROD, $neon, on_aarch64!(neon::$neon)),
            variant!($layout, Features::NONE, $scalar, Some(scalar::$scalar)),
        ]
    };
}

macro_rules! variant {
    ($layout:ident, $needs:expr, $symbol:ident, $entry:expr) => {
        Variant { symbol: stringify!($symbol), needs: $needs, layout: Layout::$layout, entry: $entry }
    };
}

/// Of any int8 weights.
pub static VARIANTS: &[Variant<ContractI8, Layout>] = variants!(
    EightBit32,
    trine_dot_i8_amx_8bit_32,
    trine_dot_i8_avx512vnni_8bit_32,
    trine_dot_i8_avxvnni_8bit_32,
    trine_dot_i8_avx2_8bit_32,
    trine_dot_i8_neon_8bit_32,
    trine_dot_i8_scalar_8bit_32
);

/// Of weights in -8 ..= 7, which take half as many bytes.
pub static NIBBLES: &[Variant<ContractI8, Layout>] = variants!(
    FourBit32,
    trine_dot_i8_amx_4bit_32,
    trine_dot_i8_avx512vnni_4bit_32,
    trine_dot_i8_avxvnni_4bit_32,
    trine_dot_i8_avx2_4bit_32,
    trine_dot_i8_neon_4bit_32,
    trine_dot_i8_scalar_4bit_32
);

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

        #[test]
        fn every_variant_for_nibbles_is_exact(case in cases(-8..=7)) {
            check(NIBBLES, &case);
        }
    }

    /// The sums that come nearest to overflowing an accumulator.
    #[test]
    fn extremes_are_exact() {
        for k in [4096, Geometry::MAX_GROUP - 1] {
            for (weight, value) in [(127, 127), (127, -128), (-128, 127), (-128, -128)] {
                for rows in [1, 17] {
                    check(VARIANTS, &(1, k, k, vec![weight; k], vec![value; rows * k]));
                    check(NIBBLES, &(1, k, k, vec![weight >> 4; k], vec![value; rows * k]));
                }
            }
        }
    }
}
