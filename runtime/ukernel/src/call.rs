//! Microkernels called with slices, whose sizes are checked: for who compares or measures variants.
//!
//! Generated drivers fill in arguments themselves. Whoever runs a variant from Rust makes a [`Call`], which can
//! only be made where it is safe to [run](Call::run).
#![allow(unsafe_code)]

mod rows;

pub use rows::{Attended, Attending, Factors, Sums};

use core::fmt;
use core::marker::PhantomData;
use core::ptr::null;

use crate::contract_i8::{self, ContractI8};
use crate::exp::ExpF32;
use crate::matmul::blocks::BlocksF32;
use crate::matmul::{self, Codes, MatmulF32, Panels, WIDTH};
use crate::scaled_i8::ScaledI8;
use crate::signsum_f32::{SignSumF32, scratch_len};
use crate::{Entry, Features, Geometry, Layout, Variant};

/// A variant with arguments that fit it, on a machine that can run it.
pub struct Call<'a, A: 'static> {
    entry: Entry<A>,
    args: A,
    buffers: PhantomData<&'a mut [u8]>,
}

/// Why a call cannot be made. The caller's fault, all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallError {
    /// The machine lacks some of these.
    Features(Features),
    /// The sizes overflow, or are not those of a packed matrix in the variant's layout.
    Geometry,
    /// A buffer is not as long as the sizes say.
    Length { what: &'static str, len: usize, expected: usize },
}

impl core::error::Error for CallError {}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Features(needs) => write!(f, "this machine lacks some of {needs}"),
            Self::Geometry => f.write_str("the sizes are not those of the microkernel's layout"),
            Self::Length { what, len, expected } => write!(f, "{what}: {len} values instead of {expected}"),
        }
    }
}

impl<A> Call<'_, A> {
    pub fn run(&mut self) {
        // SAFETY: a variant keeps to what its arguments describe, which whoever made this call has checked, and the
        // machine has what it needs.
        unsafe { (self.entry)(&self.args) }
    }
}

