//! Invariants of the tree that no compiler checks.
//!
//! Each is a sentence of ARCHITECTURE.md or CONTRIBUTING.md; a failure names every place that breaks it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::outside;

/// Lines a source file may have; what is longer holds more than one idea.
const MAX_LINES: usize = 500;

/// Files that are generated: they may be longer, and say nothing of themselves.
const GENERATED: &[&str] =
    &["compiler/formats/src/import/proto/onnx.rs", "runtime/src/artefact/proto/trine.rs"];

/// Files that may hold `unsafe`; folders end in a slash.
const UNSAFE: &[&str] = &[
    "compiler/cli/src/model.rs",
    "compiler/codegen/src/image/program.rs",
    "compiler/formats/src/disk/map.rs",
    "compiler/python/src/arrays.rs",
    "compiler/python/src/source.rs",
    "runtime/capi/src/",
    "runtime/examples/load.rs",
    "runtime/src/arena.rs",
    "runtime/src/artefact.rs",
    "runtime/src/calls.rs",
    "runtime/src/check.rs",
    "runtime/src/code.rs",
    "runtime/src/memory.rs",
    "runtime/src/pool.rs",
    "runtime/ukernel/benches/",
    "runtime/ukernel/src/",
    "tests/graphs/shipped.rs",
];

/// Words before the name of an item.
const ITEMS: &[&str] =
    &["fn", "struct", "enum", "union", "trait", "type", "const", "static", "mod", "unsafe", "extern", "C"];

/// What nothing that is finished contains. Split in two, so that this file is not among the findings.
const UNFINISHED: &[(&str, &str)] = &[
    ("tod", "o!("),
    ("unimple", "mented!("),
    ("#[ign", "ore"),
    ("should_", "panic"),
    ("allow(dead", "_code)"),
    ("FIX", "ME"),
];

/// Crates, from the one that depends on none of the others to the one that may depend on all.
const ORDER: &[(&str, &str)] = &[
    ("trine-ir", "ir"),
    ("trine-ukernel", "runtime/ukernel"),
    ("trine-runtime", "runtime"),
    ("trine-capi", "runtime/capi"),
    ("trine-formats", "compiler/formats"),
    ("trine-ternarize", "compiler/ternarize"),
    ("trine-codegen", "compiler/codegen"),
    ("trine", "compiler"),
    ("trine-cli", "compiler/cli"),
    ("trine-examples", "examples"),
    ("trine-tests", "."),
];

/// The rooms of the compiler, from those that use none of the others to those that may use all, a floor a line: a room uses
/// those of floors before its own.
const FLOORS: &[&[&str]] = &[
    &["serialize", "discrimination", "language_model", "remembered"],
    &["pattern"],
    &["layers", "generate", "pass"],
    &["recurrent"],
    &["rounding"],
    &["passes"],
    &["options", "explain", "observe"],
    &["compiler"],
    &["evaluate"],
    &["calibrate"],
    &["export"],
    &["error"],
    &["files"],
    &["compile"],
];

/// The rooms of other crates, in floors too.
const FORMATS_FLOORS: &[&[&str]] = &[&["disk"], &["import", "npz"]];
const CODEGEN_FLOORS: &[&[&str]] =
    &[&["error"], &["target"], &["choice"], &["emit"], &["plan"], &["image"], &["testing"]];

/// Workspaces of their own, which nothing here depends on.
const APART: &[&str] = &["compiler/python/Cargo.toml", "tests/fuzz/Cargo.toml"];

#[test]
fn formatted() {
    if !outside::asked("`cargo fmt` has nothing to change") {
        return;
    }
    cargo(&["fmt", "--all", "--check"]);
}

#[test]
fn clippy_has_nothing_to_say() {
    if !outside::asked("`cargo clippy` has nothing to say") {
        return;
    }
    cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
}

#[test]
fn crates_depend_on_earlier_ones_only() {
    let names: Vec<&str> = ORDER.iter().map(|(name, _)| *name).collect();
    let mut wrong = vec![];
    for (rank, (name, folder)) in ORDER.iter().enumerate() {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        for dependency in dependencies(&manifest) {
            let found = names.iter().position(|n| *n == dependency);
            if found.is_some_and(|other| other >= rank) {
                wrong.push(format!("`{name}` depends on `{dependency}`"));
            }
        }
    }
    // The two at the bottom know nothing of each other.
    if dependencies(&read(&root().join("runtime/ukernel/Cargo.toml"))).iter().any(|d| d == "trine-ir") {
        wrong.push("`trine-ukernel` depends on `trine-ir`".into());
    }
    assert_none("crates out of order", &wrong);
}

