//! `t = sign(w)` where `|w| > 0.7·mean|w|`, `scale` = mean of those `|w|`: ternary weight networks
//! (arXiv 1605.04711).

use super::{keep_above, mean_magnitude};

pub fn project(w: &[f32], trits: &mut [i8]) -> f32 {
    let (sum, kept) = keep_above(w, trits, 0.7 * mean_magnitude(w));
    if kept == 0 { 0.0 } else { (sum / kept as f64) as f32 }
}
