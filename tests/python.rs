//! The Python that measures and makes models, tested by its own unit tests: that peers compute what they are measured at,
//! that every spelling of a decoder is the same function, and that the tables of `tests/comparison` say what figures do
//! and name tests that are in the tree.
//!
//! They run in an environment that is made once under `target/`.

use crate::{outside, skips};

#[test]
fn what_the_comparison_names_is_there() {
    passes("tests/comparison");
}

#[test]
fn peers_compute_what_they_are_measured_at() {
    passes("tests/peers");
}

#[test]
fn every_spelling_of_a_decoder_is_the_same_function() {
    passes("tests/python");
}

/// Runs the unit tests of a folder; those that are skipped are counted.
fn passes(folder: &str) {
    if !outside::asked(&format!("the Python of {folder}")) {
        return;
    }
    let output =
        outside::success(outside::python().env("PYTHONPATH", outside::root().join("tests/python")).args([
            "tests/python/env.py",
            "-m",
            "unittest",
            "discover",
            "--verbose",
            folder,
        ]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("\nRan ") && !said.contains("\nRan 0 "), "{folder} has no tests:\n{said}");
    // `test_name (module.Class.test_name) ... skipped 'why'`
    for (test, why) in said.lines().filter_map(|line| line.split_once(" ... skipped ")) {
        let name = test.split(' ').next().unwrap_or(test);
        skips::skip(&format!("{folder} {name}"), why.trim_matches('\''));
    }
}
