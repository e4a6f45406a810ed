//! What calibration remembers of a layer's inputs: second moments and means, never the inputs themselves.
//!
//! Sums of a few hundred rows are taken in f32, at the speed of a matrix product, and added up in f64. The
//! moments are kept as square tiles, so that threads own what they add to, and no bit depends on how many
//! threads there are.

use rayon::prelude::*;

use super::linalg::{View, multiply, view, view_mut};
use super::{Metric, Refusal};

/// The side of a tile.
const TILE: usize = 192;
/// Rows whose products are summed in f32.
const STRIP: usize = 512;

/// The moments of the inputs `x̃` of a layer, and those of the unrounded model's inputs `x` if pairs were added.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    k: usize,
    samples: u64,
    /// `Σ x̃·x̃ᵀ`, its tiles on and below the diagonal.
    square: Vec<Tile>,
    sum: Vec<f64>,
    pairs: Option<Pairs>,
}

#[derive(Clone, Debug, PartialEq)]
struct Pairs {
    /// `Σ x·x̃ᵀ`.
    cross: Vec<Tile>,
    /// `Σ x`.
    sum: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Tile {
    row: usize,
    column: usize,
    height: usize,
    width: usize,
    sums: Vec<f64>,
}

impl Statistics {
    /// Nothing yet, of inputs of `k` values.
    pub fn new(k: usize) -> Statistics {
        Statistics {
            k,
            samples: 0,
            square: tiles(k, |row, column| column <= row),
            sum: vec![0.0; k],
            pairs: None,
        }
    }

    /// As [`new`](Statistics::new), for pairs of inputs.
    pub fn paired(k: usize) -> Statistics {
        let pairs = Pairs { cross: tiles(k, |_, _| true), sum: vec![0.0; k] };
        Statistics { pairs: Some(pairs), ..Statistics::new(k) }
    }

    /// Inputs of the layer.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Rows added.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    pub fn is_paired(&self) -> bool {
        self.pairs.is_some()
    }

    /// Adds rows of `k` inputs, row-major. Nothing is added if there is an error.
    pub fn add(&mut self, rows: &[f32]) -> Result<(), Refusal> {
        if self.is_paired() {
            return self.add_pairs(rows, rows);
        }
        let count = self.check(rows)?;
        self.square
            .par_iter_mut()
            .for_each(|tile| tile.add(view(rows, count, self.k), view(rows, count, self.k)));
        add_sums(&mut self.sum, rows);
        self.samples += count as u64;
        Ok(())
    }

    /// Adds rows `inputs` of the model that is rounded so far, and the `originals` that the unrounded model has
    /// in their place.
    pub fn add_pairs(&mut self, inputs: &[f32], originals: &[f32]) -> Result<(), Refusal> {
        let count = self.check(inputs)?;
        if self.check(originals)? != count {
            return Err(Refusal::Width { expected: inputs.len(), got: originals.len() });
        }
        let k = self.k;
        let Some(pairs) = &mut self.pairs else { return Err(Refusal::NeedsPairs { method: "compensate" }) };
        let (x, full) = (view(inputs, count, k), view(originals, count, k));
        self.square.par_iter_mut().for_each(|tile| tile.add(x, x));
        pairs.cross.par_iter_mut().for_each(|tile| tile.add(full, x));
        add_sums(&mut pairs.sum, originals);
        add_sums(&mut self.sum, inputs);
        self.samples += count as u64;
        Ok(())
    }

    /// Adds what `other` has seen.
    pub fn merge(&mut self, other: &Statistics) -> Result<(), Refusal> {
        if self.k != other.k {
            return Err(Refusal::Width { expected: self.k, got: other.k });
        }
        match (&mut self.pairs, &other.pairs) {
            (Some(pairs), Some(others)) => {
                merge_tiles(&mut pairs.cross, &others.cross);
                merge_sums(&mut pairs.sum, &others.sum);
            }
            (None, None) => {}
            _ => return Err(Refusal::NeedsPairs { method: "compensate" }),
        }
        merge_tiles(&mut self.square, &other.square);
        merge_sums(&mut self.sum, &other.sum);
        self.samples += other.samples;
        Ok(())
    }

    /// `E[x̃]`.
    pub fn mean(&self) -> Vec<f64> {
        self.mean_of(&self.sum)
    }

