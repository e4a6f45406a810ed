//! Random graphs: imported, optimised, compiled, and compared with what the interpreter makes of them.
//!
//! `cargo test --test graphs` tries a fixed list of seeds. `TRINE_GRAPHS=4000..` tries one seed after the other for
//! ever, `TRINE_GRAPHS=4000..5000` a range, `TRINE_GRAPHS=4711` one; a seed that fails is made small and printed as
//! IR. With `TRINE_GRAPHS_OUT=FOLDER` the models of a range are written with inputs and outputs, every value among
//! them, for `tests/peers/graphs.py`, which asks onnxruntime.
//!
//! Data is moderate; with `TRINE_GRAPHS_SPECIAL=1` some is NaN, infinite or huge.
//!
//! Graphs run in processes of their own, each of which says which seed is next: one that takes its process down, or
//! never ends, is known by it.

#[path = "support/caught.rs"]
mod caught;
#[path = "graphs/child.rs"]
mod child;
#[path = "graphs/dump.rs"]
mod dump;
#[path = "graphs/mod.rs"]
mod graphs;
#[path = "graphs/parent.rs"]
mod parent;
#[path = "graphs/shrink.rs"]
mod shrink;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use graphs::choices::Choices;
use libtest_mimic::{Arguments, Failed, Trial};
use parent::{CHILD, EXPLAIN, SEEDS, TRY, Tally};
use trine::import::proto::GraphProto;

/// The names that `trine list onnx` goes through.
const LISTED: &str = include_str!("../compiler/cli/src/list/onnx.rs");

/// Ops that other ones took the place of in all opsets that are tried.
const OLD: &[&str] = &["Scatter", "Upsample"];

/// Seeds that are always tried.
const COUNT: u64 = 2000;

/// Seeds that one trial takes.
const BATCH: u64 = 250;

/// Failures of a trial that are made small, which takes time.
const EXPLAINED: usize = 3;

fn main() {
    let variable = |name| std::env::var(name).ok();
    if let Some(range) = variable(CHILD) {
        let (first, end) = range_of(&range).expect("a range of seeds");
        child::run(first, end);
    } else if let Some(seed) = variable(EXPLAIN) {
        let (seed, crashes) = seed.split_once(' ').map_or((seed.as_str(), false), |(seed, _)| (seed, true));
        child::explain(seed.parse().expect("a seed"), crashes);
    } else if let Some(folder) = variable(TRY) {
        child::try_folder(Path::new(&folder));
    } else if let Some(range) = variable(SEEDS) {
        on_request(&range);
    } else {
        as_tests();
    }
}

/// `first..end`, `first..` or one seed.
fn range_of(text: &str) -> Option<(u64, u64)> {
    match text.split_once("..") {
        Some((first, "")) => Some((first.parse().ok()?, u64::MAX)),
        Some((first, end)) => Some((first.parse().ok()?, end.parse().ok()?)),
        None => text.parse().ok().map(|seed: u64| (seed, seed + 1)),
    }
}

fn on_request(range: &str) {
    let Some((mut first, end)) = range_of(range) else {
        eprintln!("`{SEEDS}` is a seed, FIRST..END or FIRST.., not `{range}`");
        std::process::exit(2);
    };
    let mut all = Tally::default();
    while first < end {
        let last = end.min(first.saturating_add(1000));
        let explain = |f: &parent::Failure| println!("{}\n", parent::explanation(f));
        match parent::run(first, last, explain) {
            Ok(tally) => all.add(tally),
            Err(message) => {
                eprintln!("{message}");
                std::process::exit(1);
            }
        }
        println!("to seed {last}: {}", all.summary(12));
        first = last;
    }
    std::process::exit(i32::from(!all.failed.is_empty()));
}

fn as_tests() {
    let all = Arc::new(Mutex::new(Tally::default()));
    let trial = |first: u64| {
        let all = all.clone();
        Trial::test(format!("seeds/{first}"), move || {
            let tally = parent::run(first, first + BATCH, |_| ())?;
            let failed = tally.failed.clone();
            all.lock().expect("no panic holds it").add(tally);
            if failed.is_empty() {
                return Ok(());
            }
            let explained: Vec<String> = failed.iter().take(EXPLAINED).map(parent::explanation).collect();
            let seeds: Vec<String> = failed.iter().map(|f| f.seed.to_string()).collect();
            Err(Failed::from(format!("seeds {} fail\n{}", seeds.join(", "), explained.join("\n"))))
        })
    };
    let mut trials: Vec<Trial> = (0..COUNT / BATCH).map(|i| trial(i * BATCH)).collect();
    trials.push(Trial::test("every_op", || Ok(every_op()?)));
    trials.push(Trial::test("decisions", || Ok(decisions()?)));
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    println!("{}", all.lock().expect("no panic holds it").summary(5));
    conclusion.exit();
}

/// Each op that can be imported is in some graph of those that are always tried.
fn every_op() -> Result<(), String> {
    let quoted = LISTED.split('"').skip(1).step_by(2);
    let wanted = quoted.filter(|name| name.starts_with(char::is_uppercase));
    let mut missing: BTreeSet<(&str, String)> = BTreeSet::new();
    for op in wanted {
        let domains = ["", "com.microsoft"].into_iter().filter(|domain| trine::import::supports(domain, op));
        missing.extend(domains.map(|domain| (domain, op.to_string())));
    }
    for seed in 0..COUNT {
        let Some(case) = child::graph(seed, usize::MAX, false) else { continue };
        let mut graphs: Vec<GraphProto> = case.0.model.graph.into_iter().collect();
        while let Some(graph) = graphs.pop() {
            for node in graph.node {
                missing.retain(|(domain, op)| *domain != node.domain() || op != node.op_type());
                graphs.extend(node.attribute.into_iter().filter_map(|a| a.g));
            }
        }
    }
    missing.retain(|(_, op)| !OLD.contains(&op.as_str()));
    if missing.is_empty() { Ok(()) } else { Err(format!("no graph has {missing:?}")) }
}

/// A seed and bytes give the same graph each time, and other bytes another.
fn decisions() -> Result<(), String> {
    let of =
        |bytes: &[u8]| graphs::generate(&mut Choices::of_bytes(bytes), usize::MAX, false).map(|c| c.model);
    let of_seed = |seed| graphs::generate(&mut Choices::of_seed(seed), usize::MAX, false).map(|c| c.model);
    let (a, b): (Vec<u8>, Vec<u8>) = ((0..90).collect(), (0..90).rev().collect());
    match of(&a) == of(&a) && of(&a) != of(&b) && of_seed(3) == of_seed(3) {
        true => Ok(()),
        false => Err("decisions do not say what the graph is".into()),
    }
}
