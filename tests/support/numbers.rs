//! What tests of models ask of numbers.

use trine::Tensor;
use trine::npz::Npz;

pub fn array(npz: &mut Npz, name: &str) -> Tensor {
    npz.get(name).unwrap().unwrap_or_else(|| panic!("no array `{name}`"))
}

/// The token that greedy decoding takes: the largest logit, the first of equals.
pub fn argmax(logits: &[f32]) -> u32 {
    let better = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (0..logits.len()).fold(0, better) as u32
}

/// The largest difference over the largest magnitude; infinite where only one of the two is a number.
pub fn distance(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let off = got.iter().zip(want).map(|(g, w)| match (g - w).abs() / largest {
        off if off.is_nan() => f32::INFINITY,
        off => off,
    });
    off.fold(0.0, f32::max)
}
