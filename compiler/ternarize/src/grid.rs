//! Rows that are being rounded: a code for each weight and coefficients for each group.

use half::f16;
use trine_ir::ops::groups;

use super::codebook::Codebook;
use super::linalg::solve_in_place;
use super::{Alphabet, Plane, Quantized};

/// What a least-squares fit adds to its diagonal, relative to the largest entry, so that coefficients that the
/// codes leave open are small instead of wild.
const RIDGE: f64 = 1e-9;

/// Some rows of a matrix on the levels of a codebook.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    pub codebook: Codebook,
    pub k: usize,
    pub group: usize,
    /// `[rows, k]`.
    pub codes: Vec<u8>,
    /// `[rows, groups, codebook.coefficients()]`.
    pub coefficients: Vec<f64>,
}

impl Grid {
    /// Rows of zeros, or of the codebook's first code where it has no zero.
    pub fn new(codebook: Codebook, rows: usize, k: usize, group: usize) -> Grid {
        let zero = codebook.code(&vec![0; codebook.alphabets().len()]).unwrap_or(0);
        let coefficients = vec![0.0; rows * groups(k, group) * codebook.coefficients()];
        Grid { codebook, k, group, codes: vec![zero; rows * k], coefficients }
    }

    pub fn rows(&self) -> usize {
        self.codes.len() / self.k
    }

    /// Groups of a row.
    pub fn groups(&self) -> usize {
        groups(self.k, self.group)
    }

    /// The columns of a group.
    pub fn columns(&self, group: usize) -> std::ops::Range<usize> {
        let start = group * self.group;
        start..self.k.min(start + self.group)
    }

    /// The coefficients of a group.
    pub fn cell(&mut self, row: usize, group: usize) -> &mut [f64] {
        let count = self.codebook.coefficients();
        let cell = row * self.groups() + group;
        &mut self.coefficients[cell * count..][..count]
    }

    /// The values of all codes, group by group of row by row.
    pub fn levels(&self) -> Vec<f64> {
        let (mut all, mut one) = (vec![], vec![]);
        for coefficients in self.coefficients.chunks(self.codebook.coefficients()) {
            self.codebook.levels(coefficients, &mut one);
            all.extend_from_slice(&one);
        }
        all
    }

    /// What the codes stand for, `[rows, k]`.
    pub fn values(&self) -> Vec<f64> {
        let levels = self.levels();
        let cells = self.codes.chunks(self.k).flat_map(|row| row.chunks(self.group));
        let cells = cells.zip(levels.chunks(self.codebook.len()));
        cells.flat_map(|(codes, levels)| codes.iter().map(|c| levels[usize::from(*c)])).collect()
    }

    /// Takes the nearest level for each of `w`, `[rows, k]`.
    pub fn round(&mut self, w: &[f64]) {
        let levels = self.levels();
        let (k, group) = (self.k, self.group);
        let cells = self.codes.chunks_mut(k).flat_map(|row| row.chunks_mut(group));
        let targets = w.chunks(k).flat_map(|row| row.chunks(group));
        for ((codes, w), levels) in cells.zip(targets).zip(levels.chunks(self.codebook.len())) {
            codes.iter_mut().zip(w).for_each(|(code, w)| *code = nearest(levels, *w));
        }
    }

    /// Fits the coefficients of each group to `w` by least squares, codes as they are.
    pub fn fit(&mut self, w: &[f64]) {
        let count = self.codebook.coefficients();
        for row in 0..self.rows() {
            for group in 0..self.groups() {
                let (mut h, mut b) = (vec![0.0; count * count], vec![0.0; count]);
                for column in self.columns(group) {
                    let at = row * self.k + column;
                    let factors = self.codebook.factors(self.codes[at]);
                    for (p, f) in factors.iter().enumerate() {
                        b[p] += f * w[at];
                        factors.iter().enumerate().for_each(|(q, e)| h[p * count + q] += f * e);
                    }
                }
                if solve_ridge(&mut h, &mut b) {
                    self.cell(row, group).copy_from_slice(&b);
                }
            }
        }
    }

    /// Takes a row of `other`, which has the same codebook and groups.
    pub fn take_row(&mut self, row: usize, other: &Grid) {
        let (k, cells) = (self.k, self.groups() * self.codebook.coefficients());
        self.codes[row * k..][..k].copy_from_slice(&other.codes[row * k..][..k]);
        self.coefficients[row * cells..][..cells]
            .copy_from_slice(&other.coefficients[row * cells..][..cells]);
    }

    /// Makes the values of a row so many times as large.
    pub fn scale_row(&mut self, row: usize, factor: f64) {
        (0..self.groups()).for_each(|group| self.cell(row, group).iter_mut().for_each(|c| *c *= factor));
    }

    /// Some of its rows.
    pub fn slice(&self, rows: std::ops::Range<usize>) -> Grid {
        let cells = self.groups() * self.codebook.coefficients();
        Grid {
            codebook: self.codebook.clone(),
            codes: self.codes[rows.start * self.k..rows.end * self.k].to_vec(),
            coefficients: self.coefficients[rows.start * cells..rows.end * cells].to_vec(),
            ..*self
        }
    }

