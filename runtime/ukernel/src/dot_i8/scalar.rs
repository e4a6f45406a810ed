//! The oracle: the equation itself, on bytes where the layout has them.

use crate::Layout;
use crate::contract_i8::ContractI8;

const LAYOUT: Layout = Layout::EightBit32;

/// # Safety
/// The arguments describe live buffers, as [`ContractI8`] says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_dot_i8_scalar_8bit_32(args: *const ContractI8) {
    // SAFETY: the caller's; every index stays inside the sizes that the arguments give.
    unsafe {
        let args = &*args;
        for tile in args.tile_begin..args.tile_end {
            for group in 0..args.groups {
                let cell = args.cell(LAYOUT, tile, group);
                let weights = core::slice::from_raw_parts(cell.weights, cell.steps * LAYOUT.step_bytes());
                for row in 0..args.rows {
                    let at = args.at_row(&cell, row);
                    let x = core::slice::from_raw_parts(at.x, args.group_k);
                    for output in 0..LAYOUT.tile() {
                        let steps = weights.as_chunks::<{ LAYOUT.step_bytes() }>().0;
                        let weights = steps.iter().flat_map(|step| &step[4 * output..][..4]);
                        let products = weights.zip(x).map(|(&w, &x)| (i32::from(w) - 128) * i32::from(x));
                        *at.out.add(output) = products.fold(0, i32::wrapping_add);
                    }
                }
            }
        }
    }
}
