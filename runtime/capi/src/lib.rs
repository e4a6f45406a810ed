//! The runtime for C: what `include/trine.h` declares, which says what each function does.
//!
//! A handle is a box, and a pointer that may be NULL is an `Option`: C's promise that the others are valid is all that is
//! taken on trust. Each function catches panics (`status.rs`), which must not cross into C; where the crate is built with
//! `panic = "abort"`, one ends the process.
#![allow(unsafe_code)]

mod arguments;
mod elem;
mod model;
mod session;
mod states;
mod status;
#[cfg(test)]
mod tests;

use std::ffi::c_char;

/// Of functions and structures. It changes where a program that was built before would break.
const ABI_VERSION: u32 = 1;

#[unsafe(no_mangle)]
pub extern "C" fn trine_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_abi_version() -> u32 {
    ABI_VERSION
}
