//! The messages of an ONNX file, as `prost` makes them of ONNX's own `onnx.proto`.
//!
//! `proto/onnx.rs` is generated without comments, and with `bytes` fields as `Bytes`, so that the weights of
//! a model are slices of its mapped file. `tests/proto.rs` makes it again and compares.

#![allow(clippy::all, missing_docs)]

include!("proto/onnx.rs");
