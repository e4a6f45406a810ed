//! The microkernels of a program against their scalar oracles, on this machine and to the bit.
//!
//! Each that a kernel calls multiplies a matrix with the kernel's own inputs and groups, and outputs of two tiles
//! and one more. Rows of either side take turns at what is random and what is extreme, so that every two meet. What
//! computes rows is checked on rows of its own.

mod rows;

use std::fmt::Display;
use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::FxHashSet;
use trine_ukernel::call::{Call, Rhs};
use trine_ukernel::contract_i8::{ContractI8, scratch};
use trine_ukernel::matmul::blocks::{self, BlocksF32};
use trine_ukernel::matmul::{self, Codes, MatmulF32, Panels};
use trine_ukernel::scaled_i8::{self, ScaledI8};
use trine_ukernel::signsum_f32::{self, SignSumF32, scratch_len};
use trine_ukernel::{
    Geometry, Layout, Variant, attention, by_symbol, dot_i8, oracle, pad, quantize, rescale, rms_norm,
    signsum_i8, silu,
};

use super::Kernels;
use crate::emit::{Family, Microkernel};
use crate::error::{CodegenError, Difference};
use trine_ir::random::Draw;

/// Checks all microkernels that the kernels call, once for each shape.
pub fn verify(kernels: &Kernels) -> Result<(), CodegenError> {
    called(kernels).into_par_iter().try_for_each(check)
}

/// What is checked once.
fn called(kernels: &Kernels) -> FxHashSet<Microkernel> {
    let all = kernels.iter().flat_map(|(_, planned)| planned.kernel.microkernels());
    all.map(|m| Microkernel { family: bounded(m.family), ..m }).collect()
}

/// Inputs of a product that are known only at run time.
const SOME_INPUTS: usize = 67;

/// Inputs of a product beyond which its microkernel only repeats what it does.
const MOST_INPUTS: usize = matmul::SCRATCH / matmul::WIDTH + SOME_INPUTS;

/// The family with sizes that show all of its work.
fn bounded(family: Family) -> Family {
    match family {
        Family::Matmul { k, packed } => {
            Family::Matmul { k: Some(k.unwrap_or(SOME_INPUTS).min(MOST_INPUTS)), packed }
        }
        Family::Blocks(codes) => {
            Family::Blocks(Codes { k: codes.k.min(MOST_INPUTS), n: 2 * matmul::WIDTH + 1, ..codes })
        }
        family => family,
    }
}

