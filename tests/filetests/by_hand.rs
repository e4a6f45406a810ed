//! What a lossy pass rounds, rounded by hand: `tests/ir/by_hand/NAME.ir` is the module of `tests/ir/passes/NAME.ir` with the
//! rounding written out in ordinary ops. Both give the same bits, which no tolerance could ask for: zeros are within any that
//! rounding needs.
//!
//! `// passes:` at its head names passes to run on it, each of which has such a module of its own.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Failed;
use trine::pass::{Driver, Exactness, Pipeline, Step};
use trine::passes::PASSES;
use trine_ir::{Module, verify};

use crate::{Input, compare};

/// Compares with the module by hand, function by function.
pub fn same_rounding(input: &Input, after: &Module) -> Result<(), Failed> {
    let path = folder().join(format!("{}.ir", input.name));
    let text = fs::read_to_string(&path).map_err(|e| {
        format!("{}: {e}: rounding is to be written out there in ordinary ops", path.display())
    })?;
    let mut hand = input.parse(&text)?;
    verify(&hand)?;
    if let Some(pipeline) = passes(&text) {
        Driver::new().run(&pipeline.parse::<Pipeline>()?, &mut hand)?;
    }
    compare::same_meaning(&hand, after, Exactness::Exact, Some(0.0))
}

/// Every lossy pass runs in some test of `passes/` that has a module by hand.
pub fn every_lossy_pass_has_one() -> Result<(), Failed> {
    let mut covered = vec![];
    for entry in fs::read_dir(folder())?.flatten() {
        let tested = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ir/passes").join(entry.file_name());
        let text = fs::read_to_string(&tested).map_err(|e| format!("{}: {e}", tested.display()))?;
        let pipeline: Pipeline = passes(&text).ok_or("no `// passes:` at the head")?.parse()?;
        let own = fs::read_to_string(entry.path())?;
        let left: Pipeline = passes(&own).unwrap_or_default().parse()?;
        // What runs on both is compared with itself.
        let is_left =
            |step: &Step| left.0.iter().any(|l| l.pass.name == step.pass.name && l.options == step.options);
        covered.extend(pipeline.0.iter().filter(|step| !is_left(step)).map(|step| step.pass.name));
    }
    let lossy = PASSES.iter().filter(|pass| pass.exactness == Exactness::Lossy);
    let missing: Vec<_> = lossy.map(|pass| pass.name).filter(|name| !covered.contains(name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("not rounded by hand: {missing:?}").into()) }
}

fn passes(text: &str) -> Option<&str> {
    text.lines()
        .map_while(|l| l.strip_prefix("//"))
        .find_map(|l| l.trim().strip_prefix("passes:"))
        .map(str::trim)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ir/by_hand")
}
