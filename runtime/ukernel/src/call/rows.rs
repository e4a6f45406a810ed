//! Calls of what computes rows: activations, norms, quantization, what goes before and after sums, attention.

use core::marker::PhantomData;
use core::ptr::null;

use super::{Call, CallError, length, runs_here};
use crate::attention::{self, AttentionF32};
use crate::pad::PadI8;
use crate::quantize::QuantizeF32;
use crate::rescale::RescaleF32;
use crate::rms_norm::RmsNormF32;
use crate::silu::SiluF32;
use crate::{Geometry, Variant};

impl<'a> Call<'a, SiluF32> {
    pub fn silu_f32(variant: &Variant<SiluF32>, x: &'a [f32], out: &'a mut [f32]) -> Result<Self, CallError> {
        runs_here(variant)?;
        length("outputs", out.len(), Some(x.len()))?;
        let args = SiluF32 { x: x.as_ptr(), out: out.as_mut_ptr(), n: x.len() };
        Ok(Self { entry: variant.entry(), args, buffers: PhantomData })
    }
}

impl<'a> Call<'a, RmsNormF32> {
    pub fn rms_norm_f32(
        variant: &Variant<RmsNormF32>,
        (x, gain, eps): (&'a [f32], &'a [f32], f32),
        out: &'a mut [f32],
    ) -> Result<Self, CallError> {
        runs_here(variant)?;
        length("gains", gain.len(), Some(x.len()))?;
        length("outputs", out.len(), Some(x.len()))?;
        let (n, out) = (x.len(), out.as_mut_ptr());
        let args = RmsNormF32 { x: x.as_ptr(), gain: gain.as_ptr(), out, n, eps };
        Ok(Self { entry: variant.entry(), args, buffers: PhantomData })
    }
}

impl<'a> Call<'a, QuantizeF32> {
    pub fn quantize_f32(
        variant: &Variant<QuantizeF32>,
        x: &'a [f32],
        (q, scale): (&'a mut [i8], &'a mut f32),
    ) -> Result<Self, CallError> {
        runs_here(variant)?;
        length("outputs", q.len(), Some(x.len()))?;
        let (n, q) = (x.len(), q.as_mut_ptr());
        let args = QuantizeF32 { x: x.as_ptr(), q, scale, n, floor: 0.0, reciprocal: 0 };
        Ok(Self { entry: variant.entry(), args, buffers: PhantomData })
    }
}

impl<'a> Call<'a, PadI8> {
    /// `x` is i8[rows, k]; `out` is i8[rows, groups, group_k] and `sums` i32[rows, groups].
    pub fn pad_i8(
        variant: &Variant<PadI8>,
        g: &Geometry,
        rows: usize,
        x: &'a [i8],
        (out, sums): (&'a mut [i8], &'a mut [i32]),
    ) -> Result<Self, CallError> {
        runs_here(variant)?;
        super::fits(g, g.layout)?;
        length("activations", x.len(), rows.checked_mul(g.k))?;
        length("outputs", out.len(), rows.checked_mul(g.k_padded()))?;
        length("sums", sums.len(), rows.checked_mul(g.groups))?;
        let args = PadI8 {
            x: x.as_ptr(),
            x_stride: g.k,
            out: out.as_mut_ptr(),
            sums: sums.as_mut_ptr(),
            rows,
            k: g.k,
            group: g.group,
            group_k: g.group_k,
        };
        Ok(Self { entry: variant.entry(), args, buffers: PhantomData })
    }
}

