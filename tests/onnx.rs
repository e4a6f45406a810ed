//! ONNX's own backend tests: each model runs on its inputs and must give its outputs, in several modes.
//!
//! `cargo test --test onnx -- FILTER` runs those whose name (`node/test_abs text`) contains FILTER. What is not
//! expected to pass stands in `onnx/manifest.txt`; a test fails if it does worse than that, and if it does better.
//! `BLESS=1` writes the manifest anew. `REPORT=1` prints all failures, expected or not, by message.
//!
//! Cases of one node are also run `damaged`: whatever is wrong with them, there are results or an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};

#[path = "onnx/case.rs"]
mod case;
#[path = "support/caught.rs"]
mod caught;
#[path = "onnx/compare.rs"]
mod compare;
#[path = "support/damage.rs"]
mod damage;
#[path = "support/feed.rs"]
mod feed;
#[path = "support/fetch.rs"]
mod fetch;
#[path = "onnx/manifest.rs"]
mod manifest;
#[path = "onnx/mode.rs"]
mod mode;

use caught::caught;
use manifest::Manifest;
use mode::Mode;
use trine::import::proto::{ModelProto, TypeProto, type_proto};

/// Every case that Trine is to pass, one a line.
const CASES: &str = include_str!("onnx/cases.txt");

/// How runs went: nothing, or why not, by name.
type Outcomes = Arc<Mutex<BTreeMap<String, Option<String>>>>;

fn main() {
    let arguments = Arguments::from_args();
    let data = match fetch::unpacked("onnx", "1.22.0", "onnx/backend/test/data") {
        Ok(Some(folder)) => folder.join("onnx/backend/test/data"),
        Ok(None) => return,
        Err(message) => {
            eprintln!("{message}");
            std::process::exit(1);
        }
    };
    let manifest = Arc::new(Manifest::load());
    let outcomes = Outcomes::default();
    let bless = std::env::var_os("BLESS").is_some_and(|v| v == "1");
    let trials = CASES.lines().flat_map(|case| Mode::ALL.map(|mode| (case, mode))).map(|(case, mode)| {
        let name = format!("{case} {}", mode.name());
        let (manifest, outcomes, data) = (manifest.clone(), outcomes.clone(), data.clone());
        Trial::test(name.clone(), move || {
            let outcome = run(&data, case, mode).err();
            outcomes.lock().expect("no panic holds it").insert(name.clone(), outcome.clone());
            match (outcome, manifest.reason(&name)) {
                _ if bless => Ok(()),
                (None, None) | (Some(_), Some(_)) => Ok(()),
                (Some(message), None) => Err(Failed::from(message)),
                (None, Some(reason)) => {
                    Err(Failed::from(format!("passes, but the manifest says `{reason}`: run with BLESS=1")))
                }
            }
        })
    });
    let damaged = distinct(&data).into_iter().map(|case| {
        let data = data.clone();
        Trial::test(format!("{case} damaged"), move || Ok(run_damaged(&data, case)?))
    });
    let trials = trials.chain(damaged).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let outcomes = outcomes.lock().expect("no panic holds it");
    if bless {
        manifest.write(&outcomes, CASES);
    }
    if std::env::var_os("REPORT").is_some_and(|v| v == "1") {
        report(&outcomes);
    }
    summarise(&outcomes);
    conclusion.exit();
}

/// Runs a case in a mode. A panic is a failure of the case.
fn run(data: &Path, case: &str, mode: Mode) -> Result<(), String> {
    caught(|| {
        let case = case::load(data, case)?;
        mode.run(&case)
    })
}

/// Cases of one node: one for each operator with its attributes and the ranks of its inputs.
fn distinct(data: &Path) -> Vec<&'static str> {
    let mut seen = BTreeSet::new();
    let is_new = |case: &&str| {
        let Ok(ModelProto { graph: Some(graph), .. }) = case::model(data, case) else { return false };
        let [node] = graph.node.as_slice() else { return false };
        let mut attributes: Vec<String> = node.attribute.iter().map(|a| a.name().into()).collect();
        attributes.sort();
        let ranks: Vec<_> = graph.input.iter().map(|i| rank(i.r#type.as_ref())).collect();
        seen.insert((node.op_type().to_string(), attributes, ranks))
    };
    CASES.lines().filter(is_new).collect()
}

fn rank(ty: Option<&TypeProto>) -> Option<usize> {
    match ty?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => Some(tensor.shape.as_ref()?.dim.len()),
        _ => None,
    }
}

/// Runs a case with all that may be wrong with it.
fn run_damaged(data: &Path, case: &str) -> Result<(), String> {
    // Data that cannot be read is what the case's own run tells of.
    let given = case::load(data, case).map(|case| case.sets);
    let given = given.iter().flatten().next().map_or(&[][..], |set| &set.inputs);
    damage::survived(&case::model(data, case)?, given)
}

fn summarise(outcomes: &BTreeMap<String, Option<String>>) {
    for mode in Mode::ALL {
        let of_mode = |name: &str| name.rsplit_once(' ').is_some_and(|(_, m)| m == mode.name());
        let all: Vec<_> = outcomes.iter().filter(|(name, _)| of_mode(name)).collect();
        let passed = all.iter().filter(|(_, outcome)| outcome.is_none()).count();
        println!("{}: {passed}/{} cases pass", mode.name(), all.len());
    }
}

/// Failures by message, the most frequent first.
fn report(outcomes: &BTreeMap<String, Option<String>>) {
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, outcome) in outcomes {
        if let Some(message) = outcome {
            groups.entry(manifest::gist(message)).or_default().push(name);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    for (message, names) in groups {
        println!("{} × {message}", names.len());
        names.iter().for_each(|name| println!("    {name}"));
    }
}
