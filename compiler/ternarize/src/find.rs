//! Weights that are ternary as they stand: every whole row, or group of a row, holds only {-s, 0, +s}.

use super::{Matrix, Quantized};
use rayon::prelude::*;
use trine_ir::ops::groups;

/// Groups that are tried when rows are not ternary, coarsest first. Each is a multiple of the last.
const GROUPS: [usize; 7] = [1024, 512, 256, 128, 64, 32, 16];

/// The trits and scales that give `w` bit for bit, under the coarsest grouping there is.
pub fn find(w: &Matrix) -> Option<Quantized> {
    let finest = GROUPS[GROUPS.len() - 1];
    if w.k < 2 || w.n == 0 {
        return None;
    }
    // The magnitudes of the finest cells decide about all the others.
    let rows = w.values.par_chunks(w.k).map(|row| row.chunks(finest).map(magnitude).collect());
    let fine: Option<Vec<Vec<f32>>> = rows.collect();
    let fine = fine?.concat();
    let cells = groups(w.k, finest);
    let coarser = GROUPS.into_iter().filter(|g| *g < w.k);
    let (group, scales) = std::iter::once(w.k).chain(coarser).find_map(|group| {
        let per = group.div_ceil(finest);
        let rows = fine.chunks(cells).flat_map(|row| row.chunks(per));
        let scales: Option<Vec<f32>> = rows.map(magnitude).collect();
        scales.map(|s| (group, s))
    })?;
    let trits = w.values.par_iter().map(|v| i8::from(*v > 0.0) - i8::from(*v < 0.0)).collect();
    Some(Quantized::single(w.n, w.k, group, trits, scales))
}

/// The one magnitude besides zero among `values`; zero if there is none, `None` if there are more.
fn magnitude(values: &[f32]) -> Option<f32> {
    // Magnitudes are in the order of their bits, which are compared faster.
    let bits = |v: &f32| v.abs().to_bits();
    let found = values.iter().map(bits).max().unwrap_or(0);
    let fits = values.iter().map(bits).fold(true, |fits, v| fits & (v == 0 || v == found));
    Some(f32::from_bits(found)).filter(|s| fits && s.is_finite())
}

/// Whether a column of weights could be a row of a ternary matrix: a cheap look before a transposition.
pub fn could_be(row: impl Iterator<Item = f32>) -> bool {
    let row: Vec<f32> = row.collect();
    row.chunks(GROUPS[GROUPS.len() - 1]).all(|cell| magnitude(cell).is_some())
}
