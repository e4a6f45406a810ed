//! Methods against the figures that theory gives, and against brute force.

use proptest::prelude::*;

use super::*;

/// Gaussian numbers by the sum of twelve uniform ones would have short tails; Box and Muller's do not.
fn gaussian(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    let pair = |u: f64, v: f64| ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32;
    (0..count).map(|_| pair(uniform(), uniform())).collect()
}

fn error(method: &str, w: &Matrix, group: Option<usize>) -> f64 {
    Method::named(method).unwrap().apply(w, group).report("w", method, w).error
}

#[test]
fn errors_on_gaussian_rows_are_those_of_theory() {
    let w = Matrix { n: 64, k: 2048, values: gaussian(64 * 2048, 1) };
    for (method, expected) in [("absmean", 0.264), ("twn", 0.192), ("exact", 0.191)] {
        let error = error(method, &w, None);
        assert!((error - expected).abs() < 0.005, "{method}: {error}");
    }
}

#[test]
fn smaller_groups_lose_less() {
    let w = Matrix { n: 16, k: 512, values: gaussian(16 * 512, 2) };
    let errors = [None, Some(128), Some(32)].map(|group| error("exact", &w, group));
    assert!(errors[0] > errors[1] && errors[1] > errors[2], "{errors:?}");
}

#[test]
fn shapes_hold_for_short_groups_and_nothing() {
    for (n, k) in [(3, 40), (1, 1), (0, 4), (2, 0)] {
        let w = Matrix { n, k, values: gaussian(n * k, 3) };
        for method in METHODS {
            for group in [None, Some(16), Some(1000)] {
                let t = method.apply(&w, group);
                assert_eq!(t.weights().unwrap().dims(), [n, k]);
                assert_eq!(t.scale().unwrap().dims(), [n, groups(k, t.group)]);
            }
        }
    }
}

/// The least squared error over all `3^m` choices of trits, each with its best scale.
fn brute_force(w: &[f32]) -> f64 {
    let all: f64 = w.iter().map(|v| f64::from(*v).powi(2)).sum();
    let gain = (0..3usize.pow(w.len() as u32)).map(|code| {
        let trits = (0..w.len()).map(|i| (code / 3usize.pow(i as u32) % 3) as f64 - 1.0);
        let (dot, norm) = w
            .iter()
            .zip(trits)
            .fold((0.0, 0.0), |(dot, norm), (w, t)| (dot + f64::from(*w) * t, norm + t * t));
        if norm > 0.0 && dot > 0.0 { dot * dot / norm } else { 0.0 }
    });
    all - gain.fold(0.0, f64::max)
}

proptest! {
    #[test]
    fn exact_is_optimal(w in prop::collection::vec(-4f32..4.0, 1..8)) {
        let matrix = Matrix { n: 1, k: w.len(), values: w.clone() };
        let all: f64 = w.iter().map(|v| f64::from(*v).powi(2)).sum();
        let lost = error("exact", &matrix, None) * all;
        prop_assert!((lost - brute_force(&w)).abs() <= 1e-5 * all.max(1e-9), "{lost}");
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
        prop_assert!(found.group >= group.min(k));
    }
}

#[test]
fn other_weights_are_not_found() {
    let mut w = Matrix { n: 2, k: 64, values: vec![0.25; 128] };
    assert_eq!(find(&w).map(|t| t.group), Some(64));
    for bad in [0.26, f32::NAN, f32::INFINITY] {
        w.values[70] = bad;
        assert_eq!(find(&w), None);
    }
    w.values[64..80].fill(-0.5);
    assert_eq!(find(&w).map(|t| t.group), Some(16));
}
