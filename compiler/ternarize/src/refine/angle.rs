//! The trits at the smallest angle under the metric (arXiv 2212.12649): `cos²_H = (wᵀHt)² / (w ᵀHw · tᵀHt)`, raised by
//! changing one trit at a time. The scale need not be known meanwhile, since the best one for any t is known.

use super::{refit, step};
use crate::method::{Method, Refinement, Role, Rows};
use crate::metric::dot;
use crate::{Alphabet, Grid};

pub const METHOD: Method = Method {
    role: Role::Refine(Refinement {
        run: |rows, mut grid| {
            for row in 0..grid.rows() {
                turn(rows, &mut grid, row);
            }
            refit::fit(rows, &mut grid);
            Ok(grid)
        },
        moves_codes: true,
        refuses: |codebook| {
            let simple = codebook.coefficients() == 1 && codebook.alphabets() == [Alphabet::Ternary];
            (!simple).then_some("an angle is to one plane with one scale")
        },
    }),
    ..step(
        "angle",
        "trits changed one by one towards the smallest angle under the metric; one scale a row",
        "arXiv 2212.12649",
        "coordinate ascent",
        |_, grid| Ok(grid),
    )
};

/// Changes trits of a row while that raises the cosine.
fn turn(rows: &Rows, grid: &mut Grid, row: usize) {
    let k = grid.k;
    let h = rows.metric.values();
    let target = rows.metric.apply(&rows.w[row * k..][..k]);
    let codes = &mut grid.codes[row * k..][..k];
    let mut trits: Vec<f64> = codes.iter().map(|c| f64::from(grid.codebook.trits(*c)[0])).collect();
    let mut product = rows.metric.apply(&trits);
    let (mut along, mut length) = (dot(&target, &trits), dot(&product, &trits));
    for _ in 0..rows.settings.sweeps {
        let mut moved = false;
        for j in 0..k {
            let old = trits[j];
            let (mut best, mut cosine) =
                (old, if length > 0.0 { along.max(0.0).powi(2) / length } else { 0.0 });
            for new in [-1.0, 0.0, 1.0] {
                let step = new - old;
                let (a, l) =
                    (along + step * target[j], length + step * (2.0 * product[j] + step * h[j * k + j]));
                if a > 0.0 && l > 0.0 && a * a / l > cosine * (1.0 + 1e-12) {
                    (best, cosine) = (new, a * a / l);
                }
            }
            let step = best - old;
            if step != 0.0 {
                along += step * target[j];
                length += step * (2.0 * product[j] + step * h[j * k + j]);
                product.iter_mut().zip(&h[j * k..][..k]).for_each(|(p, h)| *p += step * h);
                trits[j] = best;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    for (code, trit) in codes.iter_mut().zip(&trits) {
        *code = grid.codebook.code(&[*trit as i8]).unwrap_or(*code);
    }
}
