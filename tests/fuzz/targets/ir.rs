//! A target of cargo-fuzz: see `../entry.rs`.

#![no_main]

#[path = "../modules.rs"]
mod modules;

use modules::{entry, feed, graphs, sections};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::ir(bytes));
