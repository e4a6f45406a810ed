//! GPTQ on the levels of a codebook (arXiv 2210.17323): columns are rounded one after another, and those to come
//! make up for the error of each.
//!
//! With `Uᵀ·U = H⁻¹` the error of column j, `d = (w_j − q_j) / U_jj`, is taken from the later ones as `d·U_j`. Columns go by
//! falling `H_jj`; those of a block are corrected at once, and all later ones by a product when the block is done.

use super::{difference, keep_best, refit, step};
use crate::grid::nearest;
use crate::linalg::{accumulate, view, view_mut};
use crate::method::{Method, Rows};
use crate::{Grid, Refusal};

/// Columns between products.
const BLOCK: usize = 64;

pub const METHOD: Method = step(
    "gptq",
    "columns one by one, those to come make up for the error; scales refitted",
    "arXiv 2210.17323",
    "greedy, second order",
    run,
);

fn run(rows: &Rows, start: Grid) -> Result<Grid, Refusal> {
    let mut errors = rows.metric.squares(&difference(rows.w, &start));
    let mut grid = start.clone();
    round(rows, &mut grid)?;
    refit::fit(rows, &mut grid);
    let mut best = start;
    keep_best(rows, &mut best, &mut errors, &grid);
    Ok(best)
}

fn round(rows: &Rows, grid: &mut Grid) -> Result<(), Refusal> {
    let factor = rows.metric.factor()?;
    let (k, n, cells, codes) = (grid.k, grid.rows(), grid.groups(), grid.codebook.len());
    let levels = grid.levels();
    let mut w: Vec<f64> = Vec::with_capacity(n * k);
    for row in rows.w.chunks(k) {
        w.extend(factor.order.iter().map(|j| row[*j]));
    }
    let mut errors = vec![0.0; n * BLOCK];
    for first in (0..k).step_by(BLOCK) {
        let last = k.min(first + BLOCK);
        for (row, (w, errors)) in w.chunks_mut(k).zip(errors.chunks_mut(BLOCK)).enumerate() {
            for place in first..last {
                let column = factor.order[place];
                let cell = row * cells + column / grid.group;
                let levels = &levels[cell * codes..][..codes];
                let code = nearest(levels, w[place]);
                grid.codes[row * k + column] = code;
                let upper = &factor.upper[place * k..][place..last];
                let error = (w[place] - levels[usize::from(code)]) / upper[0];
                errors[place - first] = error;
                w[place..last].iter_mut().zip(upper).for_each(|(w, u)| *w -= error * u);
            }
        }
        if last < k {
            let later = view_mut(&mut w, n, k).submatrix_mut(0, last, n, k - last);
            let errors = view(&errors, n, BLOCK).submatrix(0, 0, n, last - first);
            let upper = view(&factor.upper, k, k).submatrix(first, last, last - first, k - last);
            accumulate(later, -1.0, errors, upper);
        }
    }
    Ok(())
}
