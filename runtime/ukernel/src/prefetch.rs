//! Asking for memory ahead of its use, for code generators that have no instruction for it.
//!
//! Unlike the other functions it changes no register, so that a loop may call it with its sums where they are.
#![allow(unsafe_code)]

/// Bytes that a call asks for, from the line of its address on.
pub const BYTES: usize = 128;

/// The exported name, where the instruction set has such an instruction.
pub const SYMBOL: &str = "trine_prefetch";

/// The name and the address of the function, `fn(*const u8)` of any address, in the C calling convention but for
/// what a call may change.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub const SYMBOLS: &[(&str, *const u8)] = &[(SYMBOL, trine_prefetch as *const u8)];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub const SYMBOLS: &[(&str, *const u8)] = &[];

// SAFETY: no other function of a program that links this has the name; the code only asks for memory, which no
// address makes fail.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn trine_prefetch(address: *const u8) {
    core::arch::naked_asm!("prefetcht0 [rdi]", "prefetcht0 [rdi + 64]", "ret")
}

// SAFETY: as above.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn trine_prefetch(address: *const u8) {
    core::arch::naked_asm!("prfm pldl1keep, [x0]", "prfm pldl1keep, [x0, #64]", "ret")
}