    /// `E[x]`, what the unrounded model has for [`mean`](Statistics::mean); the same without pairs.
    pub fn original_mean(&self) -> Vec<f64> {
        self.mean_of(self.pairs.as_ref().map_or(&self.sum, |p| &p.sum))
    }

    /// `H = E[x̃·x̃ᵀ]`, `[k, k]`.
    pub fn gram(&self) -> Vec<f64> {
        let mut h = self.assemble(&self.square);
        for i in 0..self.k {
            for j in 0..i {
                h[j * self.k + i] = h[i * self.k + j];
            }
        }
        h
    }

    /// `C = E[x·x̃ᵀ]`, `[k, k]`, if pairs were added.
    pub fn cross(&self) -> Option<Vec<f64>> {
        self.pairs.as_ref().map(|p| self.assemble(&p.cross))
    }

    /// `H + damp·mean(diag H)·I`, the metric in which weights are compared.
    ///
    /// Refused if there are fewer than `k/4` rows, or if they are all zero.
    pub fn damped(&self, damp: f64) -> Result<Metric, Refusal> {
        let needed = (self.k as u64).div_ceil(4).max(1);
        if self.samples < needed {
            return Err(Refusal::TooFewSamples { samples: self.samples, k: self.k, needed });
        }
        Metric::new(self.gram(), self.k, damp)
    }

    /// All sums one after another, for a file: `Σ x̃·x̃ᵀ` tile by tile and `Σ x̃`, then `Σ x·x̃ᵀ` and `Σ x` of pairs.
    pub fn sums(&self) -> Vec<f64> {
        let mut all = vec![];
        self.clone().visit(|sums| all.extend_from_slice(sums));
        all
    }

    /// What [`sums`](Statistics::sums) and [`samples`](Statistics::samples) were taken from.
    pub fn from_sums(k: usize, paired: bool, samples: u64, sums: &[f64]) -> Result<Statistics, Refusal> {
        let mut statistics = if paired { Statistics::paired(k) } else { Statistics::new(k) };
        statistics.samples = samples;
        let mut rest = sums;
        let mut expected = 0;
        statistics.visit(|own| {
            expected += own.len();
            if let Some((head, tail)) = rest.split_at_checked(own.len()) {
                own.copy_from_slice(head);
                rest = tail;
            }
        });
        if expected != sums.len() {
            return Err(Refusal::Width { expected, got: sums.len() });
        }
        if let Some(at) = sums.iter().position(|v| !v.is_finite()) {
            return Err(Refusal::NotFinite { what: "sum", row: 0, column: at });
        }
        Ok(statistics)
    }

    fn visit(&mut self, mut f: impl FnMut(&mut [f64])) {
        self.square.iter_mut().for_each(|t| f(&mut t.sums));
        f(&mut self.sum);
        if let Some(pairs) = &mut self.pairs {
            pairs.cross.iter_mut().for_each(|t| f(&mut t.sums));
            f(&mut pairs.sum);
        }
    }

    fn check(&self, rows: &[f32]) -> Result<usize, Refusal> {
        if self.k == 0 || !rows.len().is_multiple_of(self.k) {
            return Err(Refusal::Width { expected: self.k, got: rows.len() });
        }
        match rows.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(Refusal::NotFinite { what: "input", row: at / self.k, column: at % self.k }),
            None => Ok(rows.len() / self.k),
        }
    }

    fn mean_of(&self, sum: &[f64]) -> Vec<f64> {
        let count = self.samples.max(1) as f64;
        sum.iter().map(|s| s / count).collect()
    }

    fn assemble(&self, tiles: &[Tile]) -> Vec<f64> {
        let count = self.samples.max(1) as f64;
        let mut out = vec![0.0; self.k * self.k];
        for tile in tiles {
            for (r, sums) in tile.sums.chunks(tile.width).enumerate() {
                let row = &mut out[(tile.row + r) * self.k + tile.column..][..tile.width];
                row.iter_mut().zip(sums).for_each(|(o, s)| *o = s / count);
            }
        }
        out
    }
}

impl Tile {
    /// Adds `Σ a·bᵀ` over rows.
    fn add(&mut self, a: View<f32>, b: View<f32>) {
        let mut product = vec![0f32; self.sums.len()];
        for start in (0..a.nrows()).step_by(STRIP) {
            let count = STRIP.min(a.nrows() - start);
            let left = a.submatrix(start, self.row, count, self.height).transpose();
            let right = b.submatrix(start, self.column, count, self.width);
            multiply(view_mut(&mut product, self.height, self.width), left, right);
            self.sums.iter_mut().zip(&product).for_each(|(s, p)| *s += f64::from(*p));
        }
    }
}

