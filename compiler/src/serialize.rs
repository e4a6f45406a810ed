//! How reports serialize what has no form of its own for data.

use std::fmt::Display;
use std::time::Duration;

use serde::Serializer;

/// As it prints.
pub fn as_text<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

pub fn as_seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}