fn check(Microkernel { family, symbol }: Microkernel) -> Result<(), CodegenError> {
    fn pair<A, L>(
        tables: &[&'static [Variant<A, L>]],
        symbol: &str,
    ) -> Result<[&'static Variant<A, L>; 2], CodegenError> {
        let found = tables.iter().find_map(|table| Some([by_symbol(table, symbol)?, oracle(table)?]));
        found.ok_or(UNLISTED)
    }
    macro_rules! against_oracle {
        ($check:path, [$($table:expr),+] $(, $size:expr)*) => {{
            let [variant, oracle] = pair(&[$($table),+], symbol)?;
            $check(variant, oracle $(, $size)*)
        }};
    }
    match family {
        Family::Int8 { k, group } => {
            against_oracle!(int8, [signsum_i8::VARIANTS, dot_i8::VARIANTS, dot_i8::NIBBLES], k, group)
        }
        Family::Scaled { k, group } => {
            against_oracle!(scaled, [scaled_i8::TRITS, scaled_i8::BYTES, scaled_i8::NIBBLES], k, group)
        }
        Family::F32 { k, group } => against_oracle!(float, [signsum_f32::VARIANTS], k, group),
        Family::Matmul { k, packed } => {
            let k = k.unwrap_or(SOME_INPUTS);
            let sides: &[Side] = if packed { &[Side::Packed] } else { &[Side::Rows, Side::Columns] };
            sides.iter().try_for_each(|side| against_oracle!(product, [matmul::VARIANTS], k, *side))
        }
        Family::Blocks(codes) => against_oracle!(coded, [blocks::VARIANTS], codes),
        Family::Silu => against_oracle!(rows::silu, [silu::VARIANTS]),
        Family::RmsNorm => against_oracle!(rows::rms_norm, [rms_norm::VARIANTS]),
        Family::Quantize => against_oracle!(rows::quantize, [quantize::VARIANTS]),
        Family::Pad => against_oracle!(rows::pad, [pad::VARIANTS]),
        Family::Rescale => against_oracle!(rows::rescale, [rescale::VARIANTS]),
        Family::Attention => against_oracle!(rows::attention, [attention::VARIANTS]),
    }
}

const UNLISTED: CodegenError = CodegenError::Malformed { what: "a microkernel" };

fn int8(
    variant: &Variant<ContractI8, Layout>,
    oracle: &Variant<ContractI8, Layout>,
    k: usize,
    group: usize,
) -> Result<(), CodegenError> {
    let g = geometry(variant.layout, outputs(variant.layout), k, group)?;
    let (least, most) = variant.layout.weights().into_inner();
    let most = [most, least];
    let weights = rows(g.n, k, most, 1, between(most));
    let batches = if scratch(variant, &g, None) > 0 { BATCHES } else { FEW };
    let x = rows(most_rows(batches), k, [127, -128], 2, between([127, -128]));
    let run = |v: &Variant<ContractI8, Layout>, some: Range<usize>| {
        let g = geometry(v.layout, g.n, k, group)?;
        let packed = pack(&g, &weights)?;
        let count = some.len();
        let (x, x_sums) = padded(&g, &x[some.start * k..some.end * k]);
        let mut out = vec![0; count * g.groups * g.n_padded];
        let mut scratch = vec![0; scratch(v, &g, Some(count))];
        Call::contract_i8(v, &g, count, (&packed, &x, &x_sums), &mut out, &mut scratch)
            .map_err(CodegenError::refused)?
            .run();
        Ok(without_padding(&out, g.n_padded, g.n))
    };
    compare((variant.name(), &g), batches, |some| run(variant, some), |some| run(oracle, some), i32::eq)
}

fn scaled(
    variant: &Variant<ScaledI8, Layout>,
    oracle: &Variant<ScaledI8, Layout>,
    k: usize,
    group: usize,
) -> Result<(), CodegenError> {
    let g = geometry(variant.layout, outputs(variant.layout), k, group)?;
    let (least, most) = variant.layout.weights().into_inner();
    let most = [most, least];
    let weights = rows(g.n, k, most, 1, between(most));
    let x = rows(most_rows(FEW), k, [127, -128], 2, between([127, -128]));
    let scales = rows(g.groups, g.n, [127.0, -127.0], 3, random_float);
    let factors = rows(most_rows(FEW), g.groups, [127.0, -127.0], 4, random_float);
    let run = |v: &Variant<ScaledI8, Layout>, some: Range<usize>| {
        let g = geometry(v.layout, g.n, k, group)?;
        let packed = pack(&g, &weights)?;
        let (x, x_sums) = padded(&g, &x[some.start * k..some.end * k]);
        let of_group = |scales: &[f32]| {
            let zeros = std::iter::repeat_n(0.0, g.n_padded - g.n);
            scales.iter().copied().chain(zeros).collect::<Vec<f32>>()
        };
        let scales: Vec<f32> = scales.chunks(g.n).flat_map(of_group).collect();
        let factors = &factors[some.start * g.groups..some.end * g.groups];
        let mut out = vec![0.0; some.len() * g.n_padded];
        let sums = (&packed[..], &x[..], &x_sums[..]);
        Call::scaled_i8(v, &g, some.len(), sums, (&scales, Some(factors)), &mut out)
            .map_err(CodegenError::refused)?
            .run();
        Ok(without_padding(&out, g.n_padded, g.n))
    };
    let g = Geometry { groups: 1, ..g };
    compare((variant.name(), &g), FEW, |some| run(variant, some), |some| run(oracle, some), same_bits)
}

fn float(
    variant: &Variant<SignSumF32, Layout>,
    oracle: &Variant<SignSumF32, Layout>,
    k: usize,
    group: usize,
) -> Result<(), CodegenError> {
    let g = geometry(variant.layout, outputs(variant.layout), k, group)?;
    let weights = rows(g.n, k, [1, -1], 1, between([1, -1]));
    let x = rows(most_rows(FEW), k, [127.0, -127.0], 2, random_float);
    let run = |v: &Variant<SignSumF32, Layout>, some: Range<usize>| {
        let g = geometry(v.layout, g.n, k, group)?;
        let packed = pack(&g, &weights)?;
        let count = some.len();
        let x = &x[some.start * k..some.end * k];
        let mut out = vec![0.0; count * g.groups * g.n_padded];
        let mut scratch = vec![0.0; scratch_len(&g)];
        Call::sign_sum_f32(v, &g, count, (&packed, x), &mut out, &mut scratch)
            .map_err(CodegenError::refused)?
            .run();
        Ok(without_padding(&out, g.n_padded, g.n))
    };
    compare((variant.name(), &g), FEW, |some| run(variant, some), |some| run(oracle, some), same_bits)
}

/// How the right-hand side of a product lies.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Packed,
    Rows,
    Columns,
}

