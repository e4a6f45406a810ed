//! A recipe at work: rows are independent once the metric is known, so strips of them are shared among threads.

use rayon::prelude::*;

use super::codebook::Codebook;
use super::method::{Biased, Projection, Role, Rows};
use super::metric::dot;
use super::recipe::{Recipe, ScaleBits, projection};
use super::{Alphabet, Grid, Matrix, Method, Metric, Quantized, Refusal, Statistics};
use trine_ir::random::Draw;

/// Rows that are rounded together: enough for products at speed, and no result depends on how many threads
/// there are.
const STRIP: usize = 64;

impl Recipe {
    /// Rounds a matrix. `statistics` are those of its inputs; `seed` is for the methods that draw numbers.
    ///
    /// The same arguments give the same bits, whatever the number of threads.
    pub fn apply(
        &self,
        w: &Matrix,
        statistics: Option<&Statistics>,
        seed: u64,
    ) -> Result<Quantized, Refusal> {
        w.check()?;
        let metric = self.metric(w, statistics)?;
        let original: Vec<f64> = w.values.iter().map(|v| f64::from(*v)).collect();
        let mut target = self.target(original, statistics)?;
        let columns = self.columns(metric.as_ref());
        let metric = match (&columns, metric) {
            (Some(scale), Some(metric)) => {
                for row in target.chunks_mut(w.k) {
                    row.iter_mut().zip(scale).for_each(|(w, s)| *w *= s);
                }
                Some(metric.rescaled(scale)?)
            }
            (_, metric) => metric,
        };
        let lengths = self.settings.normalize_rows.then(|| normalize(&mut target, w.k));
        let mut grid = self.round(w.n, w.k, &target, metric.as_ref(), seed)?;
        lengths.iter().flatten().enumerate().for_each(|(row, length)| grid.scale_row(row, *length));
        let mut quantized = grid.quantized(self.settings.scales == ScaleBits::Half);
        quantized.column_scale = columns.map(|c| c.iter().map(|s| (1.0 / s) as f32).collect());
        if self.steps().iter().any(|m| matches!(m.role, Role::Bias { .. })) {
            let bias = self.bias(w, &quantized, statistics)?;
            quantized.add_bias(&bias);
        }
        Ok(quantized)
    }

    /// What the biases of the recipe add to the outputs of a matrix that is rounded.
    pub fn bias(
        &self,
        w: &Matrix,
        quantized: &Quantized,
        statistics: Option<&Statistics>,
    ) -> Result<Vec<f32>, Refusal> {
        let mut sum = vec![0.0; w.n];
        for method in self.steps() {
            let Role::Bias { run, .. } = method.role else { continue };
            let bias = run(&Biased { w, quantized, statistics, settings: &self.settings })?;
            sum.iter_mut().zip(bias).for_each(|(sum, b)| *sum += b);
        }
        Ok(sum.into_iter().map(|b| b as f32).collect())
    }

    /// The metric that steps need, if any does.
    fn metric(&self, w: &Matrix, statistics: Option<&Statistics>) -> Result<Option<Metric>, Refusal> {
        let Some(step) = self.steps().iter().find(|m| m.tier == super::Tier::Calibrated) else {
            return Ok(None);
        };
        let statistics = statistics.ok_or(Refusal::NeedsCalibration { method: step.name })?;
        if statistics.k() != w.k {
            return Err(Refusal::Width { expected: w.k, got: statistics.k() });
        }
        statistics.damped(self.settings.damp).map(Some)
    }

    fn target(&self, w: Vec<f64>, statistics: Option<&Statistics>) -> Result<Vec<f64>, Refusal> {
        let moves = self.steps().iter().filter_map(|m| match m.role {
            Role::Target(run) => Some((m.name, run)),
            _ => None,
        });
        moves.zip(std::iter::repeat(statistics)).try_fold(w, |w, ((method, run), statistics)| {
            run(&w, statistics.ok_or(Refusal::NeedsCalibration { method })?, &self.settings)
        })
    }

    fn columns(&self, metric: Option<&Metric>) -> Option<Vec<f64>> {
        let run = self.steps().iter().find_map(|m| match m.role {
            Role::Columns(run) => Some(run),
            _ => None,
        })?;
        Some(run(metric?, &self.settings))
    }