impl<'a> Call<'a, ContractI8> {
    /// All tiles of `rows` rows: `x` is i8[rows, groups, group_k], `x_sums` i32[rows, groups], `out` i32[rows,
    /// groups, n_padded], `scratch` as many bytes as [`contract_i8::scratch`] says.
    pub fn contract_i8(
        variant: &Variant<ContractI8, Layout>,
        g: &Geometry,
        rows: usize,
        (weights, x, x_sums): (&'a [u8], &'a [i8], &'a [i32]),
        out: &'a mut [i32],
        scratch: &'a mut [u8],
    ) -> Result<Self, CallError> {
        runs_here(variant)?;
        fits(g, variant.layout)?;
        length("weights", weights.len(), Some(g.bytes))?;
        length("activations", x.len(), rows.checked_mul(g.k_padded()))?;
        length("sums of activations", x_sums.len(), rows.checked_mul(g.groups))?;
        length("outputs", out.len(), outputs(g, rows))?;
        length("scratch", scratch.len(), Some(contract_i8::scratch(variant, g, Some(rows))))?;
        let args = ContractI8 {
            weights: weights.as_ptr(),
            x: x.as_ptr(),
            x_sums: x_sums.as_ptr(),
            out: out.as_mut_ptr(),
            rows,
            groups: g.groups,
            group_k: g.group_k,
            n_padded: g.n_padded,
            tile_begin: 0,
            tile_end: g.tiles,
            scratch: scratch.as_mut_ptr(),
        };
        Ok(Self { entry: variant.entry(), args, buffers: PhantomData })
    }
}

impl<'a> Call<'a, ScaledI8> {
    /// All tiles of `rows` rows: activations are as for sums, scales f32[groups, n_padded], factors f32[rows, groups], and
    /// `out` f32[rows, n_padded].
    pub fn scaled_i8(
        variant: &Variant<ScaledI8, Layout>,
        g: &Geometry,
        rows: usize,
        (weights, x, x_sums): (&'a [u8], &'a [i8], &'a [i32]),
        (scales, factors): (&'a [f32], Option<&'a [f32]>),
        out: &'a mut [f32],
    ) -> Result<Self, CallError> {
        runs_here(variant)?;
        fits(g, variant.layout)?;
        length("weights", weights.len(), Some(g.bytes))?;
        length("activations", x.len(), rows.checked_mul(g.k_padded()))?;
        length("sums of activations", x_sums.len(), rows.checked_mul(g.groups))?;
        length("scales", scales.len(), outputs(g, 1))?;
        if let Some(factors) = factors {
            length("factors", factors.len(), rows.checked_mul(g.groups))?;
        }
        length("outputs", out.len(), rows.checked_mul(g.n_padded))?;
        let sums = ContractI8 {
            weights: weights.as_ptr(),
            x: x.as_ptr(),
            x_sums: x_sums.as_ptr(),
            out: out.as_mut_ptr().cast(),
            rows,
            groups: g.groups,
            group_k: g.group_k,
            n_padded: g.n_padded,
            tile_begin: 0,
            tile_end: g.tiles,
            scratch: core::ptr::null_mut(),
        };
        let (scales, factors) = (scales.as_ptr(), factors.map_or(null(), <[f32]>::as_ptr));
        let args = ScaledI8 { sums, scales, scales_stride: g.n_padded, factors };
        Ok(Self { entry: variant.entry(), args, buffers: PhantomData })
    }
}

impl<'a> Call<'a, ExpF32> {
    /// Of all values, in place.
    pub fn exp_f32(variant: &Variant<ExpF32>, values: &'a mut [f32]) -> Result<Self, CallError> {
        runs_here(variant)?;
        let args = ExpF32 { x: values.as_ptr(), out: values.as_mut_ptr(), n: values.len() };
        Ok(Self { entry: variant.entry(), args, buffers: PhantomData })
    }
}

impl<'a> Call<'a, SignSumF32> {
    /// All of `x`, f32[rows, k]; `out` is f32[rows, groups, n_padded], `scratch` of [`scratch_len`] values.
    pub fn sign_sum_f32(
        variant: &Variant<SignSumF32, Layout>,
        g: &Geometry,
        rows: usize,
        (weights, x): (&'a [u8], &'a [f32]),
        out: &'a mut [f32],
        scratch: &'a mut [f32],
    ) -> Result<Self, CallError> {
        runs_here(variant)?;
        fits(g, variant.layout)?;
        length("weights", weights.len(), Some(g.bytes))?;
        length("activations", x.len(), rows.checked_mul(g.k))?;
        length("scratch", scratch.len(), Some(scratch_len(g)))?;
        length("outputs", out.len(), outputs(g, rows))?;
        let args = SignSumF32 {
            weights: weights.as_ptr(),
            x: x.as_ptr(),
            x_stride: g.k,
            out: out.as_mut_ptr(),
            scratch: scratch.as_mut_ptr(),
            rows,
            k: g.k,
            group: g.group,
            groups: g.groups,
            group_k: g.group_k,
            n_padded: g.n_padded,
            tile_begin: 0,
            tile_end: g.tiles,
        };
        Ok(Self { entry: variant.entry(), args, buffers: PhantomData })
    }
}

/// The right-hand side of a dense product.
#[derive(Clone, Copy)]
pub enum Rhs<'a> {
    /// f32[k, n], or f32[n, k] where it is `transposed`.
    Dense { b: &'a [f32], transposed: bool },
    /// As [`Panels::pack`] left it.
    Packed(&'a [f32]),
}

impl<'a> Call<'a, MatmulF32> {
    /// `a`, f32[m, k], times `b`; `c` is f32[m, n], `scratch` of [`matmul::SCRATCH`] values.
    pub fn matmul_f32(
        variant: &Variant<MatmulF32>,
        (m, k, n): (usize, usize, usize),
        (a, b): (&'a [f32], Rhs<'a>),
        c: &'a mut [f32],
        scratch: &'a mut [f32],
    ) -> Result<Self, CallError> {
        runs_here(variant)?;
        let (b, expected, (b_row, b_column), packed) = match b {
            Rhs::Dense { b, transposed: false } => (b, n.checked_mul(k), (n, 1), 0),
            Rhs::Dense { b, transposed: true } => (b, n.checked_mul(k), (1, k), 0),
            Rhs::Packed(b) => (b, Panels { k, n, transposed: false }.packed_len(), (0, 0), 1),
        };
        length("the left-hand side", a.len(), m.checked_mul(k))?;
        length("the right-hand side", b.len(), expected)?;
        length("outputs", c.len(), m.checked_mul(n))?;
        length("scratch", scratch.len(), Some(matmul::SCRATCH))?;
        let stride = |stride: usize| isize::try_from(stride).map_err(|_| CallError::Geometry);
        let args = MatmulF32 {
            a: a.as_ptr(),
            a_row: stride(k)?,
            a_column: 1,
            b: b.as_ptr(),
            b_row: stride(b_row)?,
            b_column: stride(b_column)?,
            c: c.as_mut_ptr(),
            c_row: stride(n)?,
            m,
            k,
            n_begin: 0,
            n_end: n,
            scratch: scratch.as_mut_ptr(),
            packed,
        };
        Ok(Self { entry: variant.entry(), args, buffers: PhantomData })
    }
}

/// Weights of a few bits as [`Codes`] packs them: codes, scales, and zeros unless all are the middle code.
pub type Blocks<'a> = (&'a [u8], &'a [f32], Option<&'a [f32]>);

impl<'a> Call<'a, BlocksF32> {
    /// `a`, f32[m, k], times weights; `c` is f32[m, n], `scratch` a panel, f32[k, 48].
    pub fn blocks_f32(
        variant: &Variant<BlocksF32>,
        m: usize,
        codes: &Codes,
        (a, (q, scales, zeros)): (&'a [f32], Blocks<'a>),
        c: &'a mut [f32],
        scratch: &'a mut [f32],
    ) -> Result<Self, CallError> {
        runs_here(variant)?;
        let &Codes { k, n, bits, block } = codes;
        let whole = block.checked_mul(bits).is_some_and(|bits| bits > 0 && bits % 8 == 0);
        if !matches!(bits, 1 | 2 | 4 | 8) || !whole {
            return Err(CallError::Geometry);
        }
        length("the left-hand side", a.len(), m.checked_mul(k))?;
        length("codes", q.len(), codes.codes_len())?;
        for values in [Some(scales), zeros].into_iter().flatten() {
            length("scales or zeros", values.len(), codes.scales_len())?;
        }
        length("outputs", c.len(), m.checked_mul(n))?;
        length("scratch", scratch.len(), k.checked_mul(WIDTH))?;
        let stride = |stride: usize| isize::try_from(stride).map_err(|_| CallError::Geometry);
        let product = MatmulF32 {
            a: a.as_ptr(),
            a_row: stride(k)?,
            a_column: 1,
            b: null(),
            b_row: 0,
            b_column: 0,
            c: c.as_mut_ptr(),
            c_row: stride(n)?,
            m,
            k,
            n_begin: 0,
            n_end: n,
            scratch: scratch.as_mut_ptr(),
            packed: 1,
        };
        let args = BlocksF32 {
            product,
            codes: q.as_ptr(),
            scales: scales.as_ptr(),
            zeros: zeros.map_or(null(), <[f32]>::as_ptr),
            zero: codes.middle(),
            block,
            bits: codes.packed_bits(),
        };
        Ok(Self { entry: variant.entry(), args, buffers: PhantomData })
    }
}

fn runs_here<A, L>(variant: &Variant<A, L>) -> Result<(), CallError> {
    match Features::detect().contains(variant.needs) {
        true => Ok(()),
        false => Err(CallError::Features(variant.needs)),
    }
}

/// Whether the fields of a geometry, which anyone can write, belong together.
fn fits(g: &Geometry, layout: Layout) -> Result<(), CallError> {
    match Geometry::new(layout, g.n, g.k, g.group) {
        Ok(sound) if sound == *g => Ok(()),
        _ => Err(CallError::Geometry),
    }
}

fn outputs(g: &Geometry, rows: usize) -> Option<usize> {
    rows.checked_mul(g.groups)?.checked_mul(g.n_padded)
}

fn length(what: &'static str, len: usize, expected: Option<usize>) -> Result<(), CallError> {
    match expected {
        Some(expected) if expected == len => Ok(()),
        Some(expected) => Err(CallError::Length { what, len, expected }),
        None => Err(CallError::Geometry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{oracle, signsum_i8};
    use std::{string::ToString, vec};

    #[test]
    fn sums_where_sizes_fit_and_refuses_where_they_do_not() {
        let v = oracle(signsum_i8::VARIANTS).unwrap();
        let g = Geometry::new(v.layout, 2, 3, 3).unwrap();
        let (weights, x) = ([1, 0, 255, 255, 255, 255], [5, 6, 7]);
        let call = |g: &Geometry, x: &[i8], out: &mut [i32]| {
            Call::contract_i8(v, g, 1, (&weights, x, &[18]), out, &mut []).map(|mut call| call.run())
        };
        let mut out = vec![0; 2];
        call(&g, &x, &mut out).unwrap();
        assert_eq!(out, [-2, -18]);
        let error = call(&g, &x[1..], &mut out).unwrap_err();
        assert_eq!(error.to_string(), "activations: 2 values instead of 3");
        assert_eq!(call(&g, &x, &mut out[1..]).unwrap_err().to_string(), "outputs: 1 values instead of 2");
        assert_eq!(call(&Geometry { tiles: 3, ..g }, &x, &mut out), Err(CallError::Geometry));
    }

    #[test]
    fn refuses_what_the_machine_lacks() {
        let lacking = Features::from_bits(0x7f).unwrap();
        let v = Variant { needs: lacking, ..*oracle(signsum_i8::VARIANTS).unwrap() };
        let g = Geometry::new(v.layout, 1, 1, 1).unwrap();
        // No machine has the instructions of two architectures.
        let mut out = [0];
        let refused = Call::contract_i8(&v, &g, 1, (&[0], &[0], &[0]), &mut out, &mut []);
        assert_eq!(refused.err(), Some(CallError::Features(lacking)));
    }
}
