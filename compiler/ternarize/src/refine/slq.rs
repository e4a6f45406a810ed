//! Single-level quantization, by its width (arXiv 1803.03289): clusters are fixed one after another, and the
//! weights that are still free make up for the error of those that are not.
//!
//! With S fixed and U free the best is `w_U += (w_S − q_S)·H_SU·H_UU⁻¹`. Every row has its own U, so that conjugate
//! gradients on all rows at once, each masked by its U, do less work than a factor for each row. The cluster
//! with the largest error goes first. The best that was met is kept, so the error falls a round or stays.

use super::{difference, keep_best, refit, step};
use crate::method::{Method, Refinement, Role, Rows};
use crate::metric::dot;
use crate::{Grid, Metric};

/// Steps of conjugate gradients.
const STEPS: usize = 40;
/// The residual at which they stop, squared and relative.
const TOLERANCE: f64 = 1e-12;

pub const METHOD: Method = Method {
    role: Role::Refine(Refinement {
        run: |rows, grid| Ok(rounds(rows, grid).0),
        moves_codes: true,
        refuses: |codebook| (codebook.len() != 3).then_some("it fixes three clusters one by one"),
    }),
    ..step(
        "slq",
        "clusters fixed one by one, free weights make up for the error; scales refitted",
        "arXiv 1803.03289",
        "incremental, second order",
        |_, grid| Ok(grid),
    )
};

/// Fixes one cluster a round; returns the best grid that was met and the error after each round.
pub fn rounds(rows: &Rows, mut grid: Grid) -> (Grid, Vec<f64>) {
    let (k, n, clusters) = (grid.k, grid.rows(), grid.codebook.len());
    let mut best = grid.clone();
    refit::fit(rows, &mut best);
    let mut errors = rows.metric.squares(&difference(rows.w, &best));
    let mut log = vec![errors.iter().sum()];
    let mut fixed = vec![false; n * clusters];
    let mut w = rows.w.to_vec();
    for _ in 1..clusters {
        let lost = difference(&w, &grid);
        for row in 0..n {
            let worst = worst_cluster(
                &lost[row * k..][..k],
                &grid.codes[row * k..][..k],
                &fixed[row * clusters..][..clusters],
            );
            fixed[row * clusters + worst] = true;
        }
        let free: Vec<f64> = grid
            .codes
            .iter()
            .enumerate()
            .map(|(at, code)| if fixed[at / k * clusters + usize::from(*code)] { 0.0 } else { 1.0 })
            .collect();
        let taken: Vec<f64> =
            difference(rows.w, &grid).iter().zip(&free).map(|(d, f)| d * (1.0 - f)).collect();
        let change = masked_solve(rows.metric, &free, &taken);
        let values = grid.values();
        for (at, w) in w.iter_mut().enumerate() {
            *w = if free[at] == 1.0 { rows.w[at] + change[at] } else { values[at] };
        }
        round_free(&mut grid, &w, &fixed);
        if grid.codebook.coefficients() == clusters {
            grid.fit(&w);
        }
        let mut refitted = grid.clone();
        refit::fit(rows, &mut refitted);
        keep_best(rows, &mut best, &mut errors, &refitted);
        log.push(errors.iter().sum());
    }
    (best, log)
}

/// The cluster that lost most among those not fixed.
fn worst_cluster(lost: &[f64], codes: &[u8], fixed: &[bool]) -> usize {
    let mut sums = vec![0.0; fixed.len()];
    codes.iter().zip(lost).for_each(|(code, d)| sums[usize::from(*code)] += d * d);
    let open = (0..fixed.len()).filter(|c| !fixed[*c]);
    open.max_by(|a, b| sums[*a].total_cmp(&sums[*b])).unwrap_or(0)
}

/// Takes the nearest level whose cluster is not fixed, for weights whose cluster is not.
fn round_free(grid: &mut Grid, w: &[f64], fixed: &[bool]) {
    let levels = grid.levels();
    let (k, cells, clusters) = (grid.k, grid.groups(), grid.codebook.len());
    for (at, code) in grid.codes.iter_mut().enumerate() {
        let (row, column) = (at / k, at % k);
        let fixed = &fixed[row * clusters..][..clusters];
        if fixed[usize::from(*code)] {
            continue;
        }
        let levels = &levels[(row * cells + column / grid.group) * clusters..][..clusters];
        let open = (0..clusters).filter(|c| !fixed[*c]);
        let nearest = open.min_by(|a, b| (levels[*a] - w[at]).abs().total_cmp(&(levels[*b] - w[at]).abs()));
        *code = nearest.map_or(*code, |c| c as u8);
    }
}

/// `x` with `x_U·H_UU = (d·H)_U` and zero elsewhere, row by row; `free` is 1 in U and 0 elsewhere.
fn masked_solve(metric: &Metric, free: &[f64], d: &[f64]) -> Vec<f64> {
    let k = metric.k();
    let diagonal: Vec<f64> = metric.diagonal().collect();
    let mask = |mut rows: Vec<f64>| {
        rows.iter_mut().zip(free).for_each(|(r, f)| *r *= f);
        rows
    };
    let precondition =
        |r: &[f64]| -> Vec<f64> { r.iter().enumerate().map(|(at, r)| r / diagonal[at % k]).collect() };
    let mut x = vec![0.0; d.len()];
    let mut residual = mask(metric.apply(d));
    let mut direction = precondition(&residual);
    let norms = |r: &[f64]| -> Vec<f64> {
        let z = precondition(r);
        r.chunks(k).zip(z.chunks(k)).map(|(r, z)| dot(r, z)).collect()
    };
    let first = norms(&residual);
    let mut norm = first.clone();
    for _ in 0..STEPS {
        let product = mask(metric.apply(&direction));
        for row in 0..norm.len() {
            let range = row * k..(row + 1) * k;
            let curvature = dot(&direction[range.clone()], &product[range.clone()]);
            if norm[row] > TOLERANCE * first[row] && curvature > 0.0 {
                let step = norm[row] / curvature;
                x[range.clone()].iter_mut().zip(&direction[range.clone()]).for_each(|(x, d)| *x += step * d);
                residual[range.clone()].iter_mut().zip(&product[range]).for_each(|(r, p)| *r -= step * p);
            }
        }
        let next = norms(&residual);
        let z = precondition(&residual);
        for (at, direction) in direction.iter_mut().enumerate() {
            let row = at / k;
            let beta = if norm[row] > 0.0 { next[row] / norm[row] } else { 0.0 };
            *direction = z[at] + beta * *direction;
        }
        if next.iter().zip(&first).all(|(n, f)| *n <= TOLERANCE * f) {
            break;
        }
        norm = next;
    }
    x
}