fn product(
    variant: &Variant<MatmulF32>,
    oracle: &Variant<MatmulF32>,
    k: usize,
    side: Side,
) -> Result<(), CodegenError> {
    // One sum is what a single group is; a product of nothing has none.
    let g = geometry(Layout::Trits, 2 * matmul::WIDTH + 1, k.max(1), k.max(1))?;
    let (n, k) = (g.n, g.k);
    let mut b = rows(n, k, [127.0, -127.0], 1, random_float);
    if side == Side::Packed {
        let panels = Panels { k, n, transposed: true };
        let mut packed = vec![0.0; panels.packed_len().ok_or(UNLISTED)?];
        panels.pack(&b, &mut packed).map_err(|e| CodegenError::bug("a product", e))?;
        b = packed;
    }
    let b = match side {
        Side::Packed => Rhs::Packed(&b),
        side => Rhs::Dense { b: &b, transposed: side == Side::Columns },
    };
    let x = rows(most_rows(PRODUCTS), k, [127.0, -127.0], 2, random_float);
    let run = |v: &Variant<MatmulF32>, some: Range<usize>| {
        let mut c = vec![0.0; some.len() * n];
        let mut scratch = vec![0.0; matmul::SCRATCH];
        let a = &x[some.start * k..some.end * k];
        Call::matmul_f32(v, (some.len(), k, n), (a, b), &mut c, &mut scratch)
            .map_err(CodegenError::refused)?
            .run();
        Ok(c)
    };
    compare((variant.name(), &g), PRODUCTS, |some| run(variant, some), |some| run(oracle, some), same_bits)
}

fn coded(
    variant: &Variant<BlocksF32>,
    oracle: &Variant<BlocksF32>,
    codes: Codes,
) -> Result<(), CodegenError> {
    let g = geometry(Layout::Trits, codes.n, codes.k, codes.k)?;
    let q = rows(1, codes.codes_len().ok_or(UNLISTED)?, [255, 0], 1, |v| (256.0 * v) as u8);
    let of_blocks = |seed| {
        let len = codes.scales_len().ok_or(UNLISTED)?;
        Ok::<_, CodegenError>(rows(1, len, [127.0, -127.0], seed, random_float))
    };
    let (scales, zeros) = (of_blocks(3)?, of_blocks(4)?);
    let x = rows(most_rows(PRODUCTS), codes.k, [127.0, -127.0], 2, random_float);
    let run = |v: &Variant<BlocksF32>, some: Range<usize>| {
        let mut c = vec![0.0; some.len() * codes.n];
        let mut scratch = vec![0.0; matmul::WIDTH * codes.k];
        let a = &x[some.start * codes.k..some.end * codes.k];
        let b = (&q[..], &scales[..], Some(&zeros[..]));
        Call::blocks_f32(v, some.len(), &codes, (a, b), &mut c, &mut scratch)
            .map_err(CodegenError::refused)?
            .run();
        Ok(c)
    };
    compare((variant.name(), &g), PRODUCTS, |some| run(variant, some), |some| run(oracle, some), same_bits)
}

/// Rows of a call: where tiles serve, more than one and more than three blocks of them.
const BATCHES: &[usize] = &[1, 3, 17, 64];
const PRODUCTS: &[usize] = &[1, 3, 17];
const FEW: &[usize] = &[1, 3];

/// Rows to draw for calls of so many: the last that starts among the patterns may reach beyond them.
fn most_rows(batches: &[usize]) -> usize {
    batches.iter().map(|rows| PATTERNS.div_ceil(*rows) * rows).max().unwrap_or(0)
}

