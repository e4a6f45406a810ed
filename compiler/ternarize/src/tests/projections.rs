//! Tier 1: what weights are rounded to by themselves.

use proptest::prelude::*;

use super::*;

#[test]
fn errors_on_gaussian_rows_are_those_of_theory() {
    let w = gaussian_matrix(64, 2048, 1);
    for (method, expected) in [
        ("binary", 0.364),
        ("sparse34", 0.285),
        ("absmean", 0.264),
        ("twn", 0.192),
        ("exact", 0.191),
        ("iterative", 0.191),
        ("hypersphere", 0.191),
        ("three-means", 0.190),
        ("ptqtp", 0.031),
    ] {
        let error = error(method, &w);
        assert!((error - expected).abs() < 0.005, "{method}: {error}");
    }
}

#[test]
fn more_freedom_loses_less() {
    let w = gaussian_matrix(32, 1024, 2);
    for chain in [
        &["binary", "equal-interval", "exact", "three-means"][..],
        &["exact", "exact{group=128}", "exact{group=32}"],
        &["exact", "exact{planes=2}", "ptqtp", "ptqtp{planes=3}", "ptqtp{planes=4}"],
        &["iterative", "asymmetric", "three-means"],
        &["tied", "ptqtp", "tied{planes=3}"],
        &["binary", "binary{planes=2}", "binary{planes=3}"],
    ] {
        let errors: Vec<f64> = chain.iter().map(|text| error(text, &w)).collect();
        assert!(errors.windows(2).all(|e| e[0] >= e[1] - 1e-4), "{chain:?}: {errors:?}");
    }
}

#[test]
fn shapes_hold_for_short_groups_and_short_rows() {
    for (n, k) in [(3, 40), (1, 1), (2, 3), (70, 5)] {
        let w = gaussian_matrix(n, k, 3);
        for recipe in every_recipe().filter(|r| !r.needs_calibration()) {
            for group in ["0", "16", "1000"] {
                let q = recipe.clone().with("group", group).unwrap().apply(&w, None, 1).unwrap();
                let per_row = k.div_ceil(q.planes[0].group);
                for plane in &q.planes {
                    assert_eq!(plane.weights(n, k).unwrap().dims(), [n, k], "{recipe}");
                    assert_eq!(plane.scale(n, k).unwrap().dims(), [n, per_row], "{recipe}");
                }
                assert!(q.dequantized().values.iter().all(|v| v.is_finite()), "{recipe}");
            }
        }
    }
}

#[test]
fn zeros_stay_zeros_and_constants_are_met() {
    let zeros = Matrix { n: 2, k: 8, values: vec![0.0; 16] };
    for recipe in every_recipe().filter(|r| !r.needs_calibration()) {
        let q = recipe.apply(&zeros, None, 0).unwrap();
        assert_eq!(q.dequantized().values, zeros.values, "{recipe}");
    }
    let constants = Matrix { n: 2, k: 8, values: vec![-0.75; 16] };
    for method in ["absmean", "twn", "exact", "binary", "iterative", "bernoulli"] {
        assert_eq!(round(method, &constants).dequantized(), constants, "{method}");
    }
}

#[test]
fn three_of_four_are_kept() {
    let q = round("sparse34", &gaussian_matrix(5, 64, 4));
    assert!(q.planes[0].trits.chunks(4).all(|run| run.iter().filter(|t| **t == 0).count() == 1));
    assert_eq!(q.zeros(), 0.25);
}

#[test]
fn a_third_is_zero_where_masses_are_equal() {
    let q = round("equal-mass", &gaussian_matrix(5, 300, 4));
    assert_eq!(q.planes[0].trits.iter().filter(|t| **t == 0).count(), 500);
}

#[test]
fn bernoulli_is_unbiased_and_told_by_its_seed() {
    let w = gaussian_matrix(3, 50, 5);
    let draw = |seed: u64| recipe("bernoulli").apply(&w, None, seed).unwrap();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    let mut mean = vec![0.0; w.values.len()];
    const DRAWS: u64 = 3000;
    for seed in 0..DRAWS {
        mean.iter_mut()
            .zip(draw(seed).dequantized().values)
            .for_each(|(m, v)| *m += f64::from(v) / DRAWS as f64);
    }
    let worst = mean.iter().zip(&w.values).map(|(m, w)| (m - f64::from(*w)).abs()).fold(0.0, f64::max);
    assert!(worst < 0.12, "{worst}");
}

