//! `trine features` and `--states`, as their users meet them, on digits.

use crate::command::{both, fail, json, model, succeed};

fn digits(name: &str) -> String {
    model(&format!("digits/{name}"))
}

#[test]
fn the_sweep_finds_the_threshold_and_says_what_neighbours_think() {
    let (model, data) = (digits("rows_gru.onnx"), digits("rows.npz"));
    let report = json(&["features", &model, "--data", &data]);
    assert_eq!(
        (&report["value"], &report["width"], &report["examples"]),
        (&"state".into(), &32.into(), &450.into())
    );
    let points = report["points"].as_array().unwrap();
    assert_eq!(points.len(), 18);
    let highest = |form: &str| {
        let of_form = points.iter().filter(|p| p["form"] == form);
        of_form.filter_map(|p| p["D"].as_f64()).fold(0.0, f64::max)
    };
    for (best, form) in report["best"].as_array().unwrap().iter().zip(["ternary", "binary"]) {
        assert_eq!(best["point"]["form"], form);
        assert_eq!(best["point"]["D"].as_f64(), Some(highest(form)));
    }
    // A state that was trained as f32 is told apart the best as it is (raw digits are not, see `discrimination`); signs
    // alone are the worse for lack of a zero, and neighbours hardly notice.
    let (before, best) = (report["D"].as_f64().unwrap(), &report["best"][0]);
    assert!(before > highest("ternary") && highest("ternary") > highest("binary"), "{report}");
    let (plain, rounded) = (report["neighbours"].as_f64().unwrap(), best["neighbours"].as_f64().unwrap());
    assert!(plain > 0.95 && rounded > plain - 0.02, "{report}");
    let text = succeed(&["features", &model, "--data", &data]);
    assert!(
        text.starts_with("`%state`: 450 examples of 32 features") && text.contains("best ternary: D "),
        "{text}"
    );
    // The classifier sees what it was not trained on, and still tells most.
    let features = format!("ternary{{threshold={}}}", best["point"]["threshold"]);
    let share =
        json(&["accuracy", &model, "--data", &data, "--features", &features])["accuracy"].as_f64().unwrap();
    assert!(share > 0.8, "{share}");
}

#[test]
fn mistakes_are_answered() {
    let (model, data) = (digits("rows_gru.onnx"), digits("rows.npz"));
    let message = fail(1, &["features", &model, "--data", &data, "--value", "nothing"]);
    assert!(message.contains("`@main` has no value `%nothing`"), "{message}");
    let message = fail(1, &["features", &model, "--data", &data, "--labels", "x"]);
    assert!(message.contains("labels are integers"), "{message}");
    let message = fail(2, &["accuracy", &model, "--data", &data, "--states", "sometimes"]);
    assert!(message.contains("`threshold`, `mean`, `bernoulli` or `keep`, not `sometimes`"), "{message}");
    let message = fail(2, &["accuracy", &model, "--data", &data, "--features", "ternary{level=1}"]);
    assert!(message.contains("no option `level`"), "{message}");
    let message = fail(2, &["accuracy", &model, "--data", &data, "--states", "keep{slope=-1}"]);
    assert!(message.contains("`slope` is a number above 0"), "{message}");
}

#[test]
fn rounded_states_are_a_warning_and_cost_accuracy() {
    let (model, data) = (digits("rows_lstm.onnx"), digits("rows.npz"));
    let args = ["accuracy", &model, "--data", &data, "--ternarize", "twn", "--states", "threshold"];
    let [_, warning] = both(&args);
    for line in [
        "`%every`: ternary states by a threshold of 1/2",
        "changed the weights of 2 layers",
        "the worst: `@r.forward` [128,32]: twn",
    ] {
        assert!(warning.contains(line), "{warning}");
    }
    let (plain, rounded) = (json(&args[..4]), json(&args));
    assert!(plain["accuracy"].as_f64() > rounded["accuracy"].as_f64(), "{plain} {rounded}");
}
