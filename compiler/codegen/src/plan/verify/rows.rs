//! What computes rows, and what goes before and after sums: on rows that end within a vector and after several of them.

use std::ops::Range;

use trine_ukernel::attention::{self, AttentionF32};
use trine_ukernel::call::{Attending, Call, Sums};
use trine_ukernel::pad::PadI8;
use trine_ukernel::quantize::QuantizeF32;
use trine_ukernel::rescale::RescaleF32;
use trine_ukernel::rms_norm::RmsNormF32;
use trine_ukernel::silu::SiluF32;
use trine_ukernel::{Layout, Variant};

use super::{
    CodegenError, FEW, PATTERNS, PRODUCTS, between, compare, geometry, most_rows, padded, random_float, rows,
    same_bits,
};

/// Elements of a row: more than four vectors of sixteen, and a rest.
const LEN: usize = 151;

/// Rows of each pattern, one by one.
const ALONE: &[usize] = &[1];

pub(super) fn silu(variant: &Variant<SiluF32>, oracle: &Variant<SiluF32>) -> Result<(), CodegenError> {
    let g = geometry(Layout::Trits, LEN, LEN, LEN)?;
    let x = rows(PATTERNS, LEN, [127.0, -127.0], 1, random_float);
    let run = |v: &Variant<SiluF32>, some: Range<usize>| {
        let mut out = vec![0.0; LEN];
        let x = &x[some.start * LEN..some.end * LEN];
        Call::silu_f32(v, x, &mut out).map_err(CodegenError::refused)?.run();
        Ok(out)
    };
    compare((variant.name(), &g), ALONE, |some| run(variant, some), |some| run(oracle, some), same_bits)
}

pub(super) fn rms_norm(
    variant: &Variant<RmsNormF32>,
    oracle: &Variant<RmsNormF32>,
) -> Result<(), CodegenError> {
    let g = geometry(Layout::Trits, LEN, LEN, LEN)?;
    let x = rows(PATTERNS, LEN, [127.0, -127.0], 1, random_float);
    let gain = rows(1, LEN, [1.0, -1.0], 2, random_float);
    let run = |v: &Variant<RmsNormF32>, some: Range<usize>| {
        let mut out = vec![0.0; LEN];
        let x = &x[some.start * LEN..some.end * LEN];
        Call::rms_norm_f32(v, (x, &gain, 1e-5), &mut out).map_err(CodegenError::refused)?.run();
        Ok(out)
    };
    compare((variant.name(), &g), ALONE, |some| run(variant, some), |some| run(oracle, some), same_bits)
}

/// The outputs are the integers of a row and its scale.
pub(super) fn quantize(
    variant: &Variant<QuantizeF32>,
    oracle: &Variant<QuantizeF32>,
) -> Result<(), CodegenError> {
    let g = geometry(Layout::Trits, LEN + 1, LEN, LEN)?;
    let x = rows(PATTERNS, LEN, [127.0, -127.0], 1, random_float);
    let run = |v: &Variant<QuantizeF32>, some: Range<usize>| {
        let (mut q, mut scale) = (vec![0; LEN], 0.0);
        let x = &x[some.start * LEN..some.end * LEN];
        Call::quantize_f32(v, x, (&mut q, &mut scale)).map_err(CodegenError::refused)?.run();
        Ok(q.iter().map(|q| f32::from(*q)).chain([scale]).collect())
    };
    compare((variant.name(), &g), ALONE, |some| run(variant, some), |some| run(oracle, some), same_bits)
}

/// The outputs are the padded activations of a row and the sums of its groups; the oracle is also what `padded` says.
pub(super) fn pad(variant: &Variant<PadI8>, oracle: &Variant<PadI8>) -> Result<(), CodegenError> {
    let weights = geometry(Layout::Trits, 1, LEN, 48)?;
    let width = weights.k_padded() + weights.groups;
    let g = geometry(Layout::Trits, width, LEN, LEN)?;
    let x = rows(most_rows(FEW), LEN, [127, -128], 1, between([127, -128]));
    let run = |v: &Variant<PadI8>, some: Range<usize>| {
        let count = some.len();
        let x = &x[some.start * LEN..some.end * LEN];
        let (mut out, mut sums) = (vec![1; count * weights.k_padded()], vec![1; count * weights.groups]);
        Call::pad_i8(v, &weights, count, x, (&mut out, &mut sums)).map_err(CodegenError::refused)?.run();
        Ok(beside(&weights, out, sums))
    };
    let want = |some: Range<usize>| {
        let (out, sums) = padded(&weights, &x[some.start * LEN..some.end * LEN]);
        Ok(beside(&weights, out, sums))
    };
    compare((oracle.name(), &g), FEW, |some| run(oracle, some), want, i32::eq)?;
    compare((variant.name(), &g), FEW, |some| run(variant, some), |some| run(oracle, some), i32::eq)
}

