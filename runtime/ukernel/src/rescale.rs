//! Sums of quantized linear layers to their outputs:
//!
//! ```text
//! out[b, j] = s[b] · Σ_g scale[g, j] · sum[b, g, j]  [+ bias[j]]  [+ addend[b, j]]
//! ```
//!
//! or, with a factor for each group of a row, `Σ_g s[b, g] · (scale[g, j] · sum[b, g, j])`.
//!
//! Groups are added left to right, and every product and sum is rounded: the meaning of the op to the bit.
#![allow(unsafe_code)]

use crate::lanes::{LANES, Lanes, variants};

/// The arguments. Pointers that the equation brackets may be null, and so may `row_scales`, for no factor, and `scales`,
/// for one group of floats that have theirs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RescaleF32 {
    /// i32[rows, groups, n] or, where `floats` is not zero, f32 of that shape.
    pub sums: *const i32,
    /// Sums from a row to the next, and from a group to the next.
    pub sums_stride: usize,
    pub group_stride: usize,
    /// f32[groups, n].
    pub scales: *const f32,
    /// Scales from a group to the next.
    pub scales_stride: usize,
    /// f32[rows] or, where `group_scales` is not zero, f32[rows, groups].
    pub row_scales: *const f32,
    /// f32[n].
    pub bias: *const f32,
    /// f32[rows, n].
    pub addend: *const f32,
    /// f32[rows, n]; may be `sums`, with the same stride.
    pub out: *mut f32,
    /// Values from a row of `out`, and of `addend`, to the next.
    pub out_stride: usize,
    pub rows: usize,
    pub groups: usize,
    pub n: usize,
    pub floats: usize,
    pub group_scales: usize,
}

variants! {
    RescaleF32, rescale =>
    trine_rescale_f32_scalar, trine_rescale_f32_neon, trine_rescale_f32_avx2, trine_rescale_f32_avx512
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn rescale<L: Lanes>(args: &RescaleF32) {
    // SAFETY: the caller's.
    unsafe {
        let by_group = args.group_scales != 0 && !args.row_scales.is_null();
        match (args.floats, args.groups) {
            (0, _) if by_group => rescale_rows::<L, false, false, true>(*args),
            _ if by_group => rescale_rows::<L, true, false, true>(*args),
            (0, 1) => rescale_rows::<L, false, true, false>(*args),
            (0, _) => rescale_rows::<L, false, false, false>(*args),
            _ if args.scales.is_null() => rescale_rows::<L, true, true, false>(*args),
            _ => rescale_rows::<L, true, false, false>(*args),
        }
    }
}

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn rescale_rows<L: Lanes, const FLOATS: bool, const ALONE: bool, const BY_GROUP: bool>(
    args: RescaleF32,
) {
    for row in 0..args.rows {
        // SAFETY: the caller's; columns are below `n`.
        unsafe {
            let row = Row {
                sums: args.sums.add(row * args.sums_stride),
                scale: (!BY_GROUP && !args.row_scales.is_null()).then(|| L::splat(*args.row_scales.add(row))),
                of_groups: if BY_GROUP { args.row_scales.add(row * args.groups) } else { args.row_scales },
                addend: (!args.addend.is_null()).then(|| args.addend.add(row * args.out_stride)),
                out: args.out.add(row * args.out_stride),
            };
            let whole = args.n - args.n % LANES;
            for i in (0..whole).step_by(LANES) {
                rescale_at::<L, FLOATS, ALONE, BY_GROUP, true>(&args, &row, i);
            }
            if whole < args.n {
                rescale_at::<L, FLOATS, ALONE, BY_GROUP, false>(&args, &row, whole);
            }
        }
    }
}

/// Where the values of a row start.
struct Row<L> {
    sums: *const i32,
    scale: Option<L>,
    /// The factors of groups.
    of_groups: *const f32,
    addend: Option<*const f32>,
    out: *mut f32,
}

/// The columns from `i` on, as many as there are lanes or, without `WHOLE`, are left. `ALONE` says that there is but
/// one group, which has its scales where it is of floats.
///
/// # Safety
/// The arguments describe live buffers, and the columns exist.
#[inline(always)]
unsafe fn rescale_at<
    L: Lanes,
    const FLOATS: bool,
    const ALONE: bool,
    const BY_GROUP: bool,
    const WHOLE: bool,
>(
    args: &RescaleF32,
    row: &Row<L>,
    i: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let n = args.n;
        let mut y = sums_at::<L, FLOATS, WHOLE>(row.sums, i, n);
        if !(FLOATS && ALONE) {
            y = y.mul(read::<L, WHOLE>(args.scales, i, n));
        }
        if BY_GROUP {
            y = y.mul(L::splat(*row.of_groups));
        }
        if !ALONE {
            for group in 1..args.groups {
                let scale = read::<L, WHOLE>(args.scales.add(group * args.scales_stride), i, n);
                let sums = sums_at::<L, FLOATS, WHOLE>(row.sums.add(group * args.group_stride), i, n);
                y = match BY_GROUP {
                    true => y.add_product(sums.mul(scale), L::splat(*row.of_groups.add(group))),
                    false => y.add_product(sums, scale),
                };
            }
        }
        if let Some(scale) = row.scale {
            y = y.mul(scale);
        }
        if !args.bias.is_null() {
            y = y.add(read::<L, WHOLE>(args.bias, i, n));
        }
        if let Some(addend) = row.addend {
            y = y.add(read::<L, WHOLE>(addend, i, n));
        }
        match WHOLE {
            true => y.store(row.out.add(i)),
            false => y.store_at(row.out, i, args.n),
        }
    }
}

