//! The messages of a file, as `prost` makes them of `proto/plan.proto`, which says what they mean.
//!
//! `tests/proto.rs` makes them again and compares.

#![allow(clippy::all, missing_docs)]

include!("proto/trine.rs");
