//! What others answered, as tests of models read it.

use trine::Tensor;
use trine::npz::Npz;

pub fn array(npz: &mut Npz, name: &str) -> Tensor {
    npz.get(name).unwrap().unwrap_or_else(|| panic!("no array `{name}`"))
}

/// The token that greedy decoding takes: the largest logit, the first of equals. All logits are to be numbers.
pub fn argmax(logits: &[f32]) -> u32 {
    assert!(logits.iter().all(|l| !l.is_nan()), "a logit is not a number");
    let better = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (0..logits.len()).fold(0, better) as u32
}