    fn round(
        &self,
        n: usize,
        k: usize,
        w: &[f64],
        metric: Option<&Metric>,
        seed: u64,
    ) -> Result<Grid, Refusal> {
        let method = self.choose(n, k, w);
        let whole = self.whole(method, n, k, w, seed);
        let strip = |(index, w): (usize, &[f64])| {
            let first = index * STRIP;
            let mut grid = match &whole {
                Some(grid) => grid.slice(first..n.min(first + STRIP)),
                None => self.project(method, w, k, Draw { seed, start: (first * k) as u64 }),
            };
            let refinements = self.steps().iter().filter_map(|m| match &m.role {
                Role::Refine(refinement) => Some((m.name, refinement)),
                _ => None,
            });
            for (method, refinement) in refinements {
                let metric = metric.ok_or(Refusal::NeedsCalibration { method })?;
                grid = (refinement.run)(&Rows { w, metric, settings: &self.settings }, grid)?;
            }
            Ok(grid)
        };
        let grids: Vec<Grid> =
            w.par_chunks(STRIP * k).enumerate().map(strip).collect::<Result<_, Refusal>>()?;
        Grid::stack(grids).ok_or(Refusal::Empty { n, k, values: 0 })
    }

    fn choose(&self, n: usize, k: usize, w: &[f64]) -> &'static Method {
        match projection(self.projection()) {
            Projection::Choose(choose) => {
                let values = w.iter().map(|v| *v as f32).collect();
                choose(&Matrix { n, k, values }, &self.settings)
            }
            _ => self.projection(),
        }
    }

    /// The matrix as one cell, for methods that give all of it one scale.
    fn whole(&self, method: &'static Method, n: usize, k: usize, w: &[f64], seed: u64) -> Option<Grid> {
        match projection(method) {
            Projection::Cells { whole: true, .. } if self.group(k) == k => {
                let as_one = self.project_in(method, w, n * k, n * k, Draw { seed, start: 0 });
                let coefficients = as_one.coefficients.repeat(n);
                Some(Grid { k, group: k, coefficients, ..as_one })
            }
            _ => None,
        }
    }

    fn project(&self, method: &'static Method, w: &[f64], k: usize, draw: Draw) -> Grid {
        self.project_in(method, w, k, self.group(k), draw)
    }

    fn project_in(&self, method: &'static Method, w: &[f64], k: usize, group: usize, draw: Draw) -> Grid {
        let planes = self.settings.planes;
        match projection(method) {
            Projection::Rows { codebook, project, .. } => {
                let mut grid = Grid::new(codebook(planes), w.len() / k, k, group);
                project(w, &mut grid);
                grid
            }
            Projection::Cells { binary, project, .. } => {
                let alphabet = if *binary { Alphabet::Binary } else { Alphabet::Ternary };
                let codebook = Codebook::planes(alphabet, planes, false);
                residual(w, Grid::new(codebook, w.len() / k, k, group), draw, *project)
            }
            Projection::Choose(_) => self.project_in(&super::project::exact::METHOD, w, k, group, draw),
        }
    }
}

/// Divides rows of `k` by their lengths, which it returns; rows of zeros stay.
fn normalize(w: &mut [f64], k: usize) -> Vec<f64> {
    let unit = |row: &mut [f64]| {
        let length = dot(row, row).sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|w| *w /= length);
        }
        length
    };
    w.chunks_mut(k).map(unit).collect()
}

/// Rounds cells to trits, plane by plane, each what the planes before left over.
fn residual(w: &[f64], mut grid: Grid, draw: Draw, project: fn(&[f32], Draw, &mut [i8]) -> f32) -> Grid {
    let planes = grid.codebook.alphabets().len();
    for row in 0..grid.rows() {
        for group in 0..grid.groups() {
            let columns = grid.columns(group);
            let start = row * grid.k + columns.start;
            let mut rest: Vec<f32> = w[start..start + columns.len()].iter().map(|v| *v as f32).collect();
            let mut codes = vec![vec![0i8; planes]; columns.len()];
            for plane in 0..planes {
                let mut trits = vec![0; rest.len()];
                let draw =
                    Draw { seed: draw.seed.wrapping_add(plane as u64), start: draw.start + start as u64 };
                let scale = project(&rest, draw, &mut trits);
                grid.cell(row, group)[plane] = f64::from(scale);
                for ((rest, code), trit) in rest.iter_mut().zip(&mut codes).zip(&trits) {
                    *rest -= scale * f32::from(*trit);
                    code[plane] = *trit;
                }
            }
            for (at, code) in (start..).zip(&codes) {
                if let Some(code) = grid.codebook.code(code) {
                    grid.codes[at] = code;
                }
            }
        }
    }
    grid
}
