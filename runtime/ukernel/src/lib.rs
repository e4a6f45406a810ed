#![no_std]
//! Microkernels: the wide contractions and the reductions that generated drivers call.
//!
//! A kernel is defined once, by the equation at the head of its module and the argument structure
//! there; it exists in several **variants**, one an instruction set (and packed layout). All variants
//! of a kernel give **the same bits** (any NaN counts as equal to any other), and the scalar one is
//! their oracle. That holds because sums of integers are exact, sums of floats are in an order that
//! the module states, and a multiplication is fused with an addition in all variants or in none.
//!
//! An entry point is `unsafe extern "C" fn(*const Args)`, exported as `trine_` + the name of its
//! variant, so that code generators call it through a symbol. It never panics and never allocates.
//! Pointers in arguments need no alignment beyond that of their element. Each module lists its
//! variants in a table, the preferred one first: [`best`] picks, [`by_name`] obeys, [`symbols`]
//! lists all for a linker.

#[cfg(test)]
extern crate std;
#[cfg(trine_archive)]
mod archive;

pub mod attention;
pub mod call;
pub mod contract_i8;
mod cpu;
pub mod dot;
pub mod dot_i8;
pub mod exp;
pub mod gemv;
mod lanes;
mod layout;
pub mod matmul;
#[cfg(target_arch = "aarch64")]
mod neon;
pub mod pad;
pub mod prefetch;
pub mod quantize;
pub mod rescale;
pub mod rms_norm;
pub mod scaled_i8;
pub mod signsum_f32;
pub mod signsum_i8;
pub mod silu;
pub mod softmax;
pub mod trig;
mod variant;
pub mod widen;

pub use cpu::{Features, second_cache};
pub use layout::{Geometry, Layout, LayoutError};
pub use variant::{Entry, Listed, Variant, all, best, by_name, by_symbol, oracle, symbols};
