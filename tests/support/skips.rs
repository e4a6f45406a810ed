//! What is not tested is counted: `tests/what_was_skipped.rs` prints it after all other tests, for cargo hides what those
//! that pass print, and `.ci/run` fails where more is skipped than `.ci/skips` names.

use std::fs::{OpenOptions, create_dir_all};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Records that `what` is not tested, and why. A line each, `what: why`.
pub fn skip(what: &str, why: &str) {
    let (record, line) = (record(), format!("{what}: {why}\n"));
    create_dir_all(record.parent().expect("a file in a folder")).expect("there can be a folder of skips");
    let file = OpenOptions::new().create(true).append(true).open(&record);
    file.and_then(|mut f| f.write_all(line.as_bytes()))
        .unwrap_or_else(|e| panic!("{}: {e}", record.display()));
}

/// The record of one `cargo test`: all its tests have one parent.
fn record() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("skipped")
        .join(std::os::unix::process::parent_id().to_string())
}