#[test]
fn rooms_use_lower_rooms_only() {
    let mut wrong = upward("compiler/src", FLOORS);
    wrong.extend(upward("compiler/formats/src", FORMATS_FLOORS));
    wrong.extend(upward("compiler/codegen/src", CODEGEN_FLOORS));
    assert_none("imports of rooms that are not on a lower floor", &wrong);
}

/// Imports of rooms of the crate in `folder` that are not on a lower floor; rooms that have no floor; and floors of what is
/// not a room. Tests may use all.
fn upward(folder: &str, floors: &[&[&str]]) -> Vec<String> {
    let floor = |room: &str| floors.iter().position(|rooms| rooms.contains(&room));
    let mut wrong = vec![];
    let mut seen = BTreeSet::new();
    for (path, text) in sources() {
        let Some(inside) = path.strip_prefix(folder).and_then(|p| p.strip_prefix('/')) else { continue };
        let room = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
        if room == "lib" {
            continue;
        }
        seen.insert(room.to_string());
        let Some(own) = floor(room) else {
            wrong.push(format!("{path}: `{room}` has no floor"));
            continue;
        };
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: String = code.lines().map(|l| format!("{}\n", l.split("//").next().unwrap_or(l))).collect();
        for rest in code.split("crate::").skip(1) {
            let used = rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or_default();
            if used != room && floor(used).is_some_and(|other| other >= own) {
                wrong.push(format!("{path} uses `crate::{used}`"));
            }
        }
    }
    let known = floors.iter().flat_map(|rooms| rooms.iter());
    wrong.extend(
        known.filter(|room| !seen.contains(**room)).map(|room| format!("`{room}` is not in {folder}")),
    );
    wrong
}

#[test]
fn every_crate_is_in_the_order() {
    let listed: BTreeSet<PathBuf> = ORDER.iter().map(|(_, folder)| root().join(folder)).collect();
    let unlisted: Vec<String> = files(&["toml"])
        .iter()
        .filter(|f| f.ends_with("Cargo.toml") && !listed.contains(&root().join(f.parent().unwrap())))
        .filter(|f| !APART.iter().any(|a| f.as_path() == Path::new(a)))
        .map(|f| f.display().to_string())
        .collect();
    assert_none("crates that no order is stated for", &unlisted);
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .filter(|(path, _)| !GENERATED.contains(&path.as_str()))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert_none("files that are too long", &long);
}

#[test]
fn files_say_what_they_are() {
    let silent: Vec<String> = sources()
        .filter(|(path, text)| !GENERATED.contains(&path.as_str()) && !text.contains("//!"))
        .map(|(path, _)| path)
        .filter(|path| !path.ends_with("build.rs"))
        .collect();
    assert_none("files without `//!`", &silent);
}

#[test]
fn unsafe_lives_in_few_files() {
    let allowed = |path: &str| UNSAFE.iter().any(|u| path == *u || u.ends_with('/') && path.starts_with(u));
    let attribute = concat!("allow(unsafe", "_code)");
    let strays: Vec<String> = sources()
        .filter(|(path, text)| text.contains(attribute) && !allowed(path))
        .map(|(path, _)| path)
        .collect();
    assert_none("files that allow unsafe code", &strays);
    let ir = read(&root().join("ir/Cargo.toml"));
    assert!(ir.contains("unsafe_code = \"forbid\""), "`ir` must forbid unsafe code");
}

#[test]
fn unsafe_blocks_say_why_they_are_safe() {
    let opens = concat!("unsafe", " {");
    let implements = concat!("unsafe", " impl");
    let mut unexplained = vec![];
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if !code.contains(opens) && !code.contains(implements) {
                continue;
            }
            let above = &lines[i.saturating_sub(4)..=i];
            if !above.iter().any(|l| l.contains("SAFETY:")) {
                unexplained.push(format!("{path}:{}: {}", i + 1, line.trim()));
            }
        }
    }
    assert_none("`unsafe` without a SAFETY comment", &unexplained);
}

