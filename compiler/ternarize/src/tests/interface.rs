//! What holds for every method: refusals, determinism, what is counted.

use super::*;

#[test]
fn rows_of_unit_length_give_the_same_outputs() {
    let (n, k) = (12, 160);
    let mut w = gaussian_matrix(n, k, 5);
    w.values.iter_mut().enumerate().for_each(|(i, v)| *v *= ((i / k) as f32 - 6.0).exp());
    let inputs = testing::inputs(k, 400, 1, 2);
    let mut seen = Statistics::paired(k);
    seen.add_pairs(&inputs, &testing::inputs(k, 400, 1, 2)).unwrap();
    let metric = Metric::new(seen.gram(), k, 0.0).unwrap();
    let mut refused = vec![];
    for recipe in every_recipe() {
        for group in ["0", "64"] {
            let plain = recipe.clone().with("group", group).unwrap();
            let normalized = match plain.clone().with("normalize_rows", "true") {
                Ok(normalized) => normalized,
                Err(Refusal::CannotNormalize { method, .. }) => {
                    refused.push((method, group));
                    continue;
                }
                Err(other) => panic!("{plain}: {other}"),
            };
            let apply = |recipe: &Recipe| recipe.apply(&w, Some(&seen), 0).unwrap();
            let (plain, unit) = (apply(&plain), apply(&normalized));
            let widen = |m: Matrix| -> Vec<f64> { m.values.iter().map(|v| f64::from(*v)).collect() };
            let (before, after) = (widen(plain.dequantized()), widen(unit.dequantized()));
            let difference: Vec<f64> = before.iter().zip(&after).map(|(a, b)| a - b).collect();
            let rows = metric.squares(&difference).into_iter().zip(metric.squares(&before));
            for (row, (changed, all)) in rows.enumerate() {
                assert!(changed.sqrt() <= 1e-6 * all.sqrt(), "{normalized}, row {row}: {changed} of {all}");
            }
            let biases = plain.bias.iter().flatten().zip(unit.bias.iter().flatten());
            for ((a, b), row) in biases.zip(before.chunks(k)) {
                let size = row.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                assert!(f64::from(a - b).abs() <= 1e-5 * size, "{normalized}: biases {a} and {b}");
            }
        }
    }
    assert_eq!(refused, [("absmean", "0"), ("smart", "0"), ("smart", "64")]);
}

#[test]
fn every_method_gives_the_same_bits_on_any_number_of_threads() {
    let w = gaussian_matrix(150, 70, 1);
    let mut pairs = Statistics::paired(70);
    let x = testing::inputs(70, 600, 3, 4);
    let y: Vec<f32> = x.iter().map(|v| v * 0.9 + 0.01).collect();
    pairs.add_pairs(&y, &x).unwrap();
    for recipe in every_recipe() {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| recipe.apply(&w, Some(&pairs), 7).unwrap_or_else(|e| panic!("{recipe}: {e}")))
        };
        let one = with(1);
        assert_eq!(one, with(1), "{recipe}");
        assert_eq!(one, with(3), "{recipe}");
        assert!(one.dequantized().values.iter().all(|v| v.is_finite()), "{recipe}");
    }
}

#[test]
fn what_cannot_be_rounded_is_refused() {
    let mut w = gaussian_matrix(4, 8, 1);
    let seen = statistics(8, 100, 1, 2);
    let refusal = |text: &str, w: &Matrix, s: Option<&Statistics>| recipe(text).apply(w, s, 0).unwrap_err();
    assert_eq!(refusal("gptq", &w, None), Refusal::NeedsCalibration { method: "gptq" });
    assert_eq!(refusal("exact+bias", &w, None), Refusal::NeedsCalibration { method: "bias" });
    assert_eq!(refusal("cd+compensate", &w, Some(&seen)), Refusal::NeedsPairs { method: "compensate" });
    let narrow = statistics(7, 100, 1, 2);
    assert_eq!(refusal("cd", &w, Some(&narrow)), Refusal::Width { expected: 8, got: 7 });
    let few = statistics(8, 1, 1, 2);
    assert_eq!(refusal("cd", &w, Some(&few)), Refusal::TooFewSamples { samples: 1, k: 8, needed: 2 });
    w.values[9] = f32::INFINITY;
    assert_eq!(refusal("exact", &w, None), Refusal::NotFinite { what: "weight", row: 1, column: 1 });
    for (n, k) in [(0, 4), (4, 0), (2, 3)] {
        let empty = Matrix { n, k, values: vec![] };
        assert_eq!(refusal("exact", &empty, None), Refusal::Empty { n, k, values: 0 });
    }
}

#[test]
fn all_bits_are_counted() {
    let w = gaussian_matrix(4, 256, 1);
    let bits = |text: &str| recipe(text).apply(&w, Some(&statistics(256, 400, 1, 2)), 0).unwrap().bits();
    let trit = 3f64.log2();
    for (text, expected) in [
        ("binary", 1.0 + 32.0 / 256.0),
        ("exact", trit + 32.0 / 256.0),
        ("exact{scales=16}", trit + 16.0 / 256.0),
        ("absmean", trit + 32.0 / 1024.0),
        ("exact{group=64}", trit + 0.5),
        ("ptqtp{group=128}", 2.0 * (trit + 0.25)),
        ("three-means", trit + 3.0 * 32.0 / 256.0),
        ("exact+tequila", trit + 2.0 * 32.0 / 256.0),
        ("exact+columns", trit + 32.0 / 256.0 + 32.0 / 4.0),
    ] {
        assert!((bits(text) - expected).abs() < 1e-9, "{text}: {} {expected}", bits(text));
    }
    let q = round("ptqtp{group=128}", &w);
    assert_eq!(q.stored_bits(), 2.0 * (2.0 + 0.25));
}

#[test]
fn names_are_told_apart_and_described() {
    for (i, method) in METHODS.iter().enumerate() {
        assert!(METHODS[..i].iter().all(|m| m.name != method.name), "{}", method.name);
        assert!(!method.about.is_empty() && !method.paper.is_empty());
        assert_eq!(Recipe::new(method.name).is_err(), method.tier == Tier::Trained, "{}", method.name);
    }
}
