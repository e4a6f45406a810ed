//! ONNX's own backend tests: each model runs on its inputs and must give its outputs, in several modes.
//!
//! `TRINE_OUTSIDE=1 cargo test --test onnx -- FILTER` runs those whose name (`node/test_abs text`) contains FILTER. What is not
//! expected to pass stands in `onnx/manifest.txt` with the reason; a test fails if it does worse than that, if it does
//! better, and if it fails for another reason. `onnx/refused.txt` holds the cases that Trine does not take, and why;
//! `onnx/coverage.txt` how many run compiled. `BLESS=1` writes all three. `REPORT=1` prints all failures, expected or not,
//! by message, and which cases run compiled.
//!
//! Cases that a newer release of ONNX has are made by its own code and lie beside the others, as `node-1.23`.
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
#[path = "onnx/coverage.rs"]
mod coverage;
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
#[path = "support/outside.rs"]
mod outside;
#[path = "onnx/refused.rs"]
mod refused;

use caught::caught;
use coverage::Coverage;
use manifest::Manifest;
use mode::Mode;
use trine::import::proto::{ModelProto, TypeProto, type_proto};

/// Every case that Trine is to pass, one a line.
const CASES: &str = include_str!("onnx/cases.txt");

/// The folder of cases that the release of `cases` does not have.
const NEWER: &str = "node-1.23";

/// How runs went: nothing, or why not, by name.
type Outcomes = Arc<Mutex<BTreeMap<String, Option<String>>>>;

/// How far cases are compiled.
type Covered = Arc<Mutex<BTreeMap<String, Coverage>>>;

fn main() {
    let arguments = Arguments::from_args();
    if !outside::asked("ONNX's own backend tests") {
        return;
    }
    let data = match fetch::unpacked("onnx", "1.22.0", "onnx/backend/test/data") {
        Ok(folder) => folder.join("onnx/backend/test/data"),
        Err(message) => {
            eprintln!("{message}");
            std::process::exit(1);
        }
    };
    make_newer(&data);
    let known: Vec<&str> = CASES.lines().collect();
    let (manifest, refusals) =
        (Arc::new(Manifest::load("manifest.txt")), Arc::new(Manifest::load("refused.txt")));
    let (outcomes, refused_outcomes, covered) =
        (Outcomes::default(), Outcomes::default(), Covered::default());
    let bless = std::env::var_os("BLESS").is_some_and(|v| v == "1");
    let trials = known.iter().flat_map(|case| Mode::ALL.map(|mode| (*case, mode))).map(|(case, mode)| {
        let name = format!("{case} {}", mode.name());
        let (manifest, data) = (manifest.clone(), data.clone());
        let (outcomes, covered) = (outcomes.clone(), covered.clone());
        Trial::test(name.clone(), move || {
            let result = run(&data, case, mode);
            if let Ok(Some(coverage)) = result {
                covered.lock().expect("no panic holds it").insert(case.into(), coverage);
            }
            let outcome = result.err();
            outcomes.lock().expect("no panic holds it").insert(name.clone(), outcome.clone());
            if bless { Ok(()) } else { Ok(manifest.judge(&name, outcome.as_deref())?) }
        })
    });
    let not_taken = refused::cases(&data);
    let refused = not_taken.iter().cloned().map(|case| {
        let name = format!("{case} refused");
        let (refusals, outcomes, data) = (refusals.clone(), refused_outcomes.clone(), data.clone());
        Trial::test(name.clone(), move || {
            let outcome = refused::reason(&data, &case)?;
            outcomes.lock().expect("no panic holds it").insert(name.clone(), outcome.clone());
            match outcome {
                None => Err(Failed::from("passes: a line of tests/onnx/cases.txt")),
                _ if bless => Ok(()),
                Some(message) => Ok(refusals.judge(&name, Some(&message))?),
            }
        })
    });
    let damaged = distinct(&data, &known).into_iter().map(|case| {
        let data = data.clone();
        Trial::test(format!("{case} damaged"), move || Ok(run_damaged(&data, case)?))
    });
    let trials = trials.chain(refused).chain(damaged).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let outcomes = outcomes.lock().expect("no panic holds it");
    let covered = covered.lock().expect("no panic holds it");
    // A filter leaves some out.
    let all_ran = outcomes.len() == CASES.lines().count() * Mode::ALL.len();
    if bless {
        manifest.write(&outcomes, CASES.lines());
        let refused = refused_outcomes.lock().expect("no panic holds it");
        refusals.write(&refused, not_taken.iter().map(String::as_str));
        if all_ran {
            coverage::write(&covered);
        }
    }
    if std::env::var_os("REPORT").is_some_and(|v| v == "1") {
        report(&outcomes);
        coverage::report(&covered);
    }
    summarise(&outcomes);
    println!("not taken: {} cases", not_taken.len());
    let cases = CASES.lines().count() + not_taken.len();
    if all_ran && let Err(message) = coverage::check(&covered, cases) {
        eprintln!("{message}");
        std::process::exit(101);
    }
    conclusion.exit();
}

/// Makes the cases that the release of `data` does not have.
fn make_newer(data: &Path) {
    outside::success(
        outside::python()
            .args(["tests/python/env.py", "tests/python/onnx_cases.py", "--known"])
            .arg(data.join("node"))
            .arg("--output")
            .arg(data.join(NEWER)),
    );
}

/// Runs a case in a mode. A panic is a failure of the case.
fn run(data: &Path, case: &str, mode: Mode) -> Result<Option<Coverage>, String> {
    caught(|| {
        let case = case::load(data, case)?;
        mode.run(&case)
    })
}

/// Cases of one node: one for each operator with its attributes and the ranks of its inputs.
fn distinct<'a>(data: &Path, cases: &[&'a str]) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    let is_new = |case: &&str| {
        let Ok(ModelProto { graph: Some(graph), .. }) = case::model(data, case) else { return false };
        let [node] = graph.node.as_slice() else { return false };
        let mut attributes: Vec<String> = node.attribute.iter().map(|a| a.name().into()).collect();
        attributes.sort();
        let ranks: Vec<_> = graph.input.iter().map(|i| rank(i.r#type.as_ref())).collect();
        seen.insert((node.op_type().to_string(), attributes, ranks))
    };
    cases.iter().copied().filter(is_new).collect()
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
