//! What an object that C programs link has to bring along where there is no standard library.
#![allow(unsafe_code)]

use core::panic::PanicInfo;

use crate::Features;

/// Entry points never panic; this satisfies the linker.
#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// The features of a set, as [`Features::bits`] gives it, that this machine lacks.
#[unsafe(no_mangle)]
pub extern "C" fn trine_cpu_lacks(needs: u64) -> u64 {
    needs & !u64::from(Features::detect().bits())
}
