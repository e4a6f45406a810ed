//! What is not expected to pass, and why: a line `case mode: reason` each.

use std::collections::BTreeMap;
use std::path::Path;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/onnx/manifest.txt");

#[derive(Default)]
pub struct Manifest {
    reasons: BTreeMap<String, String>,
}

impl Manifest {
    pub fn load() -> Manifest {
        let text = if Path::new(PATH).exists() {
            std::fs::read_to_string(PATH).expect("the manifest can be read")
        } else {
            String::new()
        };
        let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
        let reasons = lines.map(|line| {
            let (name, reason) =
                line.split_once(": ").expect("a line of the manifest is `case mode: reason`");
            (name.to_string(), reason.to_string())
        });
        Manifest { reasons: reasons.collect() }
    }

    /// Why `name`, a case and a mode, is not expected to pass, if it is not.
    pub fn reason(&self, name: &str) -> Option<&str> {
        self.reasons.get(name).map(String::as_str)
    }

    /// Writes the manifest that `outcomes` meet. Reasons stay; runs that are not among the outcomes, too,
    /// as long as their case is among `cases`.
    pub fn write(&self, outcomes: &BTreeMap<String, Option<String>>, cases: &str) {
        let mut reasons = self.reasons.clone();
        let known: Vec<_> = cases.lines().collect();
        reasons.retain(|name, _| name.rsplit_once(' ').is_some_and(|(case, _)| known.contains(&case)));
        for (name, outcome) in outcomes {
            match outcome {
                None => drop(reasons.remove(name)),
                Some(message) => drop(reasons.entry(name.clone()).or_insert_with(|| gist(message))),
            }
        }
        let lines: String = reasons.iter().map(|(name, reason)| format!("{name}: {reason}\n")).collect();
        let text = format!(
            "# What is not expected to pass, and why. `BLESS=1 cargo test --test onnx` writes this file.\n{lines}"
        );
        std::fs::write(PATH, text).expect("the manifest can be written");
    }
}

/// What a message says, on one line and without the names of this one case.
pub fn gist(message: &str) -> String {
    let mut lines = message.lines();
    let first = lines.next().unwrap_or_default();
    // Of unsupported nodes, the ops say more than how many there are.
    let text = match first.ends_with("not supported:") {
        true => {
            let mut ops: Vec<_> = lines.filter_map(|l| l.split("`: ").nth(1)?.split(" of ").next()).collect();
            ops.sort_unstable();
            ops.dedup();
            format!("not supported: {}", ops.join(", "))
        }
        false => first.to_string(),
    };
    text.chars().take(200).collect()
}
