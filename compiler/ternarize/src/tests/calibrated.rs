//! Tier 2: the output error, on the inputs that a method saw and on others.

use super::*;
use crate::codebook::Codebook;
use crate::method::Rows;
use crate::refine::{descent, refit, slq};

/// Layers as `(weights, calibration, held out)`.
fn layers() -> impl Iterator<Item = (Matrix, Statistics, Statistics)> {
    [(40, 48, 1), (70, 96, 2), (16, 130, 3), (65, 64, 4)].into_iter().map(|(n, k, seed)| {
        (
            gaussian_matrix(n, k, seed + 20),
            statistics(k, 12 * k, seed, seed + 40),
            statistics(k, 12 * k, seed, seed + 60),
        )
    })
}

/// The relative output error under statistics.
fn output(text: &str, w: &Matrix, calibration: &Statistics, metric: &Metric) -> f64 {
    let q = recipe(text).apply(w, Some(calibration), 0).unwrap_or_else(|e| panic!("{text}: {e}"));
    q.relative_output_error(w, metric)
}

#[test]
fn methods_are_in_order_on_the_inputs_that_they_saw() {
    for (w, seen, _) in layers() {
        let metric = seen.damped(0.01).unwrap();
        for chain in [
            &["twn", "exact+refit", "admm"][..],
            &["exact", "exact+refit", "exact+refit+cd"],
            &["exact+refit", "gptq", "gptq+cd"],
            &["twn", "twn+gptq"],
            &["exact+refit", "exact+angle"],
            &["exact+refit", "exact+refit+offset"],
            &["three-means", "three-means+refit", "three-means+slq"],
            &["gptq+cd", "gptq+cd{group=32}"],
            &["gptq+cd", "ptqtp+refit", "ptqtp+cd", "ptqtp+cd{planes=3}"],
            &["binary+gptq", "binary+gptq+cd"],
        ] {
            let errors: Vec<f64> = chain.iter().map(|text| output(text, &w, &seen, &metric)).collect();
            // The last two of a chain may tie where descent ends in another hollow.
            let slack = |e: f64| e * 0.03 + 1e-9;
            assert!(errors.windows(2).all(|e| e[1] <= e[0] + slack(e[0])), "{chain:?}: {errors:?}");
        }
    }
}

#[test]
fn splitting_beats_refitting_on_other_inputs_too() {
    let (mut better, mut all) = (0, 0);
    for (w, seen, other) in layers() {
        let metric = other.damped(0.01).unwrap();
        let error = |text: &str| output(text, &w, &seen, &metric);
        all += 2;
        better += usize::from(error("admm") <= error("exact+refit"));
        better += usize::from(error("gptq+cd") <= error("admm") * 1.02);
    }
    assert!(better * 10 >= all * 9, "{better} of {all}");
}

#[test]
fn the_extragradient_comes_to_what_the_closed_form_finds() {
    for (w, seen, _) in layers() {
        let metric = seen.damped(0.01).unwrap();
        let (closed, steps) =
            (output("admm", &w, &seen, &metric), output("extragradient", &w, &seen, &metric));
        assert!((steps - closed).abs() <= 0.01 * closed, "{steps} {closed}");
    }
}

#[test]
fn descent_and_refits_never_raise_the_error() {
    for (w, seen, _) in layers() {
        let metric = seen.damped(0.01).unwrap();
        let values: Vec<f64> = w.values.iter().map(|v| f64::from(*v)).collect();
        for codebook in [
            Codebook::ternary(),
            Codebook::ternary().with_offset(),
            Codebook::signed(true),
            Codebook::planes(Alphabet::Ternary, 2, false),
            Codebook::planes(Alphabet::Ternary, 3, true),
            Codebook::planes(Alphabet::Binary, 2, false),
        ] {
            let mut grid = Grid::new(codebook, w.n, w.k, 32);
            grid.coefficients.iter_mut().enumerate().for_each(|(i, c)| *c = 1.0 / (1 + i % 3) as f64);
            grid.round(&values);
            let settings = Settings::default();
            let rows = Rows { w: &values, metric: &metric, settings: &settings };
            let error = |grid: &Grid| -> f64 {
                let d: Vec<f64> = values.iter().zip(grid.values()).map(|(w, q)| w - q).collect();
                metric.squares(&d).iter().sum()
            };
            let mut last = error(&grid);
            for round in 0..8 {
                if round % 2 == 0 {
                    refit::fit(&rows, &mut grid);
                } else {
                    descent::sweep(&rows, &mut grid);
                }
                let now = error(&grid);
                assert!(now <= last * (1.0 + 1e-9), "{now} after {last} in round {round}");
                last = now;
            }
        }
    }
}

