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
use trine_ir::{FunctionKind, Module};
use trine_ukernel::call::{Call, Rhs};
use trine_ukernel::contract_i8::{ContractI8, scratch};
use trine_ukernel::matmul::blocks::{self, BlocksF32};
use trine_ukernel::matmul::{self, Codes, MatmulF32, Panels};
use trine_ukernel::scaled_i8::{self, ScaledI8};
use trine_ukernel::signsum_f32::{self, SignSumF32, scratch_len};
use trine_ukernel::{Geometry, Layout, Variant, by_symbol, dot_i8, oracle, signsum_i8};

use super::choice::Contraction;
use super::matmul::Microkernel;
use super::{CodegenError, Plan, Target};
use rows::Family;
use trine_ir::random::Draw;

/// A microkernel that gives other bits than its oracle.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "microkernel `{name}` is wrong on this machine: of {rows} rows and {n} outputs of {k} inputs in groups of \
     {group}, output {output} of group {in_group} and row {row} is {got} instead of {want}"
)]
pub struct Difference {
    pub name: &'static str,
    pub rows: usize,
    pub n: usize,
    pub k: usize,
    pub group: usize,
    /// Where the first wrong output is.
    pub row: usize,
    pub in_group: usize,
    pub output: usize,
    pub got: String,
    pub want: String,
}

/// Checks all microkernels that the kernels of a module call on `target`, once for each shape.
pub fn verify(module: &Module, target: &Target) -> Result<(), CodegenError> {
    let (checks, families) = checks(module, target);
    checks.into_par_iter().try_for_each(Check::run)?;
    families.into_par_iter().try_for_each(|family| family.check(target))
}

fn checks(module: &Module, target: &Target) -> (FxHashSet<Check>, FxHashSet<Family>) {
    let kernels = module.functions.values().filter(|f| f.kind == FunctionKind::Kernel);
    let plans: Vec<Plan> = kernels.filter_map(|f| Plan::new(&f.graph, target)).collect();
    let families = plans.iter().flat_map(Family::of).copied().collect();
    (plans.iter().filter_map(Check::of).collect(), families)
}

