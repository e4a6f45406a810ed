//! What needs more than Rust and a linker: a network, Python, a C compiler, an emulator, rustfmt. Such a test runs where
//! `TRINE_OUTSIDE=1` is set, and whatever it lacks is a failure then. Else it is left out, even where all it needs is
//! there, so that `cargo test` is the same everywhere; `tests/what_was_skipped.rs` says what was left out.
//!
//! It is not a feature of a package, which would be one of `trine` too, whose tests need C and Python: cargo would build
//! the compiler and all that depends on it once more.

use std::ffi::OsStr;
use std::fs::{OpenOptions, create_dir_all};
use std::io::Write;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::process::{Command, Output};

/// Whether `what`, a test or a part of one, is to run. What is not is counted.
pub fn asked(what: &str) -> bool {
    let asked = is_set();
    if !asked {
        println!("left out: {what}; TRINE_OUTSIDE=1 runs it");
        record("left-out", what);
    }
    asked
}

/// A program of this machine, which nothing starts that has not asked.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let name = name.as_ref();
    assert!(is_set(), "`{}` is for tests that are `outside::asked`", name.display());
    Command::new(name)
}

/// Python, in the root of the tree.
pub fn python() -> Command {
    let mut python = program("python3");
    python.current_dir(root());
    python
}

/// What a program gave, which was to succeed.
pub fn success(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{command:?} failed:\n{}\n{}", said[0], said[1]);
    output
}

/// The root of the tree, from any package of it.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    root.expect("a package is in the workspace")
}

/// Keeps a line for `tests/what_was_skipped.rs`, which prints it after all other tests: cargo hides what those that pass
/// print. All tests of one `cargo test` have one parent.
pub fn record(kind: &str, line: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(kind);
    create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let path = folder.join(parent_id().to_string());
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut f| f.write_all(format!("{line}\n").as_bytes()))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn is_set() -> bool {
    std::env::var_os("TRINE_OUTSIDE").is_some_and(|v| v == "1")
}
