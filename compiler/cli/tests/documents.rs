//! What the documents name is there: commands and their options, variables, files, tests and examples.
//!
//! Read is what stands in backticks, in indented blocks and in links. Blocks within fences are programs and patches, which
//! others check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::command::succeed;
use crate::outside::root;

/// What a document says in code, and where.
struct Code {
    /// The document, from the root.
    document: PathBuf,
    line: usize,
    text: String,
}

#[test]
fn commands_and_their_options_are_there() {
    let mut wrong = vec![];
    let mut seen = BTreeSet::new();
    for code in codes() {
        // Options of examples stand before their comments.
        let command = code.text.split(" #").next().unwrap_or_default();
        let mut words = command.split_whitespace();
        // Words in capitals stand for others.
        let Some(name) = words.next().filter(|w| *w == "trine").and_then(|_| words.next()) else { continue };
        if name.chars().all(|c| c.is_ascii_uppercase()) || name.starts_with('-') {
            continue;
        }
        let output = crate::command::command(&[name, "--help"]).output().unwrap();
        if !output.status.success() {
            wrong.push(format!("{code}: there is no `trine {name}`"));
            continue;
        }
        seen.insert(name.to_string());
        let help = String::from_utf8(output.stdout).unwrap();
        let known: BTreeSet<&str> = help.split(|c: char| c != '-' && !c.is_ascii_alphanumeric()).collect();
        for option in words.filter(|w| w.starts_with("--")) {
            let option = option.split('=').next().unwrap_or(option);
            if !known.contains(option) {
                wrong.push(format!("{code}: `trine {name}` has no `{option}`"));
            }
        }
    }
    none(&wrong);
    // All of them are named, and found: this looks at the right words.
    let help = succeed(&["--help"]);
    let listed = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let listed = listed.lines().filter_map(|line| line.split_whitespace().next());
    let unnamed: Vec<&str> = listed.filter(|name| *name != "help" && !seen.contains(*name)).collect();
    assert!(unnamed.is_empty() && seen.len() > 10, "commands that no document names: {unnamed:?}");
}

#[test]
fn variables_are_read() {
    let sources: Vec<String> = tree()
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs" || e == "py"))
        .map(|path| fs::read_to_string(root().join(path)).unwrap())
        .collect();
    let mut names = BTreeSet::new();
    for code in codes() {
        for (at, _) in code.text.match_indices("TRINE_") {
            let rest = &code.text[at..];
            let end = rest.find(|c: char| c != '_' && !c.is_ascii_uppercase()).unwrap_or(rest.len());
            names.insert(rest[..end].to_string());
        }
    }
    assert!(names.contains("TRINE_CACHE"), "{names:?}");
    let read = |name: &String| sources.iter().any(|source| source.contains(&format!("\"{name}\"")));
    let unread: Vec<String> = names.into_iter().filter(|name| !read(name)).collect();
    none(&unread);
}

#[test]
fn files_are_there() {
    let tree = tree();
    let mut wrong = vec![];
    let mut count = 0;
    for code in codes() {
        for word in code.text.split(|c: char| c.is_whitespace() || "()[];:".contains(c)) {
            for path in expanded(word.trim_end_matches([',', '.'])).filter(|path| is_path(path)) {
                count += 1;
                if !is_there(&path, &code.document, &tree) {
                    wrong.push(format!("{code}: `{path}`"));
                }
            }
        }
    }
    none(&wrong);
    assert!(count > 100, "{count} paths");
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = vec![];
    for document in documents() {
        let text = fs::read_to_string(root().join(&document)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or(link);
            if !link.contains("://") && !root().join(&document).with_file_name(path).exists() {
                wrong.push(format!("{}: `{link}`", document.display()));
            }
        }
    }
    none(&wrong);
}

#[test]
fn tests_and_examples_that_cargo_runs_are_there() {
    let manifests: String = ["Cargo.toml", "compiler/cli/Cargo.toml", "examples/Cargo.toml"]
        .map(|manifest| fs::read_to_string(root().join(manifest)).unwrap())
        .concat();
    let mut wrong = vec![];
    for code in codes().filter(|code| code.text.contains("cargo ")) {
        let words: Vec<&str> = code.text.split_whitespace().collect();
        for pair in words.windows(2).filter(|pair| ["--test", "--example"].contains(&pair[0])) {
            let table = format!("[[{}]]\nname = \"{}\"\n", &pair[0][2..], pair[1]);
            if !manifests.contains(&table) {
                wrong.push(format!("{code}: `{} {}`", pair[0], pair[1]));
            }
        }
    }
    none(&wrong);
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}:{}", self.document.display(), self.line)
    }
}

/// Indented lines and what stands in backticks.
fn codes() -> impl Iterator<Item = Code> {
    documents().into_iter().flat_map(|document| {
        let text = fs::read_to_string(root().join(&document)).unwrap();
        let mut fenced = false;
        let mut found = vec![];
        for (i, line) in text.lines().enumerate() {
            let mut add =
                |text: &str| found.push(Code { document: document.clone(), line: i + 1, text: text.into() });
            if line.starts_with("```") {
                fenced = !fenced;
            } else if line.starts_with("    ") && !fenced {
                add(line.trim());
            } else if !fenced {
                line.split('`').skip(1).step_by(2).for_each(add);
            }
        }
        found
    })
}

fn documents() -> Vec<PathBuf> {
    tree().into_iter().filter(|path| path.extension().is_some_and(|e| e == "md")).collect()
}

/// The files and folders of the tree, from its root.
fn tree() -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if name == "target" || name == ".git" || name == "__pycache__" {
                continue;
            }
            found.push(path.strip_prefix(root()).unwrap().to_path_buf());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`; of `a/*.rs`, `a/`.
fn expanded(word: &str) -> impl Iterator<Item = String> {
    let word = word.split('*').next().unwrap_or(word);
    let (before, rest) = word.split_once('{').unwrap_or((word, ""));
    let (choices, after) = rest.split_once('}').unwrap_or((rest, ""));
    choices.split(',').map(move |choice| format!("{before}{choice}{after}"))
}

/// Whether a word can only be a path of the tree. What is built, and the models of users, are others.
fn is_path(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !word.chars().all(plain) || word.starts_with(['/', '-']) || word.starts_with("target") {
        return false;
    }
    let extension = word.rsplit_once('.').map_or("", |(_, extension)| extension);
    match word.split_once('/') {
        None => ["rs", "py", "sh", "md", "toml"].contains(&extension),
        Some((first, rest)) => {
            let of_the_root = !first.is_empty() && root().join(first).exists();
            of_the_root || rest.is_empty() || ["rs", "py", "sh", "txt"].contains(&extension)
        }
    }
}

/// Whether the tree has it, from its root, beside the document, or where the text around it says.
fn is_there(path: &str, document: &Path, tree: &[PathBuf]) -> bool {
    // Fuzzing makes its own.
    let made = ["tests/fuzz/corpus"].contains(&path);
    let first = path.split('/').next().unwrap_or(path);
    let whole = path.contains('/') && root().join(first).exists();
    made || root().join(path).exists()
        || root().join(document).with_file_name(path).exists()
        || !whole && tree.iter().any(|file| file.ends_with(path))
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "named, and not there:\n  {}", wrong.join("\n  "));
}
