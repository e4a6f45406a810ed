//! What `trine --version --verbose` says of how it was built: which commit, for what, by which compiler.
//!
//! Whenever this runs again, the whole package is compiled again. So only a release build tells the commit, and runs this
//! where the sources or the commit change.

#[path = "build/git.rs"]
mod git;

use std::env::var;
use std::path::PathBuf;
use std::process::Command;

/// What programs are made of, from the root of the tree.
const SOURCES: [&str; 10] = [
    "Cargo.lock",
    "Cargo.toml",
    "ir/src",
    "runtime/src",
    "runtime/ukernel/src",
    "compiler/formats/src",
    "compiler/ternarize/src",
    "compiler/codegen/src",
    "compiler/src",
    "compiler/cli/src",
];

fn main() {
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR").unwrap()).join("../..");
    let mut watched = vec![PathBuf::from("build.rs"), PathBuf::from("build")];
    let mut commit = "not looked up in debug builds".into();
    if var("PROFILE").unwrap() == "release" {
        watched.extend(SOURCES.map(|name| root.join(name)));
        watched.extend(git::history(&root));
        commit = git::commit(&root).unwrap_or("unknown".into());
    }
    // Cargo takes a file that is not there for one that has changed.
    for path in watched.iter().filter(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    let rustc = git::said(Command::new(var("RUSTC").unwrap()).arg("--version"));
    println!("cargo:rustc-env=TRINE_COMMIT={commit}");
    println!("cargo:rustc-env=TRINE_TARGET={}", var("TARGET").unwrap());
    println!("cargo:rustc-env=TRINE_RUSTC={}", rustc.unwrap_or("unknown".into()));
}
