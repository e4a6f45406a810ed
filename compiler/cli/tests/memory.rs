//! `--max-memory`: what would take more is refused, and what wanted it is named.

use crate::command::{digits, fail, model, succeed};

#[test]
fn caches_that_are_too_large_are_refused_by_name() {
    let lm = model("lm/f32.onnx");
    let generate = |tokens: &str, extra: &[&str]| {
        fail(1, &[&["generate", &lm, "--prompt", "Once", "-n", tokens][..], extra].concat())
    };
    let told = generate("100000000", &["--max-memory", "1G"]);
    let sizes = "positions takes 191 GiB; 191 GiB are needed in all, and 1 GiB are allowed";
    assert!(told.contains("the cache `past_key_values.0.key`, with 7 more, for 100,000,0"), "{told}");
    assert!(told.contains(sizes), "{told}");
    let told = generate("100000000000000", &[]);
    assert!(
        told.contains("with 7 more, for 100,000,000,000,0") && told.contains("which cannot be had"),
        "{told}"
    );
    let [plain, within] = [&[][..], &["--max-memory", "1G"]]
        .map(|extra| succeed(&[&["generate", &lm, "--prompt", "Once", "-n", "4"][..], extra].concat()));
    assert_eq!(plain, within);
}

#[test]
fn weights_and_values_count() {
    let (mlp, x) = (model("digits/mlp.onnx"), digits("mlp.x"));
    let run = ["run", &mlp, "-i", &x];
    let told = fail(1, &[&run[..], &["--max-memory", "1K"]].concat());
    assert!(told.contains("the weight data takes ") && told.contains("1 KiB are allowed"), "{told}");
    // The weights alone would fit.
    let told = fail(1, &[&run[..], &["--max-memory", "40K"]].concat());
    assert!(told.contains(" takes ") && told.contains("40 KiB are allowed"), "{told}");
    assert_eq!(succeed(&[&run[..], &["--max-memory", "64M"]].concat()), succeed(&run));
    let told = fail(2, &[&run[..], &["--max-memory", "4096"]].concat());
    assert!(told.contains("is not a size with its unit"), "{told}");
}