/// Sums of a quantized linear layer, `[rows, groups, n]`.
#[derive(Clone, Copy)]
pub enum Sums<'a> {
    Integers(&'a [i32]),
    Floats(&'a [f32]),
}

/// What sums become outputs by: scales `[groups, n]`, factors `[rows]`, a bias `[n]` and addends `[rows, n]`.
pub type Factors<'a> = (&'a [f32], Option<&'a [f32]>, Option<&'a [f32]>, Option<&'a [f32]>);

impl<'a> Call<'a, RescaleF32> {
    /// `out` is f32[rows, n].
    pub fn rescale_f32(
        variant: &Variant<RescaleF32>,
        (rows, groups, n): (usize, usize, usize),
        (sums, (scales, row_scales, bias, addend)): (Sums<'a>, Factors<'a>),
        out: &'a mut [f32],
    ) -> Result<Self, CallError> {
        runs_here(variant)?;
        let of_group = groups.checked_mul(n);
        let (sums, len, floats) = match sums {
            Sums::Integers(sums) => (sums.as_ptr(), sums.len(), 0),
            Sums::Floats(sums) => (sums.as_ptr().cast(), sums.len(), 1),
        };
        let of_rows = rows.checked_mul(n);
        if groups == 0 {
            return Err(CallError::Geometry);
        }
        length("sums", len, of_group.and_then(|of_group| of_group.checked_mul(rows)))?;
        length("scales", scales.len(), of_group)?;
        // As many as rows, or for each of them as many as groups.
        let by_group = groups > 1 && row_scales.is_some_and(|s| s.len() != rows);
        let factors = if by_group { rows.checked_mul(groups) } else { Some(rows) };
        for (what, values, expected) in
            [("row scales", row_scales, factors), ("biases", bias, Some(n)), ("addends", addend, of_rows)]
        {
            values.map_or(Ok(()), |values| length(what, values.len(), expected))?;
        }
        length("outputs", out.len(), of_rows)?;
        let at = |values: Option<&[f32]>| values.map_or(null(), <[f32]>::as_ptr);
        let args = RescaleF32 {
            sums,
            sums_stride: groups * n,
            group_stride: n,
            scales: scales.as_ptr(),
            scales_stride: n,
            row_scales: at(row_scales),
            bias: at(bias),
            addend: at(addend),
            out: out.as_mut_ptr(),
            out_stride: n,
            rows,
            groups,
            n,
            floats,
            group_scales: usize::from(by_group),
        };
        Ok(Self { entry: variant.entry(), args, buffers: PhantomData })
    }
}

/// What an attention computes.
#[derive(Clone, Copy)]
pub struct Attending {
    pub rows: usize,
    pub d: usize,
    pub dv: usize,
    pub keys: usize,
    /// Keys that the first query sees, and how many more each after it.
    pub visible: usize,
    pub more: usize,
    /// Whether each query is the only one of its head.
    pub alone: bool,
    pub scale: f32,
    /// Positive, or 0 for none.
    pub softcap: f32,
}

/// Queries, keys, values and perhaps a mask.
pub type Attended<'a> = (&'a [f32], &'a [f32], &'a [f32], Option<&'a [f32]>);

impl<'a> Call<'a, AttentionF32> {
    /// `q` is f32[rows, d], `k` f32[keys, d], `v` f32[keys, dv], a mask f32[rows, keys], `out` f32[rows, dv], `scratch` of
    /// [`attention::scratch`] values.
    pub fn attention_f32(
        variant: &Variant<AttentionF32>,
        of: Attending,
        (q, k, v, mask): Attended<'a>,
        out: &'a mut [f32],
        scratch: &'a mut [f32],
    ) -> Result<Self, CallError> {
        runs_here(variant)?;
        let Attending { rows, d, dv, keys, visible, more, alone, scale, softcap } = of;
        if rows == 0 || more > keys {
            return Err(CallError::Geometry);
        }
        let scores = keys.checked_add(2).and_then(|each| rows.checked_mul(each));
        length("queries", q.len(), rows.checked_mul(d))?;
        length("keys", k.len(), keys.checked_mul(d))?;
        length("values", v.len(), keys.checked_mul(dv))?;
        mask.map_or(Ok(()), |mask| length("the mask", mask.len(), rows.checked_mul(keys)))?;
        length("outputs", out.len(), rows.checked_mul(dv))?;
        length("scratch", scratch.len(), scores.map(|_| attention::scratch(rows, keys)))?;
        let args = AttentionF32 {
            q: q.as_ptr(),
            q_row: d,
            k: k.as_ptr(),
            k_stride: d,
            v: v.as_ptr(),
            v_stride: dv,
            mask: mask.map_or(null(), <[f32]>::as_ptr),
            mask_row: keys,
            scratch: scratch.as_mut_ptr(),
            out: out.as_mut_ptr(),
            out_row: dv,
            rows,
            d,
            dv,
            keys,
            visible,
            more,
            alone: usize::from(alone),
            scale,
            softcap,
            hidden: 0.0,
            modes: 0,
        };
        Ok(Self { entry: variant.entry(), args, buffers: PhantomData })
    }
}
