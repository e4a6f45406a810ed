//! How many cases run compiled, partly compiled and interpreted. The counts are pinned, so that what falls back to the
//! interpreter unnoticed fails, and what gets a kernel is told; the README states them.

use std::collections::BTreeMap;
use std::path::Path;

use trine::Program;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/onnx/coverage.txt");
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// What runs the steps of a program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Coverage {
    /// Kernels alone, or nothing: all was known when the model was compiled.
    Compiled,
    Partly,
    Interpreted,
}

impl Coverage {
    const ALL: [Coverage; 3] = [Coverage::Compiled, Coverage::Partly, Coverage::Interpreted];

    pub fn of(program: &Program) -> Coverage {
        match program.step_counts() {
            (_, 0) => Coverage::Compiled,
            (0, _) => Coverage::Interpreted,
            _ => Coverage::Partly,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Coverage::Compiled => "compiled",
            Coverage::Partly => "partly compiled",
            Coverage::Interpreted => "interpreted",
        }
    }
}

/// A line for each way to run, with how many cases run so.
fn counts(found: &BTreeMap<String, Coverage>) -> String {
    let of = |way: Coverage| found.values().filter(|c| **c == way).count();
    let lines = Coverage::ALL.map(|way| format!("{}: {}\n", way.name(), of(way)));
    format!(
        "# How many cases run how, in mode `jit`. `BLESS=1 cargo test --test onnx` writes this file, `REPORT=1` prints which.\n{}",
        lines.concat()
    )
}

/// The README's words for it, in whole per cent.
fn sentence(found: &BTreeMap<String, Coverage>, cases: usize) -> String {
    let of = |way: Coverage| found.values().filter(|c| **c == way).count();
    let [compiled, partly, interpreted] =
        Coverage::ALL.map(|way| (100.0 * of(way) as f64 / found.len() as f64).round());
    format!(
        "{} of {cases} pass; {compiled} % run compiled, {partly} % partly, {interpreted} % interpreted",
        found.len()
    )
}

/// What differs from what is pinned. `cases`: all that there are, whether or not they are to pass.
pub fn check(found: &BTreeMap<String, Coverage>, cases: usize) -> Result<(), String> {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let (now, pinned) = (counts(found), read(PATH));
    if now != pinned {
        return Err(format!("{PATH} says\n{pinned}and now it is\n{now}(BLESS=1 writes it)"));
    }
    let sentence = sentence(found, cases);
    if read(README).contains(&sentence) {
        Ok(())
    } else {
        Err(format!("README.md does not say `{sentence}`"))
    }
}

pub fn write(found: &BTreeMap<String, Coverage>) {
    std::fs::write(PATH, counts(found)).expect("the counts can be written");
}

/// Which cases run how.
pub fn report(found: &BTreeMap<String, Coverage>) {
    for way in Coverage::ALL {
        let names: Vec<_> = found.iter().filter(|(_, c)| **c == way).map(|(name, _)| name).collect();
        println!("{} × {}", names.len(), way.name());
        names.iter().for_each(|name| println!("    {name}"));
    }
}
