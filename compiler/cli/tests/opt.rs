//! `trine opt`, as those meet it who look for what a pass did.

use std::io::Write;
use std::process::Stdio;

use crate::command::{both, command, fail, model, printed, succeed};

#[test]
fn passes_can_be_stopped_after_by_number_and_by_name() {
    let mlp = model("digits/mlp.onnx");
    let none = succeed(&["opt", &mlp, "--stop-after", "0"]);
    assert_eq!(none, succeed(&["opt", &mlp, "-O0"]));
    let found = succeed(&["opt", &mlp, "--stop-after", "detect-ternary"]);
    assert!(found.starts_with("stage ternary\n"), "{found}");
    let message = fail(2, &["opt", &mlp, "--stop-after", "nothing"]);
    assert!(message.contains("a number of passes or the name of one"), "{message}");
}

#[test]
fn what_passes_did_is_shown_as_files_as_differences_and_in_part() {
    let (mlp, folder) = (model("digits/mlp.onnx"), tempfile::tempdir().unwrap());
    let dumps = folder.path().join("dumps");
    succeed(&["opt", &mlp, "--print-ir-dir", dumps.to_str().unwrap()]);
    let mut names: Vec<_> =
        dumps.read_dir().unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names[..2], ["01-fold-constants.ir", "02-simplify.ir"]);
    assert!(std::fs::read_to_string(dumps.join(&names[0])).unwrap().contains("graph @main("));
    let [_, diff] = both(&["opt", &mlp, "--print-ir-diff"]);
    assert!(diff.contains("\n-  ") && diff.contains("\n+  ") && diff.contains("ternary_matmul"), "{diff}");
    let some = succeed(&["opt", &mlp, "-O0", "--filter", "fc1*"]);
    assert!(some.starts_with("@main:\n  ...\n") && some.lines().count() < 8, "{some}");
}

#[test]
fn text_is_read_from_standard_input_and_says_itself_which_passes_it_wants() {
    let source = "// passes: simplify\ngraph @main(%x: f32[n]) -> (%y: f32[n]) {\n  %a = identity %x : f32[n]\n  \
                  %y = neg %a : f32[n]\n}\n";
    let want = "graph @main(%x: f32[n]) -> (%y: f32[n]) {\n  %y = neg %x : f32[n]\n}\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.ir");
    std::fs::write(&path, source).unwrap();
    assert_eq!(succeed(&["opt", path.to_str().unwrap()]), want);
    let read = |args: &[&str]| {
        let mut child = command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
        let [text, _] = printed(child.wait_with_output().unwrap());
        text
    };
    assert_eq!(read(&["opt", "-"]), want);
    assert_eq!(read(&["opt", "-", "--dim", "n=3"]), want.replace("[n]", "[3]"));
}
