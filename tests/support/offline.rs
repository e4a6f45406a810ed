//! `TRINE_OFFLINE=1` says that there is no network. What needs it and is not there yet is skipped, and counted.

use std::path::Path;

use crate::skips;

pub fn is_set() -> bool {
    std::env::var_os("TRINE_OFFLINE").is_some_and(|v| v == "1")
}

/// Whether `what` cannot be tested for lack of a network: `made`, which is made once, is not there yet.
pub fn lacks(what: &str, made: &Path) -> bool {
    let lacks = is_set() && !made.exists();
    if lacks {
        skips::skip(what, &format!("`{}` is not made yet and TRINE_OFFLINE=1 is set", made.display()));
    }
    lacks
}