/// The compiler tells what is dead within a crate; this, what no crate and no test names.
#[test]
fn public_items_are_named_somewhere() {
    let sources: Vec<(String, String)> = sources().collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_string();
    let mut named: HashMap<String, usize> = HashMap::new();
    let mut items = vec![];
    for (path, text) in &sources {
        for (i, line) in text.lines().map(code).enumerate() {
            let words: Vec<&str> = line.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
            for word in &words {
                *named.entry(word.to_string()).or_default() += 1;
            }
            let item = words.iter().position(|word| ITEMS.contains(word));
            if let Some(item) = item.filter(|_| line.trim_start().starts_with("pub "))
                && let Some(name) = words[item + 1..].iter().find(|word| !ITEMS.contains(word))
            {
                items.push((name.to_string(), format!("{path}:{}", i + 1)));
            }
        }
    }
    let dead = items.into_iter().filter(|(name, _)| named[name] < 2);
    let dead: Vec<String> = dead.map(|(name, place)| format!("{place}: {name}")).collect();
    assert_none("public items that nothing names", &dead);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut found = vec![];
    for (path, text) in sources() {
        for (i, line) in text.lines().enumerate() {
            for (head, tail) in UNFINISHED {
                if line.contains(&format!("{head}{tail}")) {
                    found.push(format!("{path}:{}: {}", i + 1, line.trim()));
                }
            }
        }
    }
    assert_none("unfinished code", &found);
}

/// Each where the architecture says, and nowhere else: in code, for comments may name them.
#[test]
fn libraries_are_named_in_few_places() {
    let places: [(&str, &[&str]); 4] = [
        (concat!("petgraph", "::"), &["ir/src/graph.rs"]),
        (concat!("cranelift", "_codegen"), &["compiler/codegen/src/"]),
        (concat!("cranelift", "_module"), &["compiler/codegen/src/"]),
        (
            concat!("import::", "proto"),
            &["compiler/formats/src/import", "compiler/src/export", "compiler/cli/tests/", "tests/"],
        ),
    ];
    let mut strays = vec![];
    for (path, text) in sources() {
        let code: String = text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect();
        for (name, homes) in places {
            if code.contains(name) && !homes.iter().any(|home| path.starts_with(home)) {
                strays.push(format!("{path} names `{name}`"));
            }
        }
    }
    assert_none("libraries outside of their places", &strays);
}

/// What ships to a device never compiles.
#[test]
fn no_compiler_is_below_the_compiler() {
    for folder in ["ir", "runtime", "runtime/ukernel", "compiler/formats", "compiler/ternarize"] {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        let found: Vec<_> =
            dependencies(&manifest).into_iter().filter(|d| d.starts_with("cranelift")).collect();
        assert_none(folder, &found);
    }
}

#[test]
fn ci_runs_what_the_readme_says() {
    let commands = |file: &str| -> Vec<String> {
        let text = read(&root().join(file));
        let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
        lines.filter(|line| line.ends_with("cargo test")).map(String::from).collect()
    };
    let said = commands("README.md");
    assert_eq!(said, ["cargo test", "TRINE_OUTSIDE=1 cargo test"]);
    assert_eq!(commands(".ci/run"), said);
}

/// What `cargo test` starts is there wherever it was built: programs of the tree, and a shell.
#[test]
fn other_programs_are_started_by_tests_that_are_asked_for() {
    let start = concat!("Command", "::new(");
    let mut strays = vec![];
    for (path, text) in sources() {
        let tests = path.starts_with("tests/") || path.contains("/tests/");
        if !tests || path == "tests/support/outside.rs" {
            continue;
        }
        for (i, line) in text.lines().enumerate() {
            let started = line.split(start).skip(1).map(|rest| rest.split(')').next().unwrap_or_default());
            let foreign = |name: &str| name.starts_with('"') && name != "\"sh\"" || name == "env!(\"CARGO\"";
            strays
                .extend(started.filter(|name| foreign(name)).map(|name| format!("{path}:{}: {name}", i + 1)));
        }
    }
    assert_none("programs that `outside::program` is to start", &strays);
}

fn cargo(args: &[&str]) {
    outside::success(outside::program(env!("CARGO")).args(args).current_dir(root()));
}

/// Names under all `[…dependencies]` tables of a manifest, but not those of the workspace.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = vec![];
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            inside = table.contains("dependencies]") && !table.starts_with("workspace");
        } else if inside && let Some((key, _)) = line.split_once('=') {
            names.push(key.trim().trim_end_matches(".workspace").to_string());
        }
    }
    names
}

/// All Rust files, with their paths relative to the root.
fn sources() -> impl Iterator<Item = (String, String)> {
    files(&["rs"]).into_iter().map(|path| (path.display().to_string(), read(&root().join(&path))))
}

/// Files with one of these extensions, relative to the root, outside of build outputs.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if name != "target" && !name.to_string_lossy().starts_with('.') {
                    folders.push(path);
                }
            } else if extensions.iter().any(|e| path.extension().is_some_and(|x| x == *e)) {
                found.push(path.strip_prefix(root()).unwrap().to_path_buf());
            }
        }
    }
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}
