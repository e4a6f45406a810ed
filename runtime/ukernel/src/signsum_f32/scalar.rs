//! The oracle: the defined order itself, on unpacked trits.

use super::SignSumF32;
use crate::Layout;

/// # Safety
/// The arguments describe live buffers, as [`SignSumF32`] says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_signsum_f32_scalar_trits(args: *const SignSumF32) {
    // SAFETY: the caller's; every index stays inside the sizes that the arguments give.
    unsafe {
        let args = &*args;
        for tile in args.tile_begin..args.tile_end {
            for group in 0..args.groups {
                let weights = args.weights.add((tile * args.groups + group) * args.group_k).cast::<i8>();
                let trits = core::slice::from_raw_parts(weights, args.group_k);
                for row in 0..args.rows {
                    let x = core::slice::from_raw_parts(args.x.add(row * args.x_stride), args.k);
                    let x = x.chunks(args.group.max(1)).nth(group).unwrap_or(&[]);
                    let cell = row * args.groups + group;
                    *args.out.add(cell * args.n_padded + tile * Layout::Trits.tile()) = sum(trits, x);
                }
            }
        }
    }
}

/// The sum of a group, whose trits after its inputs are padding.
fn sum(trits: &[i8], x: &[f32]) -> f32 {
    let mut acc = 0.0;
    for (t, x) in trits.chunks(3).zip(x.chunks(3)) {
        let mut products = [0.0; 3];
        for (product, (&t, &x)) in products.iter_mut().zip(t.iter().zip(x)) {
            *product = f32::from(t) * x;
        }
        acc += (products[0] + products[1]) + products[2];
    }
    acc
}