#[test]
fn descent_ends_where_no_weight_can_do_better() {
    let (w, seen, _) = layers().next().unwrap();
    let metric = seen.damped(0.01).unwrap();
    let q = recipe("cd{sweeps=100}").apply(&w, Some(&seen), 0).unwrap();
    let best = q.output_error(&w, &metric);
    for at in (0..w.values.len()).step_by(17) {
        for trit in [-1, 0, 1] {
            let mut other = q.clone();
            other.planes[0].trits[at] = trit;
            assert!(other.output_error(&w, &metric) >= best * (1.0 - 1e-6));
        }
    }
}

#[test]
fn clusters_fixed_one_by_one_end_below_one_shot() {
    for (w, seen, _) in layers() {
        let metric = seen.damped(0.01).unwrap();
        let values: Vec<f64> = w.values.iter().map(|v| f64::from(*v)).collect();
        let settings = Settings::default();
        let rows = Rows { w: &values, metric: &metric, settings: &settings };
        let mut grid = Grid::new(Codebook::signed(true), w.n, w.k, w.k);
        grid.coefficients.chunks_mut(3).for_each(|c| c[0] = 1.2);
        grid.round(&values);
        let (_, log) = slq::rounds(&rows, grid);
        assert!(log.windows(2).all(|e| e[1] <= e[0]), "{log:?}");
        assert!(
            output("three-means+slq", &w, &seen, &metric) < output("three-means+refit", &w, &seen, &metric)
        );
    }
}

#[test]
fn angles_are_no_wider_than_those_of_the_start() {
    for (w, seen, _) in layers() {
        let metric = seen.damped(0.01).unwrap();
        let (start, end) =
            (output("exact+refit", &w, &seen, &metric), output("exact+angle", &w, &seen, &metric));
        assert!(end < start, "{end} {start}");
    }
}

#[test]
fn unequal_columns_are_worth_scaling() {
    let (w, seen, other) = layers().nth(1).unwrap();
    let chosen = choose_exponent(&recipe("exact+columns"), &w, &seen, &other, 0).unwrap();
    let metric = other.damped(0.01).unwrap();
    let with = chosen.apply(&w, Some(&seen), 0).unwrap();
    assert_eq!(with.column_scale.as_ref().map(Vec::len), Some(w.k));
    assert!(with.relative_output_error(&w, &metric) <= output("exact", &w, &seen, &metric));
}

#[test]
fn compensation_lowers_the_error_of_disturbed_inputs() {
    let (n, k) = (24, 64);
    let w = gaussian_matrix(n, k, 1);
    let original = testing::inputs(k, 2000, 5, 6);
    // A prefix that loses a tenth of all inputs and mixes neighbours.
    let disturbed: Vec<f32> =
        original.iter().enumerate().map(|(i, v)| 0.9 * v + 0.2 * original[i.saturating_sub(1)]).collect();
    let mut pairs = Statistics::paired(k);
    pairs.add_pairs(&disturbed, &original).unwrap();
    let loss = |text: &str| {
        let q = recipe(text).apply(&w, Some(&pairs), 0).unwrap().dequantized();
        let mut lost = 0.0;
        for (x, y) in original.chunks(k).zip(disturbed.chunks(k)) {
            for (w, q) in w.values.chunks(k).zip(q.values.chunks(k)) {
                let exact: f32 = w.iter().zip(x).map(|(w, x)| w * x).sum();
                let rounded: f32 = q.iter().zip(y).map(|(q, y)| q * y).sum();
                lost += f64::from(exact - rounded).powi(2);
            }
        }
        lost
    };
    let (without, half, whole) =
        (loss("gptq+cd"), loss("gptq+cd+compensate"), loss("gptq+cd+compensate{share=1}"));
    assert!(whole < half && half < without, "{without} {half} {whole}");
}
