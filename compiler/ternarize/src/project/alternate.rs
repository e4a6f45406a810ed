//! Rounding and fitting in turn: the nearest level for each weight, then the coefficients that fit the codes
//! best. Neither step raises the squared error, so neither does their alternation (Lloyd, 1982).

use crate::Grid;

/// Alternates from the grid's levels until codes stay, `rounds` times at most.
pub fn alternate(w: &[f64], grid: &mut Grid, rounds: usize) {
    for _ in 0..rounds {
        let before = grid.codes.clone();
        grid.round(w);
        grid.fit(w);
        if grid.codes == before {
            break;
        }
    }
}

/// Sets the coefficients of each cell from its weights.
pub fn start(w: &[f64], grid: &mut Grid, f: impl Fn(&[f64], &mut [f64])) {
    for row in 0..grid.rows() {
        for group in 0..grid.groups() {
            let columns = grid.columns(group);
            let weights = &w[row * grid.k..][columns];
            f(weights, grid.cell(row, group));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Alphabet;
    use crate::codebook::Codebook;
    use crate::testing::gaussian;

    #[test]
    fn the_error_never_rises() {
        let w: Vec<f64> = gaussian(4 * 200, 3).iter().map(|v| f64::from(*v)).collect();
        for codebook in [
            Codebook::ternary(),
            Codebook::ternary().with_offset(),
            Codebook::signed(true),
            Codebook::planes(Alphabet::Ternary, 2, false),
            Codebook::planes(Alphabet::Ternary, 3, true),
        ] {
            let mut grid = Grid::new(codebook, 4, 200, 100);
            start(&w, &mut grid, |_, c| {
                c.iter_mut().enumerate().for_each(|(i, c)| *c = 1.5 / (i + 1) as f64)
            });
            grid.round(&w);
            let mut last = f64::INFINITY;
            for _ in 0..20 {
                alternate(&w, &mut grid, 1);
                let error: f64 = w.iter().zip(grid.values()).map(|(w, q)| (w - q).powi(2)).sum();
                assert!(error <= last * (1.0 + 1e-9), "{error} after {last}");
                last = error;
            }
        }
    }
}
