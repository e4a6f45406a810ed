//! The oracles: the equation itself, on codes where the layouts have them.

use crate::Layout;
use crate::contract_i8::ContractI8;

/// # Safety
/// The arguments describe live buffers, as [`ContractI8`] says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_dot_i8_scalar_8bit_32(args: *const ContractI8) {
    // SAFETY: the caller's.
    unsafe { contract(&*args, Layout::EightBit32, |step, i| i32::from(step[i]) - 128) }
}

/// # Safety
/// The arguments describe live buffers, as [`ContractI8`] says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_dot_i8_scalar_4bit_32(args: *const ContractI8) {
    let weight = |step: &[u8], i: usize| i32::from(step[i % 4] >> (4 * (i / 4)) & 0x0f) - 8;
    // SAFETY: the caller's.
    unsafe { contract(&*args, Layout::FourBit32, weight) }
}

/// `weight` gives the weight of input `i` of a step from an output's four bytes of it.
///
/// # Safety
/// The arguments describe live buffers of the layout.
#[inline(always)]
unsafe fn contract(args: &ContractI8, layout: Layout, weight: impl Fn(&[u8], usize) -> i32) {
    for tile in args.tile_begin..args.tile_end {
        for group in 0..args.groups {
            let cell = args.cell(layout, tile, group);
            for row in 0..args.rows {
                let at = args.at_row(&cell, row);
                // SAFETY: the caller's; every index stays inside the sizes that the arguments give.
                unsafe {
                    let weights = core::slice::from_raw_parts(cell.weights, cell.steps * layout.step_bytes());
                    let x = core::slice::from_raw_parts(at.x, args.group_k);
                    let steps =
                        || weights.chunks_exact(layout.step_bytes()).zip(x.chunks_exact(layout.k_step()));
                    for output in 0..layout.tile() {
                        let products = steps().flat_map(|(step, x)| {
                            let step = &step[4 * output..][..4];
                            let weight = &weight;
                            x.iter().enumerate().map(move |(i, &x)| weight(step, i) * i32::from(x))
                        });
                        *at.out.add(output) = products.fold(0, i32::wrapping_add);
                    }
                }
            }
        }
    }
}
