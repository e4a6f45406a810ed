//! Sign sums of int8 by 128-bit vectors alone: `out[b,g,n] = Σ_{k in g} t[n,k]·x[b,k]` over `2bit_8` weights.
//!
//! Any machine that Cranelift knows can run it, so no target is without a fast layer. With AVX-VNNI or
//! AVX-512 VNNI four products and their sum become one `vpdpbusd`, if the tree has just the shape that the
//! instruction selector looks for: signed activations on the left, unsigned weights on the right.
//!
//! The fields of a byte are masked where they are, and the sum of each is kept apart, scaled by a power of four, until
//! the end of a group: a mask and a `vpdpbusd` are all that four weights take. The eight sums of two vectors fill half
//! of the sixteen registers that there are everywhere, hence tiles of eight outputs. Activations are spread to
//! whole vectors first, for a block of rows at a time, since broadcasting takes what masks and products need.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::{I8X16, I32, I32X4};
use trine_ukernel::{Geometry, prefetch};

use super::function::{ClifValue, Emit, Result};
use crate::choice::OWN_LAYOUT as LAYOUT;

/// Vectors of four outputs in a tile.
const VECTORS: usize = LAYOUT.tile() / 4;

/// Two-bit fields of a byte, each four inputs after the one before.
const FIELDS: usize = 4;

/// Rows whose activations are spread at once: few enough for the caches.
const ROWS: usize = 8;

/// Bytes of four activations that are spread.
const SPREAD: i64 = 16;

/// Steps of a round of the loop, which reads what one prefetch asks for.
const UNROLL: usize = prefetch::BYTES / LAYOUT.step_bytes();

/// How far ahead of its use memory is asked for, in bytes.
const AHEAD: i64 = 2048;

/// Where things are, as the arguments of a microkernel say it.
pub struct Operands {
    pub weights: ClifValue,
    /// i8 `[rows, groups, group_k]`.
    pub x: ClifValue,
    /// i32 `[rows, groups]`.
    pub x_sums: ClifValue,
    /// i32 `[rows, groups, stride]`.
    pub out: ClifValue,
    pub stride: ClifValue,
    pub rows: ClifValue,
    /// Tiles to do.
    pub first: ClifValue,
    pub last: ClifValue,
    /// Of [`scratch`] bytes.
    pub scratch: ClifValue,
}

/// Bytes that it works in.
pub fn scratch(g: &Geometry) -> usize {
    ROWS * g.k_padded() / 4 * SPREAD as usize
}

/// Writes the loops over blocks of rows, tiles, groups, rows and steps.
pub fn emit(e: &mut Emit, g: &Geometry, at: &Operands) -> Result<()> {
    let (group_k, groups) = (g.group_k as i64, g.groups as i64);
    let steps = g.group_k / LAYOUT.k_step();
    let cell_bytes = (steps * LAYOUT.step_bytes()) as i64;
    let (zero, all_groups) = (e.int(0), e.int(groups));
    e.for_range(zero, at.rows, ROWS as i64, &[], |e, begin, _| {
        let end = e.b.ins().iadd_imm_s(begin, ROWS as i64);
        let end = e.b.ins().smin(end, at.rows);
        let x = e.at(at.x, begin, groups * group_k);
        let rows = e.b.ins().isub(end, begin);
        let bytes = e.b.ins().imul_imm_s(rows, groups * group_k);
        spread(e, x, bytes, at.scratch)?;
        e.for_range(at.first, at.last, 1, &[], |e, tile, _| {
            e.for_range(zero, all_groups, 1, &[], |e, group, _| {
                let cell = e.b.ins().imul_imm_s(tile, groups);
                let cell = e.b.ins().iadd(cell, group);
                let weights = e.at(at.weights, cell, cell_bytes);
                let tile_out = e.at(at.out, tile, 4 * LAYOUT.tile() as i64);
                e.for_range(begin, end, 1, &[], |e, row, _| {
                    let run = e.b.ins().imul_imm_s(row, groups);
                    let run = e.b.ins().iadd(run, group);
                    let skipped = e.b.ins().imul_imm_s(begin, groups);
                    let within = e.b.ins().isub(run, skipped);
                    let x = e.at(at.scratch, within, group_k / 4 * SPREAD);
                    let sums = dot(e, weights, x, steps)?;
                    let x_sum = e.at(at.x_sums, run, 4);
                    let x_sum = e.load(I32, x_sum, 0);
                    let x_sum = e.b.ins().splat(I32X4, x_sum);
                    let before = e.b.ins().imul(run, at.stride);
                    let out = e.at(tile_out, before, 4);
                    for (i, sum) in sums.into_iter().enumerate() {
                        let sum = e.b.ins().isub(sum, x_sum);
                        e.store(sum, out, 16 * i as i32);
                    }
                    Ok(vec![])
                })?;
                Ok(vec![])
            })?;
            Ok(vec![])
        })?;
        Ok(vec![])
    })?;
    Ok(())
}

