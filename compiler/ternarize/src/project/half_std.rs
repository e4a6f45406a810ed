//! Weights within half a standard deviation of their mean are zero, and those beyond have the signs of what
//! they deviate by (the variance-driven threshold of the survey, arXiv 2303.01505). `scale` = the mean of `t·w`.

use super::cells;
use crate::Method;
use trine_ir::random::Draw;

pub const METHOD: Method = cells(
    "half-std",
    "weights within 0.5 standard deviations of the row's mean are zero",
    "arXiv 2303.01505",
    "threshold",
    "none",
    project,
);

fn project(w: &[f32], _: Draw, trits: &mut [i8]) -> f32 {
    let count = w.len().max(1) as f64;
    let mean = w.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = w.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    let threshold = 0.5 * variance.sqrt();
    let (mut sum, mut kept) = (0f64, 0);
    for (w, t) in w.iter().zip(trits) {
        let deviation = f64::from(*w) - mean;
        if deviation.abs() > threshold {
            *t = if deviation < 0.0 { -1 } else { 1 };
            sum += f64::from(*t) * f64::from(*w);
            kept += 1;
        }
    }
    if kept == 0 { 0.0 } else { (sum / f64::from(kept)) as f32 }
}
