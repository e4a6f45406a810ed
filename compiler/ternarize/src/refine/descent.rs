//! Coordinate descent on the codes (QuantEase, arXiv 2309.01885; CDQuant, arXiv 2406.17542).
//!
//! With `R = (W − Q)·H` the output error, as a function of one weight alone, is least at `q + R_j / H_jj`, so the
//! nearest level to that is the best there is for it; taking it never raises the error. After each sweep the
//! scales are refitted, which never raises it either. Columns of a block see each other's changes at once, and
//! all others by a product when the block is done.

use super::{difference, refit, step};
use crate::Grid;
use crate::grid::nearest;
use crate::linalg::{accumulate, view, view_mut};
use crate::method::{Method, Rows};

/// Columns between products.
const BLOCK: usize = 64;

pub const METHOD: Method = step(
    "cd",
    "each weight's best level with all others fixed, in sweeps; scales refitted",
    "arXiv 2309.01885, 2406.17542",
    "coordinate descent",
    |rows, mut grid| {
        refit::fit(rows, &mut grid);
        for _ in 0..rows.settings.sweeps {
            let moved = sweep(rows, &mut grid);
            refit::fit(rows, &mut grid);
            if moved == 0 {
                break;
            }
        }
        Ok(grid)
    },
);

/// Takes each column in turn to its best level; returns how many weights changed.
pub fn sweep(rows: &Rows, grid: &mut Grid) -> usize {
    let (k, n, cells, codes) = (grid.k, grid.rows(), grid.groups(), grid.codebook.len());
    let h = rows.metric.values();
    let levels = grid.levels();
    let mut residual = rows.metric.apply(&difference(rows.w, grid));
    let mut steps = vec![0.0; n * BLOCK];
    let mut moved = 0;
    for first in (0..k).step_by(BLOCK) {
        let last = k.min(first + BLOCK);
        let mut any = false;
        steps.fill(0.0);
        for (row, steps) in steps.chunks_mut(BLOCK).enumerate() {
            let mut near = [0.0; BLOCK];
            let near = &mut near[..last - first];
            near.copy_from_slice(&residual[row * k..][first..last]);
            for column in first..last {
                let cell = row * cells + column / grid.group;
                let levels = &levels[cell * codes..][..codes];
                let code = &mut grid.codes[row * k + column];
                let old = levels[usize::from(*code)];
                let h = &h[column * k..][first..last];
                let place = column - first;
                let best = nearest(levels, old + near[place] / h[place]);
                let step = levels[usize::from(best)] - old;
                if best != *code && step != 0.0 {
                    *code = best;
                    steps[place] = step;
                    near.iter_mut().zip(h).for_each(|(r, h)| *r -= step * h);
                    moved += 1;
                    any = true;
                }
            }
        }
        if any {
            let steps = view(&steps, n, BLOCK).submatrix(0, 0, n, last - first);
            let h = view(h, k, k).submatrix(first, 0, last - first, k);
            accumulate(view_mut(&mut residual, n, k), -1.0, steps, h);
        }
    }
    moved
}