/// Each four of `bytes` activations in every lane of a vector.
fn spread(e: &mut Emit, x: ClifValue, bytes: ClifValue, out: ClifValue) -> Result<()> {
    let zero = e.int(0);
    e.for_range(zero, bytes, LAYOUT.k_step() as i64, &[], |e, i, _| {
        let x = e.b.ins().iadd(x, i);
        let out = e.at(out, i, SPREAD / 4);
        for field in 0..FIELDS as i32 {
            let four = e.load(I32, x, 4 * field);
            let lanes = e.b.ins().splat(I32X4, four);
            e.store(lanes, out, SPREAD as i32 * field);
        }
        Ok(vec![])
    })?;
    Ok(())
}

/// `Σ (t + 1)·x` for the outputs of a tile, over one group.
fn dot(e: &mut Emit, weights: ClifValue, x: ClifValue, steps: usize) -> Result<Vec<ClifValue>> {
    let (step_bytes, x_bytes) = (LAYOUT.step_bytes() as i64, FIELDS as i64 * SPREAD);
    let masks: Vec<ClifValue> = (0..FIELDS).map(|field| e.bytes([3 << (2 * field); 16], I8X16)).collect();
    let none = e.bytes([0; 16], I32X4);
    let mut carried = vec![weights, x];
    carried.extend([none; VECTORS * FIELDS]);
    let (zero, rounds) = (e.int(0), e.int((steps / UNROLL) as i64));
    let mut carried = e.for_range(zero, rounds, 1, &carried, |e, _, carried| {
        let (weights, x, mut sums) = (carried[0], carried[1], carried[2..].to_vec());
        let ahead = e.b.ins().iadd_imm_s(weights, AHEAD);
        e.prefetch(ahead)?;
        for i in 0..UNROLL {
            step(e, (weights, i as i64 * step_bytes), (x, i as i64 * x_bytes), &masks, &mut sums);
        }
        let weights = e.b.ins().iadd_imm_s(weights, UNROLL as i64 * step_bytes);
        let x = e.b.ins().iadd_imm_s(x, UNROLL as i64 * x_bytes);
        Ok([vec![weights, x], sums].concat())
    })?;
    let mut sums = carried.split_off(2);
    for i in 0..steps % UNROLL {
        step(e, (carried[0], i as i64 * step_bytes), (carried[1], i as i64 * x_bytes), &masks, &mut sums);
    }
    let of_vector = sums.chunks(FIELDS).map(|fields| {
        let scaled = fields.iter().enumerate().map(|(field, sum)| match field {
            0 => *sum,
            _ => e.b.ins().sshr_imm_u(*sum, 2 * field as i64),
        });
        let scaled: Vec<ClifValue> = scaled.collect();
        scaled.into_iter().reduce(|a, b| e.b.ins().iadd(a, b)).unwrap_or(none)
    });
    Ok(of_vector.collect())
}

/// Adds the products of a step, whose weights and activations lie at pointers and offsets, to the sums of each field.
fn step(
    e: &mut Emit,
    (weights, from): (ClifValue, i64),
    (x, x_from): (ClifValue, i64),
    masks: &[ClifValue],
    sums: &mut [ClifValue],
) {
    let packed: Vec<ClifValue> =
        (0..VECTORS).map(|i| e.load(I8X16, weights, from as i32 + 16 * i as i32)).collect();
    for (field, mask) in masks.iter().enumerate() {
        let x = e.load(I8X16, x, x_from as i32 + SPREAD as i32 * field as i32);
        for (packed, sums) in packed.iter().zip(sums.chunks_mut(FIELDS)) {
            let digits = e.b.ins().band(*packed, *mask);
            sums[field] = dot4(e, sums[field], x, digits);
        }
    }
}

