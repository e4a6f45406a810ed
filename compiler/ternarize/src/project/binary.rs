//! `t = sign(w)`, `scale = mean|w|`, which is the best of all scales (arXiv 1603.05279, BWN). Zero is positive.

use super::{mean_magnitude, sign};
use crate::method::{Axes, Method, Projection, Role, Tier};
use trine_ir::random::Draw;

pub const METHOD: Method = Method {
    name: "binary",
    about: "signs, scale = mean|w| of the row: no zeros, one bit a weight",
    paper: "arXiv 1603.05279",
    tier: Tier::Weights,
    axes: Axes {
        projection: "sign",
        optimizer: "exact",
        granularity: "row",
        planes: "1 to 4, of what is left",
    },
    role: Role::Project(Projection::Cells { whole: false, binary: true, keeps_pattern: false, project }),
};

fn project(w: &[f32], _: Draw, trits: &mut [i8]) -> f32 {
    w.iter().zip(trits).for_each(|(w, t)| *t = sign(*w));
    mean_magnitude(w) as f32
}