/// Each row of activations before its sums.
fn beside(g: &trine_ukernel::Geometry, out: Vec<i8>, sums: Vec<i32>) -> Vec<i32> {
    let rows = out.chunks(g.k_padded()).zip(sums.chunks(g.groups));
    rows.flat_map(|(x, sums)| x.iter().map(|x| i32::from(*x)).chain(sums.iter().copied())).collect()
}

/// One group and several, of integers and of floats, with everything that sums can be scaled by and without.
pub(super) fn rescale(
    variant: &Variant<RescaleF32>,
    oracle: &Variant<RescaleF32>,
) -> Result<(), CodegenError> {
    let g = geometry(Layout::Trits, LEN, LEN, LEN)?;
    let n = LEN;
    for groups in [1, 3] {
        let count = most_rows(FEW);
        let integers = rows(count, groups * n, [1 << 20, -(1 << 20)], 1, |v| (4e6 * (v - 0.5)) as i32);
        let floats = rows(count, groups * n, [127.0, -127.0], 2, random_float);
        let scales = rows(1, groups * n, [1.0, -1.0], 3, random_float);
        let factors = rows(1, count, [1.0, -1.0], 4, random_float);
        let of_groups = rows(1, count * groups, [1.0, -1.0], 7, random_float);
        let (bias, addend) =
            (rows(1, n, [1.0, -1.0], 5, random_float), rows(count, n, [1.0, -1.0], 6, random_float));
        let forms = [(true, true), (true, false), (false, true), (false, false)];
        for ((whole, with), by_group) in forms.iter().flat_map(|form| [(*form, false), (*form, true)]) {
            let run = |v: &Variant<RescaleF32>, some: Range<usize>| {
                let sums = some.start * groups * n..some.end * groups * n;
                let sums = if whole { Sums::Integers(&integers[sums]) } else { Sums::Floats(&floats[sums]) };
                let given = |values| Some(values).filter(|_| with);
                let (rows, outputs) = (some.clone(), some.start * n..some.end * n);
                let factors = match by_group {
                    true => &of_groups[rows.start * groups..rows.end * groups],
                    false => &factors[rows],
                };
                let by = (&scales[..], given(factors), given(&bias[..]), given(&addend[outputs]));
                let mut out = vec![0.0; some.len() * n];
                Call::rescale_f32(v, (some.len(), groups, n), (sums, by), &mut out)
                    .map_err(CodegenError::refused)?
                    .run();
                Ok(out)
            };
            compare(
                (variant.name(), &g),
                FEW,
                |some| run(variant, some),
                |some| run(oracle, some),
                same_bits,
            )?;
        }
    }
    Ok(())
}

/// Queries alone and in blocks, causal and not, masked and not, with a soft cap and without.
pub(super) fn attention(
    variant: &Variant<AttentionF32>,
    oracle: &Variant<AttentionF32>,
) -> Result<(), CodegenError> {
    let (keys, d, dv) = (67, 24, 19);
    let g = geometry(Layout::Trits, dv, keys, keys)?;
    let count = most_rows(PRODUCTS);
    let q = rows(count, d, [8.0, -8.0], 1, random_float);
    let k = rows(keys, d, [2.0, -2.0], 2, random_float);
    let v = rows(keys, dv, [127.0, -127.0], 3, random_float);
    let mask = rows(count, keys, [f32::NEG_INFINITY, 1.0], 4, random_float);
    for alone in [true, false] {
        for (masked, softcap, visible, more) in
            [(false, 0.0, keys, 0), (true, 0.0, keys, 0), (false, 5.0, keys, 0), (true, 5.0, 11, 1)]
        {
            let run = |variant: &Variant<AttentionF32>, some: Range<usize>| {
                let rows = some.len();
                // Queries that are alone all see the same keys.
                let more = if alone { 0 } else { more };
                let of = Attending { rows, d, dv, keys, visible, more, alone, scale: 0.2, softcap };
                let mask = Some(&mask[some.start * keys..some.end * keys]).filter(|_| masked);
                let (mut out, mut scratch) =
                    (vec![0.0; rows * dv], vec![0.0; attention::scratch(rows, keys)]);
                let q = &q[some.start * d..some.end * d];
                Call::attention_f32(variant, of, (q, &k, &v, mask), &mut out, &mut scratch)
                    .map_err(CodegenError::refused)?
                    .run();
                Ok(out)
            };
            let (got, want) = (|some| run(variant, some), |some| run(oracle, some));
            compare((variant.name(), &g), PRODUCTS, got, want, same_bits)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use trine_ukernel::{oracle, silu};

    /// A function with the arguments of a family that is not the family's own gives other bits.
    #[test]
    fn a_wrong_variant_is_found() {
        let right = oracle(silu::VARIANTS).unwrap();
        extern "C" fn nothing(_: *const SiluF32) {}
        let wrong = Variant { entry: Some(nothing), ..*right };
        let CodegenError::Differs(difference) = super::silu(&wrong, right).unwrap_err() else {
            panic!("no difference")
        };
        assert_eq!((difference.n, difference.rows, difference.got.as_str()), (LEN, 1, "0"));
    }
}