fn tiles(k: usize, wanted: impl Fn(usize, usize) -> bool) -> Vec<Tile> {
    let starts = || (0..k).step_by(TILE);
    let all = starts().flat_map(|row| starts().map(move |column| (row, column)));
    let tile = |(row, column)| {
        let (height, width) = (TILE.min(k - row), TILE.min(k - column));
        Tile { row, column, height, width, sums: vec![0.0; height * width] }
    };
    all.filter(|(row, column)| wanted(*row, *column)).map(tile).collect()
}

fn add_sums(sum: &mut [f64], rows: &[f32]) {
    for row in rows.chunks(sum.len()) {
        sum.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x));
    }
}

fn merge_tiles(tiles: &mut [Tile], others: &[Tile]) {
    tiles.iter_mut().zip(others).for_each(|(tile, other)| merge_sums(&mut tile.sums, &other.sums));
}

fn merge_sums(sums: &mut [f64], others: &[f64]) {
    sums.iter_mut().zip(others).for_each(|(s, o)| *s += o);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gaussian;

    fn moment(a: &[f32], b: &[f32], k: usize, i: usize, j: usize) -> f64 {
        let rows = a.chunks(k).zip(b.chunks(k));
        let sum: f64 = rows.map(|(a, b)| f64::from(a[i]) * f64::from(b[j])).sum();
        sum / (a.len() / k) as f64
    }

    #[test]
    fn moments_are_those_of_the_rows_however_they_arrive() {
        for (k, rows) in [(1, 3), (5, 40), (200, 700), (450, 120)] {
            let (x, full) = (gaussian(rows * k, 1), gaussian(rows * k, 2));
            let mut all = Statistics::paired(k);
            all.add_pairs(&x, &full).unwrap();
            let (mut first, mut second) = (Statistics::paired(k), Statistics::paired(k));
            let cut = rows / 3 * k;
            first.add_pairs(&x[..cut], &full[..cut]).unwrap();
            second.add_pairs(&x[cut..], &full[cut..]).unwrap();
            first.merge(&second).unwrap();
            let (h, c, merged) = (all.gram(), all.cross().unwrap(), first.gram());
            for (i, j) in [(0, 0), (k - 1, 0), (0, k - 1), (k / 2, k / 3), (k - 1, k - 1)] {
                assert!((h[i * k + j] - moment(&x, &x, k, i, j)).abs() < 1e-5);
                assert!((merged[i * k + j] - h[i * k + j]).abs() < 1e-5);
                assert!((c[i * k + j] - moment(&full, &x, k, i, j)).abs() < 1e-5);
            }
            let mean = |x: &[f32]| x.iter().step_by(k).map(|v| f64::from(*v)).sum::<f64>() / rows as f64;
            assert!((all.mean()[0] - mean(&x)).abs() < 1e-9);
            assert!((all.original_mean()[0] - mean(&full)).abs() < 1e-9);
            let again = Statistics::from_sums(k, true, all.samples(), &all.sums());
            assert_eq!(again.as_ref(), Ok(&all));
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let x = gaussian(300 * 333, 4);
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut s = Statistics::new(333);
                s.add(&x).unwrap();
                s
            })
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn bad_inputs_are_refused_and_leave_nothing() {
        let mut s = Statistics::new(3);
        assert_eq!(s.add(&[1.0; 4]), Err(Refusal::Width { expected: 3, got: 4 }));
        let nan = Refusal::NotFinite { what: "input", row: 1, column: 1 };
        assert_eq!(s.add(&[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0]), Err(nan));
        assert_eq!(s, Statistics::new(3));
        assert_eq!(s.damped(0.01).err(), Some(Refusal::TooFewSamples { samples: 0, k: 3, needed: 1 }));
        s.add(&[0.0; 6]).unwrap();
        assert_eq!(s.damped(0.01).err(), Some(Refusal::Singular));
        assert!(s.merge(&Statistics::new(2)).is_err());
        assert!(Statistics::from_sums(3, false, 1, &[0.0; 3]).is_err());
    }
}
