//! `trine --version`: what it is, in one line, and how it was built, in more.

use std::path::Path;

use trine_ukernel::Features;

use crate::command::{command, fail, succeed};
use crate::outside;

#[path = "../build/git.rs"]
mod git;

#[test]
fn a_report_of_a_bug_says_which_trine_it_was() {
    let version = format!("trine {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(succeed(&["--version"]), version);
    assert_eq!(succeed(&["-V"]), version);
    let said = succeed(&["--version", "-v"]);
    for args in [&["-V", "-v"][..], &["-Vv"], &["--verbose", "--version"]] {
        assert_eq!(succeed(args), said);
    }
    let rest = said.strip_prefix(&version).unwrap();
    let (keys, values): (Vec<&str>, Vec<&str>) = rest.lines().map(|l| l.split_once(": ").unwrap()).unzip();
    assert_eq!(keys, ["commit", "target", "CPU features", "cranelift", "compiler"]);
    let hash = values[0].trim_end_matches("-dirty");
    let is_hash = hash.len() == 40 && hash.chars().all(|c| c.is_ascii_hexdigit());
    assert!(is_hash || ["unknown", "not looked up in debug builds"].contains(&values[0]), "{said}");
    assert!(values[1].starts_with(std::env::consts::ARCH), "{said}");
    assert_eq!(values[2], Features::detect().to_string());
    let lock = std::fs::read_to_string(outside::root().join("Cargo.lock")).unwrap();
    let locked = format!("name = \"cranelift-codegen\"\nversion = \"{}\"\n", values[3]);
    assert!(lock.contains(&locked), "{said}");
    assert!(values[4].starts_with("rustc 1."), "{said}");
}

#[test]
fn a_version_is_asked_for_alone() {
    assert!(fail(2, &["-v"]).contains("--version"));
    assert!(fail(2, &["--version", "list", "passes"]).contains("cannot be used with"));
    let output = command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("trine --version [--verbose]"));
}

#[test]
fn the_commit_is_that_of_the_sources() {
    if !outside::asked("the commit that `trine --version --verbose` tells") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    assert_eq!(git::commit(root), None);
    let git = |args: &str| {
        let mut git = outside::program("git");
        git.args(["-c", "user.name=n", "-c", "user.email=e"]).args(args.split(' ')).current_dir(root);
        String::from_utf8(outside::success(&mut git).stdout).unwrap().trim().to_string()
    };
    let write = |text: &str| std::fs::write(root.join("file"), text).unwrap();
    write("one");
    git("init --quiet");
    git("add file");
    git("commit --quiet -m one");
    let first = git("rev-parse HEAD");
    assert_eq!(git::commit(root), Some(first.clone()));
    write("two");
    assert_eq!(git::commit(root), Some(format!("{first}-dirty")));
    let before = contents(root);
    git("commit --quiet -a -m two");
    assert_eq!(git::commit(root), Some(git("rev-parse HEAD")));
    assert_ne!(contents(root), before, "what a commit changes is watched");
    // A folder within it is another's sources.
    std::fs::create_dir(root.join("vendored")).unwrap();
    assert_eq!(git::commit(&root.join("vendored")), None);
}

/// The contents of the files that are watched for another commit.
fn contents(root: &Path) -> Vec<Vec<u8>> {
    git::history(root).iter().filter_map(|path| std::fs::read(path).ok()).collect()
}
