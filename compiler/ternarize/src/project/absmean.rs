//! `scale = mean|w|`, `t = clip(round(w / scale), -1, 1)`: BitNet b1.58 (arXiv 2402.17764).

use super::mean_magnitude;
use crate::method::{Axes, Method, Projection, Role, Tier};
use trine_ir::random::Draw;

pub const METHOD: Method = Method {
    name: "absmean",
    about: "scale = mean|w| of the matrix, w/scale rounded and clipped, as BitNet b1.58 does",
    paper: "arXiv 2402.17764",
    tier: Tier::Weights,
    axes: Axes {
        projection: "rounding",
        optimizer: "none",
        granularity: "matrix",
        planes: "1 to 4, of what is left",
    },
    role: Role::Project(Projection::Cells { whole: true, binary: false, keeps_pattern: false, project }),
};

fn project(w: &[f32], _: Draw, trits: &mut [i8]) -> f32 {
    let scale = mean_magnitude(w) as f32;
    if scale > 0.0 {
        for (w, t) in w.iter().zip(trits) {
            *t = (w / scale).round_ties_even().clamp(-1.0, 1.0) as i8;
        }
    }
    scale
}
