//! Scales that are best for the outputs, trits as they are: `α = (wᵀHt) / (tᵀHt)`, and for several groups, planes
//! or an offset the solution of the small system that they make together.

use super::step;
use crate::Grid;
use crate::grid::solve_ridge;
use crate::linalg::{accumulate, view, view_mut};
use crate::method::{Method, Refinement, Role, Rows};
use crate::metric::dot;

pub const METHOD: Method = Method {
    role: Role::Refine(Refinement {
        run: |rows, mut grid| {
            fit(rows, &mut grid);
            Ok(grid)
        },
        moves_codes: false,
        refuses: super::any,
    }),
    ..step(
        "refit",
        "scales that minimise the output error, trits as they are",
        "arXiv 2510.03267",
        "closed form",
        |_, grid| Ok(grid),
    )
};

/// Fits the coefficients of each row to its target under the metric. A row stays as it is where that would not
/// lower its error.
pub fn fit(rows: &Rows, grid: &mut Grid) {
    let (k, count, cells) = (grid.k, grid.codebook.coefficients(), grid.groups());
    let (n, size) = (grid.rows(), count * cells);
    // The factor of each weight, plane by plane: the vectors whose combination a row is.
    let mut basis = vec![vec![0.0; n * k]; count];
    for (at, code) in grid.codes.iter().enumerate() {
        for (basis, factor) in basis.iter_mut().zip(grid.codebook.factors(*code)) {
            basis[at] = *factor;
        }
    }
    let mut systems = vec![0.0; n * size * size];
    let mut sides = vec![0.0; n * size];
    let mut product = vec![0.0; n * k];
    for (p, vectors) in basis.iter().enumerate() {
        for group in 0..cells {
            let columns = grid.columns(group);
            product.fill(0.0);
            let part = view(vectors, n, k).submatrix(0, columns.start, n, columns.len());
            let metric = view(rows.metric.values(), k, k).submatrix(columns.start, 0, columns.len(), k);
            accumulate(view_mut(&mut product, n, k), 1.0, part, metric);
            let at = group * count + p;
            for (row, product) in product.chunks(k).enumerate() {
                sides[row * size + at] = dot(product, &rows.w[row * k..][..k]);
                for other in 0..cells {
                    let columns = grid.columns(other);
                    for (q, vectors) in basis.iter().enumerate() {
                        let vector = &vectors[row * k..][columns.clone()];
                        systems[(row * size + at) * size + other * count + q] =
                            dot(&product[columns.clone()], vector);
                    }
                }
            }
        }
    }
    for row in 0..n {
        let system = &mut systems[row * size * size..][..size * size];
        let side = &sides[row * size..][..size];
        let old = &mut grid.coefficients[row * size..][..size];
        let before = error(system, side, old);
        let mut new = side.to_vec();
        let kept = system.to_vec();
        if solve_ridge(system, &mut new) && error(&kept, side, &new) <= before {
            old.copy_from_slice(&new);
        }
    }
}

/// `xᵀSx − 2·xᵀb`.
fn error(system: &[f64], side: &[f64], x: &[f64]) -> f64 {
    let rows = system.chunks(x.len()).zip(x).zip(side);
    rows.map(|((s, v), b)| v * (dot(s, x) - 2.0 * b)).sum()
}
