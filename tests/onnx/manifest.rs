//! What is not expected to pass, and why: a line `case mode: reason` each, in `manifest.txt` for cases that are to pass but
//! for a mode, and in `refused.txt` for those that are not. The reason is the message, so that one that changes fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub struct Manifest {
    path: PathBuf,
    reasons: BTreeMap<String, String>,
}

impl Manifest {
    pub fn load(file: &str) -> Manifest {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/onnx")).join(file);
        let text = if path.exists() {
            std::fs::read_to_string(&path).expect("it can be read")
        } else {
            String::new()
        };
        let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
        let reasons = lines.map(|line| {
            let (name, reason) =
                line.split_once(": ").expect("a line of the manifest is `case mode: reason`");
            (name.to_string(), reason.to_string())
        });
        Manifest { reasons: reasons.collect(), path }
    }

    /// What is wrong with the outcome of `name`: that it fails, or does so for another reason, or that it passes.
    pub fn judge(&self, name: &str, outcome: Option<&str>) -> Result<(), String> {
        let file = self.path.display();
        match (outcome, self.reasons.get(name)) {
            (None, None) => Ok(()),
            (Some(message), Some(reason)) if gist(message) == *reason => Ok(()),
            (Some(message), None) => Err(message.into()),
            (Some(message), Some(reason)) => {
                Err(format!("fails because\n{message}\nbut {file} says\n{reason}\n(BLESS=1 writes it)"))
            }
            (None, Some(reason)) => Err(format!("passes, but {file} says `{reason}`: run with BLESS=1")),
        }
    }

    /// Writes the manifest that `outcomes` meet. What was not run stays as long as its case is among `cases`.
    pub fn write<'a>(
        &self,
        outcomes: &BTreeMap<String, Option<String>>,
        cases: impl Iterator<Item = &'a str>,
    ) {
        let mut reasons = self.reasons.clone();
        let known: Vec<_> = cases.collect();
        reasons.retain(|name, _| name.rsplit_once(' ').is_some_and(|(case, _)| known.contains(&case)));
        for (name, outcome) in outcomes {
            match outcome {
                None => reasons.remove(name),
                Some(message) => reasons.insert(name.clone(), gist(message)),
            };
        }
        let lines: String = reasons.iter().map(|(name, reason)| format!("{name}: {reason}\n")).collect();
        let text = format!(
            "# What is not expected to pass, and why. `BLESS=1 cargo test --test onnx` writes this file.\n{lines}"
        );
        std::fs::write(&self.path, text).expect("the manifest can be written");
    }
}

/// What a message says, on one line.
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
