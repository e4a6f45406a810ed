//! `-v` and `RUST_LOG`: what is done is told on standard error, and the result stays what it is.

use crate::command::{both, command, digits, model, printed};

fn args() -> [String; 4] {
    ["run".into(), model("digits/mlp.onnx"), "-i".into(), digits("mlp.x")]
}

fn run(extra: &[&str], log: Option<&str>) -> [String; 2] {
    let args = args();
    let args: Vec<&str> = args.iter().map(String::as_str).chain(extra.iter().copied()).collect();
    let mut command = command(&args);
    command.env_remove("RUST_LOG");
    if let Some(log) = log {
        command.env("RUST_LOG", log);
    }
    printed(command.output().unwrap())
}

#[test]
fn what_is_done_is_told_where_it_is_asked_for() {
    let [result, silence] = run(&[], None);
    assert_eq!(silence, "");
    let [same, told] = run(&["-v"], None);
    assert_eq!(same, result);
    for event in [
        "read a model",
        "ran a pass pass=detect-ternary rewrites=",
        "chose a microkernel",
        "compiled kernels",
        "ran the model",
    ] {
        assert!(told.contains(event), "`{event}` in {told}");
    }
    assert!(!told.contains("DEBUG") && !told.contains('\u{1b}'), "{told}");
    let [same, more] = run(&["-vv"], None);
    assert_eq!(same, result);
    assert!(more.contains("DEBUG") && more.lines().count() > told.lines().count(), "{more}");
    let [same, by_variable] = run(&[], Some("trine=debug"));
    assert_eq!(same, result);
    assert!(by_variable.contains("DEBUG") && by_variable.contains("compiled kernels"), "{by_variable}");
    let [_, passes] = run(&[], Some("trine::pass=info"));
    assert!(passes.contains("ran a pass") && !passes.contains("compiled kernels"), "{passes}");
}

#[test]
fn the_flag_may_stand_before_the_command() {
    let [result, told] = both(&["-v", "list", "passes"]);
    assert!(result.contains("detect-ternary") && told.contains("started"), "{told}");
}

/// It may be meant for other programs.
#[test]
fn a_variable_that_says_nothing_stops_nothing() {
    let mut command = command(&["list", "passes"]);
    let [result, told] = printed(command.env("RUST_LOG", "trine=[loud").output().unwrap());
    assert!(result.contains("detect-ternary") && told.contains("RUST_LOG is `trine=[loud`"), "{told}");
}
