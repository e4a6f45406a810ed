//! The oracle: the defined order itself, on unpacked trits. Prepared activations are padded copies.

use super::{PrepareF32, SignSumF32};
use crate::Layout;

const LAYOUT: Layout = Layout::Trits;

/// # Safety
/// The arguments describe live buffers, as [`SignSumF32`] says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_signsum_f32_scalar_trits(args: *const SignSumF32) {
    // SAFETY: the caller's; every index stays inside the sizes that the arguments give.
    unsafe {
        let args = &*args;
        for tile in args.tile_begin..args.tile_end {
            for group in 0..args.groups {
                let weights = args.weights_at(LAYOUT, tile, group).cast::<i8>();
                let trits = core::slice::from_raw_parts(weights, args.group_k);
                for row in 0..args.rows {
                    let x = args.prepared_at(LAYOUT, row, group);
                    let x = core::slice::from_raw_parts(x, args.group_k);
                    *args.out_at(LAYOUT, row, group, tile) = sum(trits, x);
                }
            }
        }
    }
}

fn sum(trits: &[i8], x: &[f32]) -> f32 {
    let (t3, t_rest) = trits.as_chunks::<3>();
    let (x3, x_rest) = x.as_chunks::<3>();
    let mut acc = 0.0;
    for (t, x) in t3.iter().zip(x3) {
        let [p0, p1, p2] = [0, 1, 2].map(|i| f32::from(t[i]) * x[i]);
        acc += (p0 + p1) + p2;
    }
    let mut last = [0.0; 3];
    for (product, (&t, &x)) in last.iter_mut().zip(t_rest.iter().zip(x_rest)) {
        *product = f32::from(t) * x;
    }
    acc + ((last[0] + last[1]) + last[2])
}

/// # Safety
/// The arguments describe live buffers, as [`PrepareF32`] says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_prepare_f32_scalar_trits(args: *const PrepareF32) {
    // SAFETY: the caller's; a step of this layout is one value.
    unsafe { (*args).for_each_step::<1>(LAYOUT, |&[x], to| *to = x) }
}