#[test]
fn least_squares_is_the_smallest_angle() {
    let w = gaussian_matrix(20, 200, 6);
    let (exact, sphere) = (round("exact", &w), round("hypersphere", &w));
    assert_eq!(exact.planes[0].trits, sphere.planes[0].trits);
    for row in 0..w.n {
        let w = Matrix { n: 1, k: w.k, values: w.values[row * w.k..][..w.k].to_vec() };
        let q = round("hypersphere", &w);
        let (mut dot, mut trits) = (0.0, 0.0);
        for (w, t) in w.values.iter().zip(&q.planes[0].trits) {
            dot += f64::from(*w) * f64::from(*t);
            trits += f64::from(*t).powi(2);
        }
        let cosine = dot * dot / (w.squares() * trits);
        assert!((cosine - (1.0 - q.relative_weight_error(&w))).abs() < 1e-6);
    }
}

#[test]
fn signs_of_their_own_scale_are_means_of_what_they_stand_for() {
    let w = Matrix { n: 1, k: 6, values: vec![1.0, 3.0, -8.0, -4.0, 0.1, -0.2] };
    let q = round("ttq-init", &w);
    assert_eq!(q.planes[0].trits, [1, 1, -1, -1, 0, 0]);
    assert_eq!(q.planes[1].alphabet, Alphabet::Magnitude);
    assert_eq!(q.planes[1].trits, [1, 1, 1, 1, 0, 0]);
    let expected = [2.0, 2.0, -6.0, -6.0, 0.0, 0.0];
    assert!(q.dequantized().values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5));
}

/// The least squared error over all `3^m` choices of trits, each with its best scale.
fn brute_force(w: &[f32]) -> f64 {
    let all: f64 = w.iter().map(|v| f64::from(*v).powi(2)).sum();
    let gain = (0..3usize.pow(w.len() as u32)).map(|code| {
        let (mut code, mut dot, mut norm) = (code, 0.0, 0.0);
        for w in w {
            let t = (code % 3) as f64 - 1.0;
            code /= 3;
            dot += f64::from(*w) * t;
            norm += t * t;
        }
        if norm > 0.0 && dot > 0.0 { dot * dot / norm } else { 0.0 }
    });
    all - gain.fold(0.0, f64::max)
}

#[test]
fn exact_is_optimal_among_all_trits_of_twelve_weights() {
    let w = gaussian_matrix(1, 12, 7);
    let lost = error("exact", &w) * w.squares();
    assert!((lost - brute_force(&w.values)).abs() < 1e-5 * w.squares());
}

proptest! {
    #[test]
    fn exact_is_optimal(w in prop::collection::vec(-4f32..4.0, 1..8)) {
        let matrix = Matrix { n: 1, k: w.len(), values: w.clone() };
        let lost = error("exact", &matrix) * matrix.squares();
        prop_assert!((lost - brute_force(&w)).abs() <= 1e-5 * matrix.squares().max(1e-9), "{lost}");
    }

    #[test]
    fn ternary_weights_are_found_bit_for_bit(
        n in 1usize..5, k in 2usize..300, group in prop::sample::select(vec![16usize, 32, 64, 128, 1000]),
        seed in any::<u64>(),
    ) {
        let random = gaussian(n * k, seed | 1);
        let scale = |row: usize, i: usize| 0.5 + (row * 7 + i / group) as f32;
        let values: Vec<f32> = random
            .iter()
            .enumerate()
            .map(|(i, v)| if v.abs() < 0.5 { 0.0 } else { v.signum() * scale(i / k, i % k) })
            .collect();
        let w = Matrix { n, k, values };
        let found = find(&w).expect("it is ternary");
        prop_assert_eq!(&found.dequantized(), &w);
        prop_assert!(found.planes[0].group >= group.min(k));
    }
}

#[test]
fn other_weights_are_not_found() {
    let mut w = Matrix { n: 2, k: 64, values: vec![0.25; 128] };
    let group = |w: &Matrix| find(w).map(|q| q.planes[0].group);
    assert_eq!(group(&w), Some(64));
    for bad in [0.26, f32::NAN, f32::INFINITY] {
        w.values[70] = bad;
        assert_eq!(find(&w), None);
    }
    w.values[64..80].fill(-0.5);
    assert_eq!(group(&w), Some(16));
}
