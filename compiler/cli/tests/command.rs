//! The command `trine`, as tests call it, and the models that they give it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn models() -> PathBuf {
    root().join("tests/models")
}

/// The path of a model, or of anything beside models, as an argument.
pub fn model(name: &str) -> String {
    models().join(name).display().to_string()
}

/// The array of the digits' data of this name, as the argument that gives it to input `x`.
pub fn digits(name: &str) -> String {
    format!("x={}:{name}", model("digits/data.npz"))
}

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trine"));
    command.args(args).env_remove("RUST_BACKTRACE").env_remove("RUST_LOG");
    command
}

/// What a command printed as its result, and what it said beside it, if it succeeded.
pub fn printed(output: Output) -> [String; 2] {
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{stderr}");
    [stdout, stderr]
}

/// What a command that failed with `code` said about it.
pub fn failed(code: i32, output: Output) -> String {
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(!message.contains('\u{1b}'), "colours without a terminal: {message:?}");
    message
}

/// What a successful command printed as its result, and what it said beside it.
pub fn both(args: &[&str]) -> [String; 2] {
    printed(command(args).output().unwrap())
}

/// What a successful command printed as its result.
pub fn succeed(args: &[&str]) -> String {
    let [result, _] = both(args);
    result
}

/// What a command that failed with `code` said about it.
pub fn fail(code: i32, args: &[&str]) -> String {
    failed(code, command(args).output().unwrap())
}

/// The result of a successful command with `--json`.
pub fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[args, &["--json"]].concat())).unwrap()
}
