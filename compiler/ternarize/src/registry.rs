//! Every method there is.

use super::method::{Axes, Method, Role, Tier};
use super::project::{absmean, bernoulli, binary, equalize, exact, half_std, hypersphere, iterative};
use super::project::{planes, smart, sparse34, three_means, ttq_init, twn};
use super::refine::{admm, angle, bias, columns, compensate, descent, gptq, offset, refit, slq, tequila};

/// By tier; those that are trained are listed so that the grid is whole.
pub const METHODS: &[Method] = &[
    absmean::METHOD,
    twn::METHOD,
    twn::WIDER,
    exact::METHOD,
    hypersphere::METHOD,
    iterative::METHOD,
    iterative::ASYMMETRIC,
    three_means::METHOD,
    ttq_init::METHOD,
    half_std::METHOD,
    equalize::MASS,
    equalize::INTERVAL,
    bernoulli::METHOD,
    binary::METHOD,
    smart::METHOD,
    sparse34::METHOD,
    planes::METHOD,
    planes::TIED,
    tequila::METHOD,
    refit::METHOD,
    offset::METHOD,
    gptq::METHOD,
    descent::METHOD,
    admm::METHOD,
    admm::EXTRAGRADIENT,
    angle::METHOD,
    slq::METHOD,
    compensate::METHOD,
    columns::METHOD,
    bias::METHOD,
    bias::DEAD,
    trained("ste", "straight-through gradients past the rounding", "arXiv 1308.3432", "rounding", "gradient"),
    trained(
        "ttq",
        "two scales learned with the weights",
        "arXiv 1612.01064",
        "threshold, two scales",
        "gradient",
    ),
    trained("lsq", "the step learned by its own gradient", "arXiv 1902.08153", "rounding", "gradient"),
    trained(
        "tequila-training",
        "dead weights as a bias whose λ is learned",
        "arXiv 2509.23809",
        "threshold",
        "gradient",
    ),
    trained(
        "gradual-norm",
        "an extra RMSNorm, layers made ternary one by one",
        "arXiv 2505.08823",
        "rounding",
        "gradient",
    ),
    trained(
        "loss-aware",
        "hyperspherical weights, cosine in the loss",
        "arXiv 2212.12649",
        "cosine",
        "gradient",
    ),
    trained(
        "smart-training",
        "β learned between binary and ternary",
        "arXiv 1909.12205",
        "regulariser",
        "gradient",
    ),
    trained(
        "hitnet",
        "weights by threshold, hidden states by Bernoulli (without training: twn and `--states bernoulli`)",
        "NeurIPS 2018",
        "threshold, stochastic",
        "gradient",
    ),
    trained(
        "admm-training",
        "ADMM between gradient steps",
        "arXiv 1707.09870",
        "least squares",
        "ADMM, gradient",
    ),
    trained(
        "slq-training",
        "clusters fixed one by one, the others trained",
        "arXiv 1803.03289",
        "clustering",
        "gradient",
    ),
];

const fn trained(
    name: &'static str,
    about: &'static str,
    paper: &'static str,
    projection: &'static str,
    optimizer: &'static str,
) -> Method {
    let axes = Axes { projection, optimizer, granularity: "as trained", planes: "1" };
    Method { name, about, paper, tier: Tier::Trained, axes, role: Role::Trained }
}
