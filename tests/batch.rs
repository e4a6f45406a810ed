//! `examples/batch`: two workers of Ray Data score what one process does, on weights that are the same memory.
//!
//! Ray is installed once, in `target/venv-batch`, and the package again for each run.

use std::path::PathBuf;

use crate::outside;
use crate::wheel::{Environment, installed};

#[test]
fn two_workers_score_as_one_process_does() {
    if !outside::asked("examples/batch, which scores a Parquet dataset with Ray Data") {
        return;
    }
    // One build of the package comes after the other.
    installed();
    let environment = environment();
    environment.pip(&["--force-reinstall", "--no-deps", "./compiler/python"]);
    // What Ray writes goes when the test does; the names of its sockets must be short.
    let scratch = tempfile::tempdir().unwrap();
    let mut python = environment.python();
    python.current_dir(outside::root().join("examples/batch")).env("RAY_TMPDIR", scratch.path());
    python.env("RAY_USAGE_STATS_ENABLED", "0").env("RAY_AUTH_MODE", "disabled");
    let output = outside::success(python.args(["-m", "unittest", "--verbose"]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("\nRan 3 tests "), "{said}");
    let told = String::from_utf8_lossy(&output.stdout);
    told.lines().filter(|line| line.starts_with("worker ")).for_each(|line| println!("{line}"));
}

/// The environment that has Ray.
fn environment() -> Environment {
    let mut python = outside::python();
    python.env("PYTHONPATH", outside::root().join("tests/python"));
    let requirements = outside::root().join("examples/batch/requirements.txt");
    let print = "import env, sys; print(env.interpreter('venv-batch', sys.argv[1]))";
    let said = outside::success(python.args(["-c", print]).arg(requirements)).stdout;
    let interpreter = PathBuf::from(String::from_utf8(said).unwrap().trim());
    Environment(interpreter.ancestors().nth(2).expect("it lies in `bin`").into())
}
