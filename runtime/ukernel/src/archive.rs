//! What an archive that C programs link has to bring along where there is no standard library.
//!
//! `cargo rustc -p trine-ukernel --lib --release --crate-type staticlib -- --cfg trine_archive -C panic=abort`
//! makes it.

use core::panic::PanicInfo;

/// Entry points never panic; this satisfies the linker.
#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
