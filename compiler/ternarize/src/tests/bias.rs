//! Constants that make up for what was lost.

use super::*;

#[test]
fn dead_weights_as_a_bias_are_row_sums() {
    let w = gaussian_matrix(6, 300, 1);
    let plain = round("absmean{group=128}", &w);
    let nothing = round("absmean+tequila{group=128,lambda=0}", &w);
    assert_eq!(nothing.planes, plain.planes);
    assert_eq!(nothing.bias, Some(vec![0.0; 6]));
    let some = round("absmean+tequila{group=128,lambda=0.5}", &w);
    assert_eq!(some.planes, plain.planes);
    for (row, bias) in some.bias.unwrap().iter().enumerate() {
        let weights = w.values[row * 300..][..300].iter().zip(&plain.planes[0].trits[row * 300..]);
        let dead: f64 = weights.filter(|(_, t)| **t == 0).map(|(w, _)| f64::from(*w)).sum();
        assert!((f64::from(*bias) - 0.5 * dead).abs() < 1e-6);
    }
}

#[test]
fn a_calibrated_bias_zeroes_the_mean_error() {
    let (n, k) = (9, 64);
    let w = gaussian_matrix(n, k, 2);
    let seen = statistics(k, 1000, 3, 4);
    let mean = seen.mean();
    let metric = Metric::new(seen.gram(), k, 0.0).unwrap();
    for base in ["absmean", "exact", "gptq+cd"] {
        let q = recipe(&format!("{base}+bias")).apply(&w, Some(&seen), 0).unwrap();
        let bias = q.bias.clone().unwrap();
        let size: f64 =
            w.values.iter().zip(mean.iter().cycle()).map(|(w, m)| (f64::from(*w) * m).abs()).sum();
        for (d, b) in q.difference(&w).chunks(k).zip(&bias) {
            let left = d.iter().zip(&mean).map(|(d, m)| d * m).sum::<f64>() - f64::from(*b);
            assert!(left.abs() < 1e-6 * size, "{left}");
        }
        assert!(q.relative_biased_error(&w, &metric, &mean) < q.relative_output_error(&w, &metric));
        let dead = recipe(&format!("{base}+dead-bias")).apply(&w, Some(&seen), 0).unwrap();
        assert_ne!(dead.bias, q.bias);
    }
}

#[test]
fn a_bias_makes_up_for_means_that_moved() {
    let k = 16;
    let w = gaussian_matrix(3, k, 2);
    let original = testing::inputs(k, 500, 1, 2);
    let moved: Vec<f32> = original.iter().map(|v| v + 1.0).collect();
    let mut pairs = Statistics::paired(k);
    pairs.add_pairs(&moved, &original).unwrap();
    let q = recipe("exact+bias").apply(&w, Some(&pairs), 0).unwrap();
    let rounded = q.dequantized();
    for row in 0..3 {
        let dot = |m: &Matrix, x: &[f64]| -> f64 {
            m.values[row * k..][..k].iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()
        };
        let wanted = dot(&w, &pairs.original_mean());
        let given = dot(&rounded, &pairs.mean()) + f64::from(q.bias.as_ref().unwrap()[row]);
        assert!((wanted - given).abs() < 1e-4, "{wanted} {given}");
    }
}