/// The vector at `i` of `n` values, whole or cut short. A function and not a closure, which would not have the
/// instructions of the variant where it is not inlined.
///
/// # Safety
/// The values are readable.
#[inline(always)]
unsafe fn read<L: Lanes, const WHOLE: bool>(from: *const f32, i: usize, n: usize) -> L {
    // SAFETY: the caller's.
    unsafe {
        match WHOLE {
            true => L::load(from.add(i)),
            false => L::load_at(from, i, n, 0.0),
        }
    }
}

/// The same of sums, which are integers or floats.
///
/// # Safety
/// The sums are readable.
#[inline(always)]
unsafe fn sums_at<L: Lanes, const FLOATS: bool, const WHOLE: bool>(
    from: *const i32,
    i: usize,
    n: usize,
) -> L {
    // SAFETY: the caller's.
    unsafe {
        match (FLOATS, WHOLE) {
            (true, _) => read::<L, WHOLE>(from.cast(), i, n),
            (false, true) => L::load_i32(from.add(i)),
            (false, false) => L::load_i32_at(from, i, n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::testing::{for_each_variant, same};
    use core::ptr::null;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    proptest! {
        #[test]
        fn every_variant_is_the_equation(
            (rows, groups, n) in (1usize..4, 1usize..5, 1usize..70),
            seed in any::<u32>(),
            (floats, in_place) in any::<(bool, bool)>(),
            (scaled, biased, added, by_group) in any::<(bool, bool, bool, bool)>(),
        ) {
            let number = |i: usize| (seed.wrapping_add(i as u32).wrapping_mul(2_654_435_761) >> 8) as i32 - (1 << 23);
            let values = |len: usize, at: usize| -> Vec<f32> {
                (0..len).map(|i| number(i + at) as f32 / 4_194_304.0).collect()
            };
            let sums: Vec<i32> = (0..rows * groups * n).map(number).collect();
            let sums: Vec<i32> = match floats {
                true => sums.iter().map(|v| (*v as f32).to_bits() as i32).collect(),
                false => sums,
            };
            let (scales, row_scales) = (values(groups * n, 1), values(rows * groups, 2));
            let by_group = by_group && scaled;
            let (bias, addend) = (values(n, 3), values(rows * groups * n, 4));
            let stride = if in_place { groups * n } else { n };
            let sum = |i: usize| if floats { f32::from_bits(sums[i] as u32) } else { sums[i] as f32 };
            let expected = |row: usize, j: usize| {
                let of_group = |g: usize| {
                    let y = sum((row * groups + g) * n + j) * scales[g * n + j];
                    if by_group { y * row_scales[row * groups + g] } else { y }
                };
                let mut y = of_group(0);
                for g in 1..groups {
                    y += of_group(g);
                }
                let y = if scaled && !by_group { y * row_scales[row] } else { y };
                let y = if biased { y + bias[j] } else { y };
                if added { y + addend[row * stride + j] } else { y }
            };
            for_each_variant(VARIANTS, |v| {
                let mut work = sums.clone();
                let mut out = vec![f32::NAN; rows * n];
                let place = if in_place { work.as_mut_ptr().cast() } else { out.as_mut_ptr() };
                let given = |is: bool, values: &[f32]| if is { values.as_ptr() } else { null() };
                let args = RescaleF32 {
                    sums: work.as_mut_ptr(),
                    sums_stride: groups * n,
                    group_stride: n,
                    scales: scales.as_ptr(),
                    scales_stride: n,
                    row_scales: given(scaled, &row_scales),
                    bias: given(biased, &bias),
                    addend: given(added, &addend),
                    out: place,
                    out_stride: stride,
                    rows,
                    groups,
                    n,
                    floats: usize::from(floats),
                    group_scales: usize::from(by_group),
                };
                // SAFETY: the buffers have these sizes; only variants that run here are passed.
                unsafe { (v.entry())(&args) };
                for (row, j) in (0..rows).flat_map(|row| (0..n).map(move |j| (row, j))) {
                    let got = match in_place {
                        true => f32::from_bits(work[row * stride + j] as u32),
                        false => out[row * stride + j],
                    };
                    assert!(same(got, expected(row, j)), "{}: {got} {}", v.name(), expected(row, j));
                }
            });
        }
    }
}