    /// Allows any of the codes an offset besides.
    pub fn with_offset(mut self) -> Grid {
        if !self.codebook.has_offset() {
            let old = self.codebook.coefficients();
            self.codebook = self.codebook.with_offset();
            let cells = self.coefficients.chunks(old);
            self.coefficients = cells.flat_map(|c| c.iter().copied().chain([0.0])).collect();
        }
        self
    }

    /// Rows one after another; all have the same codebook and groups.
    pub fn stack(grids: Vec<Grid>) -> Option<Grid> {
        grids.into_iter().reduce(|mut all, next| {
            all.codes.extend(next.codes);
            all.coefficients.extend(next.coefficients);
            all
        })
    }

    /// The planes, with scales that are not negative, rounded to f16 if asked for.
    pub fn quantized(&self, short: bool) -> Quantized {
        let rounded = |v: f64| if short { f16::from_f64(v).to_f32() } else { v as f32 };
        let count = self.codebook.coefficients();
        let cells = self.coefficients.chunks(count);
        let scales: Vec<Vec<f32>> =
            cells.clone().map(|c| self.codebook.scales(c).into_iter().map(rounded).collect()).collect();
        let plane = |(p, alphabet): (usize, &Alphabet)| {
            let signed = *alphabet != Alphabet::Magnitude;
            let mut trits = Vec::with_capacity(self.codes.len());
            for (row, codes) in self.codes.chunks(self.k).enumerate() {
                for (group, codes) in codes.chunks(self.group).enumerate() {
                    let flip = signed && scales[row * self.groups() + group][p] < 0.0;
                    let trit = |c: &u8| self.codebook.trits(*c)[p] * if flip { -1 } else { 1 };
                    trits.extend(codes.iter().map(trit));
                }
            }
            let scales = scales.iter().map(|s| if signed { s[p].abs() } else { s[p] }).collect();
            let offset = (p == 0 && self.codebook.has_offset())
                .then(|| cells.clone().map(|c| rounded(c[count - 1])).collect());
            Plane { alphabet: *alphabet, group: self.group, trits, scales, offset }
        };
        let planes = self.codebook.alphabets().iter().enumerate().map(plane).collect();
        Quantized { n: self.rows(), k: self.k, planes, bias: None, column_scale: None }
    }
}

/// The code whose level is nearest, the first of equals.
pub fn nearest(levels: &[f64], w: f64) -> u8 {
    let (mut best, mut distance) = (0, f64::INFINITY);
    for (code, level) in levels.iter().enumerate() {
        let d = (w - level).abs();
        if d < distance {
            (best, distance) = (code, d);
        }
    }
    best as u8
}

/// Solves `(h + ridge)·x = b` in place of `b`; false if there is no answer. A zero `h` has the answer zero.
pub fn solve_ridge(h: &mut [f64], b: &mut [f64]) -> bool {
    let count = b.len();
    let largest = (0..count).map(|i| h[i * count + i]).fold(0.0, f64::max);
    if largest == 0.0 {
        b.fill(0.0);
        return true;
    }
    match count {
        1 => b[0] /= h[0],
        _ => {
            (0..count).for_each(|i| h[i * count + i] += RIDGE * largest);
            return solve_in_place(h, b);
        }
    }
    b[0].is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_are_least_squares() {
        let mut grid = Grid::new(Codebook::ternary().with_offset(), 1, 4, 4);
        grid.codes = [2, 2, 0, 1].to_vec();
        // Any t·2 + 0.5 is met exactly.
        grid.fit(&[2.5, 2.5, -1.5, 0.5]);
        let values = grid.values();
        assert!(values.iter().zip([2.5, 2.5, -1.5, 0.5]).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?}");
    }

    #[test]
    fn negative_scales_turn_their_trits() {
        let mut grid = Grid::new(Codebook::ternary(), 2, 3, 2);
        grid.codes = vec![0, 2, 1, 2, 2, 0];
        grid.coefficients = vec![-1.0, 2.0, 3.0, -4.0];
        let quantized = grid.quantized(false);
        assert_eq!(quantized.planes[0].trits, [1, -1, 0, 1, 1, 1]);
        assert_eq!(quantized.planes[0].scales, [1.0, 2.0, 3.0, 4.0]);
        let values: Vec<f64> = quantized.dequantized().values.iter().map(|v| f64::from(*v)).collect();
        assert_eq!(values, grid.values());
    }

    #[test]
    fn planes_that_say_the_same_share_what_there_is() {
        let (mut h, mut b) = (vec![2.0, 2.0, 2.0, 2.0], vec![4.0, 4.0]);
        assert!(solve_ridge(&mut h, &mut b));
        assert!((b[0] + b[1] - 2.0).abs() < 1e-6 && (b[0] - b[1]).abs() < 1e-3, "{b:?}");
        assert!(solve_ridge(&mut [0.0; 4], &mut b) && b == [0.0; 2]);
    }
}
