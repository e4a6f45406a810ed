//! `scale = mean|w|`, `t = clip(round(w / scale), -1, 1)`: BitNet b1.58 (arXiv 2402.17764).

use super::mean_magnitude;

pub fn project(w: &[f32], trits: &mut [i8]) -> f32 {
    let scale = mean_magnitude(w) as f32;
    if scale > 0.0 {
        for (w, t) in w.iter().zip(trits) {
            *t = (w / scale).round_ties_even().clamp(-1.0, 1.0) as i8;
        }
    }
    scale
}
