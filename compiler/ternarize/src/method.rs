//! What a method is: a name, where it stands on the survey's axes, and what it does in a recipe.

use super::codebook::Codebook;
use super::recipe::Settings;
use super::registry::METHODS;
use super::{Grid, Matrix, Metric, Quantized, Refusal, Statistics};
use trine_ir::random::Draw;

/// A way to round weights, or a step of one.
pub struct Method {
    pub name: &'static str,
    pub about: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    pub tier: Tier,
    pub axes: Axes,
    pub(super) role: Role,
}

/// What a method needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The weights alone.
    Weights,
    /// Statistics of the layer's inputs.
    Calibrated,
    /// Training: listed, but no part of a compiler.
    Trained,
}

/// Where a method stands among all there are (arXiv 2303.01505).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axes {
    /// How a real weight is taken to a level.
    pub projection: &'static str,
    /// What is minimised, and how.
    pub optimizer: &'static str,
    /// What one scale serves where no group is asked for.
    pub granularity: &'static str,
    /// How many planes it can make.
    pub planes: &'static str,
}

/// What a method does in a recipe.
pub(super) enum Role {
    /// Says what weights are first rounded to.
    Project(Projection),
    /// Mends rounded rows.
    Refine(Refinement),
    /// Scales columns before, and inputs the other way.
    Columns(fn(&Metric, &Settings) -> Vec<f64>),
    /// Moves the weights that are rounded, `[n, k]`.
    Target(Target),
    /// Makes up for what was lost by a bias.
    Bias {
        run: fn(&Biased) -> Result<Vec<f64>, Refusal>,
        /// Whether it wants the inputs of the unrounded model too.
        paired: bool,
    },
    /// Is trained.
    Trained,
}

/// From weights `[n, k]` to those that are to be met.
pub(super) type Target = fn(&[f64], &Statistics, &Settings) -> Result<Vec<f64>, Refusal>;

pub(super) enum Projection {
    /// Rounds a cell (the matrix, a row or a group) of f32 weights to trits and returns their scale. Weights are
    /// finite, trits come zeroed. Further planes take what the ones before left over.
    Cells { whole: bool, binary: bool, keeps_pattern: bool, project: fn(&[f32], Draw, &mut [i8]) -> f32 },
    /// Rounds rows to a codebook of its own.
    Rows {
        codebook: fn(usize) -> Codebook,
        planes: std::ops::RangeInclusive<usize>,
        project: fn(&[f64], &mut Grid),
    },
    /// Chooses another projection for a matrix.
    Choose(fn(&Matrix, &Settings) -> &'static Method),
}

pub(super) struct Refinement {
    pub run: fn(&Rows, Grid) -> Result<Grid, Refusal>,
    /// Whether it gives weights other codes.
    pub moves_codes: bool,
    /// Why it cannot work on a codebook, if so.
    pub refuses: fn(&Codebook) -> Option<&'static str>,
}

/// Rows to be rounded.
pub(super) struct Rows<'a> {
    /// `[rows, k]`.
    pub w: &'a [f64],
    pub metric: &'a Metric,
    pub settings: &'a Settings,
}

/// A rounded matrix that wants a bias.
pub(super) struct Biased<'a> {
    pub w: &'a Matrix,
    pub quantized: &'a Quantized,
    pub statistics: Option<&'a Statistics>,
    pub settings: &'a Settings,
}

impl Method {
    pub fn named(name: &str) -> Result<&'static Method, Refusal> {
        METHODS.iter().find(|m| m.name == name).ok_or_else(|| {
            let known: Vec<_> = METHODS.iter().map(|m| m.name).collect();
            Refusal::UnknownMethod { name: name.escape_debug().to_string(), known: known.join(", ") }
        })
    }

    /// Whether a recipe can start with it; else it mends what another has rounded.
    pub fn is_projection(&self) -> bool {
        matches!(self.role, Role::Project(_))
    }
}

impl Tier {
    /// 1, 2 or 3.
    pub fn number(self) -> u8 {
        match self {
            Tier::Weights => 1,
            Tier::Calibrated => 2,
            Tier::Trained => 3,
        }
    }
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Method {
    fn eq(&self, other: &Method) -> bool {
        self.name == other.name
    }
}
