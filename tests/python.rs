//! `tests/comparison`: the tests that its table of systems names are in the tree, and its tables say what figures do.
//!
//! The figures themselves are `python3 tests/comparison/run.py`'s; this runs its unit tests, in an environment that is
//! made once under `target/`. `TRINE_OFFLINE=1` skips them, aloud, where there is none yet.

use std::path::Path;
use std::process::Command;

#[test]
fn what_the_comparison_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let offline = std::env::var_os("TRINE_OFFLINE").is_some_and(|v| v == "1");
    if offline && !root.join("target/venv/.stamp").exists() {
        eprintln!("SKIPPED: target/venv is not made yet and TRINE_OFFLINE=1 is set");
        return;
    }
    let output = Command::new("python3")
        .current_dir(root)
        .env("PYTHONPATH", root.join("tests/python"))
        .args(["tests/python/env.py", "-m", "unittest", "discover", "tests/comparison"])
        .output()
        .expect("`python3` runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "tests/comparison failed (TRINE_OFFLINE=1 skips what needs it):\n{error}"
    );
}