/// Runs both on batches that together have every pattern, and finds the first output in which they differ.
fn compare<T: Display>(
    (name, g): (&'static str, &Geometry),
    batches: &[usize],
    got: impl Fn(Range<usize>) -> Result<Vec<T>, CodegenError>,
    want: impl Fn(Range<usize>) -> Result<Vec<T>, CodegenError>,
    same: fn(&T, &T) -> bool,
) -> Result<(), CodegenError> {
    for &rows in batches {
        for start in (0..PATTERNS).step_by(rows) {
            let (got, want) = (got(start..start + rows)?, want(start..start + rows)?);
            let mut pairs = got.iter().zip(&want);
            if let Some(i) = pairs.position(|(got, want)| !same(got, want)) {
                return Err(CodegenError::Differs(Box::new(Difference {
                    name,
                    rows,
                    n: g.n,
                    k: g.k,
                    group: g.group,
                    row: i / (g.groups * g.n),
                    in_group: i / g.n % g.groups,
                    output: i % g.n,
                    got: got[i].to_string(),
                    want: want[i].to_string(),
                })));
            }
        }
    }
    Ok(())
}

/// Any NaN is equal to any other.
fn same_bits(a: &f32, b: &f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// Kinds of rows: random, all of one extreme, all of the other, zeros, both extremes in turns.
const PATTERNS: usize = 5;

/// Rows of `len` values that take turns at the patterns; `random` is of a number in [0, 1).
fn rows<T: Copy + Default>(
    count: usize,
    len: usize,
    most: [T; 2],
    seed: u64,
    random: impl Fn(f64) -> T,
) -> Vec<T> {
    let draw = Draw { seed, start: 0 };
    let value = |row: usize, i: usize| match row % PATTERNS {
        0 => random(draw.uniform(row * len + i)),
        1 => most[0],
        2 => most[1],
        3 => T::default(),
        _ => most[i % 2],
    };
    (0..count).flat_map(|row| (0..len).map(move |i| (row, i))).map(|(row, i)| value(row, i)).collect()
}

fn between([most, least]: [i8; 2]) -> impl Fn(f64) -> i8 {
    let (most, least) = (f64::from(most), f64::from(least));
    move |uniform| (least + uniform * (most - least + 1.0)).floor() as i8
}

fn random_float(uniform: f64) -> f32 {
    (4.0 * uniform - 2.0) as f32
}

/// Two tiles and one output of a third; the oracle's own are too small to say anything.
fn outputs(layout: Layout) -> usize {
    2 * layout.tile().max(16) + 1
}

fn geometry(layout: Layout, n: usize, k: usize, group: usize) -> Result<Geometry, CodegenError> {
    Geometry::new(layout, n, k, group).map_err(|e| CodegenError::bug("a microkernel", e))
}

fn pack(g: &Geometry, weights: &[i8]) -> Result<Vec<u8>, CodegenError> {
    let mut packed = vec![0; g.bytes];
    g.pack(weights, &mut packed).map_err(|e| CodegenError::bug("a microkernel", e))?;
    Ok(packed)
}

/// Rows of activations with their groups padded, and the sum of each group.
fn padded(g: &Geometry, x: &[i8]) -> (Vec<i8>, Vec<i32>) {
    let groups = || x.chunks(g.k).flat_map(|row| row.chunks(g.group));
    let padded = groups().flat_map(|values| {
        let zeros = std::iter::repeat_n(0, g.group_k - values.len());
        values.iter().copied().chain(zeros)
    });
    let sums = groups().map(|values| values.iter().map(|x| i32::from(*x)).sum());
    (padded.collect(), sums.collect())
}

fn without_padding<T: Copy>(out: &[T], n_padded: usize, n: usize) -> Vec<T> {
    out.chunks(n_padded).flat_map(|cell| &cell[..n]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;
    use crate::choice::Choices;
    use crate::testing::mlp;
    use trine_ukernel::Features;

    /// Every variant that this machine can run, on shapes with and without padding.
    #[test]
    fn all_variants_pass() {
        fn each<A, L>(table: &[Variant<A, L>], families: &[Family]) {
            let here = Features::detect();
            for v in table.iter().filter(|v| here.contains(v.needs)) {
                for family in families {
                    check(Microkernel { family: *family, symbol: v.symbol }).unwrap();
                }
            }
        }
        let (k, group) = (300, 64);
        for table in [signsum_i8::VARIANTS, dot_i8::VARIANTS, dot_i8::NIBBLES] {
            each(table, &[Family::Int8 { k, group }, Family::Int8 { k: 640, group: 640 }]);
        }
        for table in [scaled_i8::TRITS, scaled_i8::BYTES, scaled_i8::NIBBLES] {
            each(table, &[Family::Scaled { k, group }]);
        }
        each(signsum_f32::VARIANTS, &[Family::F32 { k, group }]);
        let product = |packed| Family::Matmul { k: Some(MOST_INPUTS), packed };
        each(matmul::VARIANTS, &[product(true), product(false)]);
        let codes = |(bits, block)| Family::Blocks(Codes { k, n: 97, bits, block });
        each(blocks::VARIANTS, &[(1, 24), (2, 16), (4, 32), (8, 20)].map(codes));
        each(silu::VARIANTS, &[Family::Silu]);
        each(rms_norm::VARIANTS, &[Family::RmsNorm]);
        each(quantize::VARIANTS, &[Family::Quantize]);
        each(pad::VARIANTS, &[Family::Pad]);
        each(rescale::VARIANTS, &[Family::Rescale]);
        each(attention::VARIANTS, &[Family::Attention]);
    }

    /// A variant that takes weights for what they are not writes fewer outputs than it should.
    #[test]
    fn a_wrong_variant_is_found() {
        let oracle = oracle(dot_i8::VARIANTS).unwrap();
        let entry = trine_ukernel::oracle(signsum_i8::VARIANTS).unwrap().entry;
        let wrong = Variant { symbol: "trine_dot_i8_wrong", entry, ..*oracle };
        let error = int8(&wrong, oracle, 100, 32).unwrap_err();
        let CodegenError::Differs(difference) = &error else { panic!("{error}") };
        assert_eq!(
            (difference.name, difference.rows, difference.k, difference.group),
            ("dot_i8_wrong", 1, 100, 32)
        );
        assert!(difference.row == 0 && difference.output < difference.n && difference.got != difference.want);
        let message = error.to_string();
        assert!(message.contains("`dot_i8_wrong` is wrong") && message.contains("groups of 32"), "{message}");
        assert_eq!(error.fault(), trine_ir::Fault::Trine);
    }

    /// Three layers, of which two have as many inputs.
    #[test]
    fn every_shape_of_a_model_is_checked_once() {
        let target = Target::host().unwrap();
        let module = mlp(&target);
        let kernels = Kernels::plan(&module, &Choices::new(&target, &module)).unwrap();
        let called = called(&kernels);
        let sums = trine_ukernel::best(signsum_f32::VARIANTS, target.features).unwrap().symbol;
        let sums: FxHashSet<_> = [64, 128]
            .map(|k| Microkernel { family: Family::F32 { k, group: k }, symbol: sums })
            .into_iter()
            .collect();
        let families: FxHashSet<Family> = called.difference(&sums).map(|m| m.family).collect();
        assert!(called.is_superset(&sums), "{called:?}");
        assert_eq!(families, FxHashSet::from_iter([Family::RmsNorm, Family::Rescale]));
        verify(&kernels).unwrap();
    }

    #[test]
    fn what_cannot_run_here_cannot_be_checked() {
        let oracle = oracle(dot_i8::VARIANTS).unwrap();
        // No machine has the instructions of two architectures.
        let foreign = Variant { needs: Features::from_bits(0x7f).unwrap(), ..*oracle };
        let error = int8(&foreign, oracle, 4, 4).unwrap_err();
        assert!(matches!(error, CodegenError::Target { .. }), "{error}");
    }

    #[test]
    fn a_difference_says_where_it_is() {
        let g = Geometry::new(Layout::Trits, 4, 6, 3).unwrap();
        let want = |rows: Range<usize>| Ok(vec![0; rows.len() * 2 * 4]);
        let got = |rows: Range<usize>| {
            let mut out = vec![0; rows.len() * 2 * 4];
            // Row 1, group 1, output 2, where there is a row 1.
            out.iter_mut().skip(14).take(1).for_each(|v| *v = 7);
            Ok(out)
        };
        let error = compare(("f", &g), FEW, got, want, i32::eq).unwrap_err();
        let CodegenError::Differs(d) = error else { panic!("{error}") };
        assert_eq!((d.rows, d.row, d.in_group, d.output), (3, 1, 1, 2));
        assert_eq!((d.got.as_str(), d.want.as_str()), ("7", "0"));
    }
}
