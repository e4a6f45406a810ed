//! The recipes of CONTRIBUTING.md: each patch applies to this tree, and what it adds is built, formatted and tested.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::outside;

/// The recipes, and tests that are only right once all of them were followed.
const RECIPES: [(&str, &[&[&str]]); 3] = [
    ("Adding an op", &[&["--test", "filetests", "--", "run/softcap"]]),
    ("Adding a pass", &[&["--test", "filetests", "--", "passes/cancel_negations"]]),
    (
        "Adding a microkernel",
        &[
            &["--package", "trine-ukernel", "--lib", "--", "signsum_i8"],
            &["--package", "trine-codegen", "--lib", "--", "plan::verify", "choice"],
        ],
    ),
];

#[test]
fn recipes_are_patches_that_work() {
    if !outside::asked("the recipes of CONTRIBUTING.md, applied to a copy of the tree") {
        return;
    }
    let text = fs::read_to_string(outside::root().join("CONTRIBUTING.md")).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    files(outside::root()).iter().for_each(|file| copy(file, outside::root(), fresh.path()));
    for (title, _) in RECIPES {
        let section = text.split(&format!("\n## {title}\n")).nth(1).expect(title);
        let section = section.split("\n## ").next().unwrap();
        let patch = section.split("```diff\n").nth(1).and_then(|s| s.split("```").next()).expect(title);
        apply(patch, fresh.path());
    }
    // To cargo two trees are one where packages have the same names, places and versions: it would take what was built
    // from the one for the other's.
    let manifest = fresh.path().join("Cargo.toml");
    let version = format!("\nversion = \"{}", env!("CARGO_PKG_VERSION"));
    let text = fs::read_to_string(&manifest).unwrap();
    assert_eq!(text.matches(&version).count(), 1, "the version of all packages");
    fs::write(&manifest, text.replace(&version, &format!("{version}+recipes"))).unwrap();
    let copied = outside::root().join("target/recipes");
    refresh(fresh.path(), &copied);
    cargo(&copied, &["fmt", "--all", "--check"]);
    for (title, tests) in RECIPES {
        for arguments in tests {
            let said = cargo(&copied, &[&["test", "--offline"], *arguments].concat());
            assert!(said.contains("test result: ok. ") && !said.contains(" 0 passed"), "{title}:\n{said}");
        }
    }
}

fn apply(patch: &str, folder: &Path) {
    let mut git = outside::program("git");
    git.args(["apply", "--verbose", "-"]).current_dir(folder).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = git.spawn().unwrap();
    child.stdin.take().unwrap().write_all(patch.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{patch}", String::from_utf8_lossy(&output.stderr));
}

/// What cargo printed. Libraries that both trees use are built once.
fn cargo(tree: &Path, arguments: &[&str]) -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder of the target folder");
    let mut cargo = outside::program(env!("CARGO"));
    cargo.args(arguments).current_dir(tree).env("CARGO_TARGET_DIR", target);
    String::from_utf8(outside::success(&mut cargo).stdout).unwrap()
}

/// Makes `to` what `from` is. Files that are as they were keep their times, so that cargo builds again what changed.
fn refresh(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let wanted = files(from);
    for file in files(to).iter().filter(|file| !wanted.contains(file)) {
        fs::remove_file(to.join(file)).unwrap();
    }
    for file in &wanted {
        let same = fs::read(to.join(file)).is_ok_and(|old| old == fs::read(from.join(file)).unwrap());
        if !same {
            copy(file, from, to);
        }
    }
}

fn copy(file: &Path, from: &Path, to: &Path) {
    let to = to.join(file);
    fs::create_dir_all(to.parent().expect("a file in a folder")).unwrap();
    // Not `fs::copy`: cargo goes by times, which some systems copy too.
    fs::write(&to, fs::read(from.join(file)).unwrap()).unwrap();
}

/// The files of a tree, from its root, but for what is built.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if name == "target" || name.to_string_lossy().starts_with('.') {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_path_buf());
            }
        }
    }
    found
}