/// `sum[i] + Σ_j x[4i+j]·w[4i+j]`, `x` signed and `w` unsigned, up to 128.
fn dot4(e: &mut Emit, sum: ClifValue, x: ClifValue, w: ClifValue) -> ClifValue {
    let mut half = |low: bool| {
        let (x, w) = match low {
            true => (e.b.ins().swiden_low(x), e.b.ins().uwiden_low(w)),
            false => (e.b.ins().swiden_high(x), e.b.ins().uwiden_high(w)),
        };
        let products = e.b.ins().imul(x, w);
        let (low, high) = (e.b.ins().swiden_low(products), e.b.ins().swiden_high(products));
        e.b.ins().iadd_pairwise(low, high)
    };
    let (low, high) = (half(true), half(false));
    let four = e.b.ins().iadd_pairwise(low, high);
    e.b.ins().iadd(four, sum)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trine_ir::{Module, Tensor, eval, text, verify};
    use trine_runtime::{Session, SessionOptions};

    use super::*;
    use crate::choice::{Choices, OWN};
    use crate::image::program::build;
    use crate::image::text::assembly;
    use crate::plan::form::form;
    use crate::{Kernels, Target};

    fn module(n: usize, k: usize, group: usize) -> Module {
        let groups = k.div_ceil(group);
        let source = format!(
            "\
stage lowered
const @w: trit[{n},{k}]
const @scale: f32[{n},{groups}]
graph @main(%q: i8[batch,{k}]) -> (%y: f32[batch,{n}]) {{
  %p = sign_select %q, @w : i8[batch,{n},{k}]
  %t = group_sum %p {{group={group}}} : i32[batch,{n},{groups}]
  %y = rescale %t, @scale : f32[batch,{n}]
}}
"
        );
        let module = text::parse_with(&source, &|name, ty| {
            let dims = ty.static_dims()?;
            let count: usize = dims.iter().product();
            match name {
                "w" => {
                    let trits: Vec<u8> =
                        (0..count).map(|i| ((i * i + i / 7) % 3) as u8).map(|t| t.wrapping_sub(1)).collect();
                    Tensor::pack(ty.elem, dims, &trits).ok()
                }
                _ => Tensor::from_vec::<f32>(dims, (0..count).map(|i| 0.5 + i as f32).collect()).ok(),
            }
        })
        .unwrap();
        verify(&module).unwrap();
        module
    }

    fn host() -> Target {
        let mut target = Target::host().unwrap();
        target.forced.push(OWN.into());
        target
    }

    #[test]
    fn sums_are_the_interpreters() {
        for (n, k, group) in [(32, 16, 16), (40, 70, 70), (33, 100, 32), (7, 5, 5), (64, 640, 128)] {
            let module = module(n, k, group);
            let target = host();
            let mut formed = module.clone();
            form(&mut formed, &target);
            let program = Arc::new(build(formed, &target).unwrap());
            assert_eq!(program.step_counts().1, 0, "no step is interpreted");
            for batch in [1, 3] {
                // All that quantizing makes, the extremes among them.
                let x = (0..batch * k).map(|i| (i * 37 % 255) as i16 - 127).map(|v| v as i8).collect();
                let x = Tensor::from_vec::<i8>(vec![batch, k], x).unwrap();
                let want = eval::run(&module, vec![x.clone()]).unwrap();
                for threads in [1, 2] {
                    let options = SessionOptions { threads, ..SessionOptions::default() };
                    let got = Session::new(program.clone(), &options).run(std::slice::from_ref(&x)).unwrap();
                    assert!(got == want, "{n} x {k} by {group}, batch {batch}");
                }
            }
        }
    }

    #[test]
    fn four_products_are_one_instruction_where_there_is_one() {
        let count = |cpu: Option<&str>| {
            let mut target = Target::object("x86_64-unknown-linux-gnu", cpu).unwrap();
            target.forced.push(OWN.into());
            let mut module = module(64, 64, 64);
            form(&mut module, &target);
            let kernels = Kernels::plan(&module, &Choices::new(&target, &module)).unwrap();
            let (name, _) = kernels.iter().next().unwrap();
            let code = assembly(&kernels, &["batch".into()], name).unwrap();
            code.matches("vpdpbusd").count()
        };
        // A round, and no step is left over.
        assert_eq!(count(Some("icelake-server")), UNROLL * VECTORS * FIELDS);
        assert_eq!(count(Some("x86-64-v3")), 0);
        assert_eq!(count(None), 0);
    }
}
