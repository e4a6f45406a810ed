//! Sign sums of int8 by 128-bit vectors alone: `out[b,g,n] = Σ_{k in g} t[n,k]·x[b,k]` over `2bit_32` weights.
//!
//! Any machine that Cranelift knows can run it, so no target is without a fast layer. With AVX-VNNI or
//! AVX-512 VNNI four products and their sum become one `vpdpbusd`, if the tree has just the shape that the
//! instruction selector looks for: signed activations on the left, unsigned weights on the right.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::{I8X16, I16X8, I32, I32X4};
use trine_ukernel::{Geometry, Layout};

use super::emit::{ClifValue, Emit, Result};

/// What it is called among the microkernels.
pub const NAME: &str = "signsum_i8_cranelift_2bit_32";

/// The packed weights that it reads.
pub const LAYOUT: Layout = Layout::TwoBit32;

/// Vectors of four outputs in a tile.
const VECTORS: usize = LAYOUT.tile() / 4;

/// Two-bit fields of a byte, each four inputs behind the one before.
const FIELDS: usize = 4;

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
}

/// Writes the loops over tiles, groups, rows and steps.
pub fn emit(e: &mut Emit, g: &Geometry, at: &Operands) -> Result<()> {
    let steps = g.group_k / LAYOUT.k_step();
    let cell_bytes = (steps * LAYOUT.step_bytes()) as i64;
    let (zero, groups) = (e.int(0), e.int(g.groups as i64));
    e.for_range(at.first, at.last, 1, &[], |e, tile, _| {
        e.for_range(zero, groups, 1, &[], |e, group, _| {
            let cell = e.b.ins().imul_imm_s(tile, g.groups as i64);
            let cell = e.b.ins().iadd(cell, group);
            let weights = e.at(at.weights, cell, cell_bytes);
            let tile_out = e.at(at.out, tile, 4 * LAYOUT.tile() as i64);
            e.for_range(zero, at.rows, 1, &[], |e, row, _| {
                let run = e.b.ins().imul_imm_s(row, g.groups as i64);
                let run = e.b.ins().iadd(run, group);
                let x = e.at(at.x, run, g.group_k as i64);
                let sums = dot(e, weights, x, steps as i64)?;
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
    Ok(())
}

/// `Σ (t + 1)·x` for the outputs of a tile, over one group.
fn dot(e: &mut Emit, weights: ClifValue, x: ClifValue, steps: i64) -> Result<Vec<ClifValue>> {
    let (zero, steps) = (e.int(0), e.int(steps));
    let none = e.bytes([0; 16], I32X4);
    let mask = e.bytes([3; 16], I8X16);
    e.for_range(zero, steps, 1, &[none; VECTORS], |e, step, sums| {
        let mut sums = sums.to_vec();
        let weights = e.at(weights, step, LAYOUT.step_bytes() as i64);
        let x = e.at(x, step, LAYOUT.k_step() as i64);
        let x: Vec<ClifValue> = (0..FIELDS).map(|field| broadcast(e, x, 4 * field as i32)).collect();
        for (i, sum) in sums.iter_mut().enumerate() {
            let mut packed = e.load(I16X8, weights, 16 * i as i32);
            for (field, x) in x.iter().enumerate() {
                if field > 0 {
                    packed = e.b.ins().ushr_imm_u(packed, 2);
                }
                let bytes = e.cast(packed, I8X16);
                let digits = e.b.ins().band(bytes, mask);
                *sum = dot4(e, *sum, *x, digits);
            }
        }
        Ok(sums)
    })
}

/// Four activations, in every lane of four bytes.
fn broadcast(e: &mut Emit, x: ClifValue, offset: i32) -> ClifValue {
    let four = e.load(I32, x, offset);
    let lanes = e.b.ins().splat(I32X4, four);
    e.cast(lanes, I8X16)
}

/// `sum[i] + Σ_j x[4i+j]·w[4i+j]`, `x` signed and `w` unsigned below four.
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

    use trine_ir::{FunctionKind, Module, Tensor, eval, text, verify};
    use trine_runtime::{Session, SessionOptions};

    use super::*;
    use crate::build::build;
    use crate::codegen::{Target, assembly};
    use crate::passes::form_kernels::form;

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
        target.forced.push(NAME.into());
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
            target.forced.push(NAME.into());
            let mut module = module(64, 64, 64);
            form(&mut module, &target);
            let kernel = module.functions.values().find(|f| f.kind == FunctionKind::Kernel).unwrap();
            let code = assembly(&["batch".into()], kernel, &target).unwrap();
            code.matches("vpdpbusd").count()
        };
        assert_eq!(count(Some("icelake-server")), VECTORS * FIELDS);
        assert_eq!(count(Some("x86-64-v3")), 0);
        assert_eq!(count(None), 0);
    }
}
