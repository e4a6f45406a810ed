//! Three of four: in each run of four weights the least is zero and the others have their signs, which packs
//! into 5 bits a run (Sherry, arXiv 2601.07892). `scale` = mean of the magnitudes kept. A short run at the end keeps
//! all but one in the same way, if it has more than one.

use super::sign;
use crate::method::{Axes, Method, Projection, Role, Tier};
use trine_ir::random::Draw;

pub const METHOD: Method = Method {
    name: "sparse34",
    about: "the least of every four weights is zero, scale = mean of the others",
    paper: "Sherry, arXiv 2601.07892",
    tier: Tier::Weights,
    axes: Axes {
        projection: "structured sparsity",
        optimizer: "exact",
        granularity: "row",
        planes: "1 to 4, of what is left",
    },
    role: Role::Project(Projection::Cells { whole: false, binary: false, keeps_pattern: true, project }),
};

fn project(w: &[f32], _: Draw, trits: &mut [i8]) -> f32 {
    let (mut sum, mut kept) = (0f64, 0);
    for (w, t) in w.chunks(4).zip(trits.chunks_mut(4)) {
        let least = (0..w.len()).min_by(|a, b| w[*a].abs().total_cmp(&w[*b].abs())).filter(|_| w.len() > 1);
        for i in (0..w.len()).filter(|i| Some(*i) != least) {
            t[i] = sign(w[i]);
            sum += f64::from(w[i].abs());
            kept += 1;
        }
    }
    (sum / f64::from(kept.max(1))) as f32
}
