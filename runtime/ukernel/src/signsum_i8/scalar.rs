//! The oracle: the equation itself, on unpacked trits.

use crate::Layout;
use crate::contract_i8::ContractI8;

/// # Safety
/// The arguments describe live buffers, as [`ContractI8`] says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_signsum_i8_scalar_trits(args: *const ContractI8) {
    // SAFETY: the caller's; every index stays inside the sizes that the arguments give.
    unsafe {
        let args = &*args;
        for tile in args.tile_begin..args.tile_end {
            for group in 0..args.groups {
                let cell = args.cell(Layout::Trits, tile, group);
                let trits = core::slice::from_raw_parts(cell.weights.cast::<i8>(), cell.steps);
                for row in 0..args.rows {
                    let at = args.at_row(&cell, row);
                    let x = core::slice::from_raw_parts(at.x, cell.steps);
                    let products = trits.iter().zip(x);
                    *at.out = products.map(|(&t, &x)| i32::from(t) * i32::from(x)).sum();
                }
            }
        }
    }
}
