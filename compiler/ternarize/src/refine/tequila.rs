//! Dead weights as a bias (Tequila, arXiv 2509.23809): `b = λ·Σ w` over the weights of a row that became zero, as if
//! their inputs were λ. With calibration, `dead-bias` takes each input's mean instead.

use super::bias::dead_rows;
use crate::method::{Axes, Method, Role, Tier};

pub const METHOD: Method = Method {
    name: "tequila",
    about: "a bias of lambda times the sum of a row's dead weights",
    paper: "arXiv 2509.23809",
    tier: Tier::Weights,
    axes: Axes { projection: "as projected", optimizer: "none", granularity: "row", planes: "as projected" },
    role: Role::Bias {
        run: |biased| Ok(dead_rows(biased, |w, _| biased.settings.lambda * w)),
        paired: false,
    },
};