/// What is checked once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Check {
    Int8 { symbol: &'static str, k: usize, group: usize },
    Scaled { symbol: &'static str, k: usize, group: usize },
    F32 { symbol: &'static str, k: usize, group: usize },
    Matmul { symbol: &'static str, k: usize, packed: bool },
    Blocks { symbol: &'static str, codes: Codes },
}

/// Inputs of a product that are known only at run time.
const SOME_INPUTS: usize = 67;

/// Inputs of a product beyond which its microkernel only repeats what it does.
const MOST_INPUTS: usize = matmul::SCRATCH / matmul::WIDTH + SOME_INPUTS;

impl Check {
    fn of(plan: &Plan) -> Option<Check> {
        match plan {
            Plan::SignSum(plan) => {
                let (&Geometry { k, group, .. }, contraction) = plan.microkernel();
                match contraction {
                    Contraction::Int8 { symbol, .. } => Some(Check::Int8 { symbol, k, group }),
                    Contraction::Scaled { symbol, .. } => Some(Check::Scaled { symbol, k, group }),
                    Contraction::F32 { symbol, .. } => Some(Check::F32 { symbol, k, group }),
                    Contraction::Own => None,
                }
            }
            Plan::Matmul(plan) => Some(match plan.microkernel() {
                Microkernel::Dense { symbol, k, packed } => {
                    let k = k.unwrap_or(SOME_INPUTS).min(MOST_INPUTS);
                    Check::Matmul { symbol, k, packed }
                }
                Microkernel::Blocks { symbol, codes } => {
                    let (k, n) = (codes.k.min(MOST_INPUTS), 2 * matmul::WIDTH + 1);
                    Check::Blocks { symbol, codes: Codes { k, n, ..codes } }
                }
            }),
            _ => None,
        }
    }

    fn run(self) -> Result<(), CodegenError> {
        match self {
            Check::Int8 { symbol, k, group } => {
                let tables = [signsum_i8::VARIANTS, dot_i8::VARIANTS, dot_i8::NIBBLES];
                let found = tables.into_iter().find_map(|table| by_symbol(table, symbol).zip(oracle(table)));
                let (variant, oracle) = found.ok_or(UNLISTED)?;
                int8(variant, oracle, k, group)
            }
            Check::Scaled { symbol, k, group } => {
                let tables = [scaled_i8::TRITS, scaled_i8::BYTES, scaled_i8::NIBBLES];
                let found = tables.into_iter().find_map(|table| by_symbol(table, symbol).zip(oracle(table)));
                let (variant, oracle) = found.ok_or(UNLISTED)?;
                scaled(variant, oracle, k, group)
            }
            Check::F32 { symbol, k, group } => {
                let variant = by_symbol(signsum_f32::VARIANTS, symbol).ok_or(UNLISTED)?;
                float(variant, oracle(signsum_f32::VARIANTS).ok_or(UNLISTED)?, k, group)
            }
            Check::Matmul { symbol, k, packed } => {
                let variant = by_symbol(matmul::VARIANTS, symbol).ok_or(UNLISTED)?;
                let oracle = oracle(matmul::VARIANTS).ok_or(UNLISTED)?;
                let sides: &[Side] = if packed { &[Side::Packed] } else { &[Side::Rows, Side::Columns] };
                sides.iter().try_for_each(|side| product(variant, oracle, k, *side))
            }
            Check::Blocks { symbol, codes } => {
                let variant = by_symbol(blocks::VARIANTS, symbol).ok_or(UNLISTED)?;
                coded(variant, oracle(blocks::VARIANTS).ok_or(UNLISTED)?, codes)
            }
        }
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
    use trine_ukernel::Features;

    /// Every variant that this machine can run, on shapes with and without padding.
    #[test]
    fn all_variants_pass() {
        let here = Features::detect();
        let (k, group) = (300, 64);
        let tables =
            [(signsum_i8::VARIANTS, "signsum_i8"), (dot_i8::VARIANTS, "dot_i8"), (dot_i8::NIBBLES, "dot_i8")];
        for (table, name) in tables {
            for v in table.iter().filter(|v| here.contains(v.needs)) {
                assert!(v.name().starts_with(name));
                Check::Int8 { symbol: v.symbol, k, group }.run().unwrap();
                Check::Int8 { symbol: v.symbol, k: 640, group: 640 }.run().unwrap();
            }
        }
        for table in [scaled_i8::TRITS, scaled_i8::BYTES, scaled_i8::NIBBLES] {
            for v in table.iter().filter(|v| here.contains(v.needs)) {
                Check::Scaled { symbol: v.symbol, k, group }.run().unwrap();
            }
        }
        for v in signsum_f32::VARIANTS.iter().filter(|v| here.contains(v.needs)) {
            Check::F32 { symbol: v.symbol, k, group }.run().unwrap();
        }
        for v in matmul::VARIANTS.iter().filter(|v| here.contains(v.needs)) {
            for packed in [true, false] {
                Check::Matmul { symbol: v.symbol, k: MOST_INPUTS, packed }.run().unwrap();
            }
        }
        for v in blocks::VARIANTS.iter().filter(|v| here.contains(v.needs)) {
            for (bits, block) in [(1, 24), (2, 16), (4, 32), (8, 20)] {
                Check::Blocks { symbol: v.symbol, codes: Codes { k, n: 97, bits, block } }.run().unwrap();
            }
        }
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
        assert_eq!(crate::Error::from(crate::build::BuildError::from(error)).fault(), crate::Fault::Trine);
    }

    /// Three layers, of which two have as many inputs.
    #[test]
    fn every_shape_of_a_model_is_checked_once() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/digits/mlp.onnx");
        let mut module = crate::load(path).unwrap();
        crate::optimize(&mut module, &crate::Options::default()).unwrap();
        let mut target = Target::host().unwrap();
        target.forced.clear();
        let (checks, families) = checks(&module, &target);
        let symbol = trine_ukernel::best(signsum_f32::VARIANTS, target.features).unwrap().symbol;
        let expected = [64, 128].map(|k| Check::F32 { symbol, k, group: k });
        assert_eq!(checks, expected.into_iter().collect());
        assert!(
            [Family::Pad, Family::Rescale].iter().all(|family| families.contains(family)),
            "{families:?}"
        );
        verify(&module, &target).unwrap();
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
