//! The trits at the smallest angle to the weights (arXiv 2212.12649): `max_t cos(w, t)`.
//!
//! `min_α ‖w − α·t‖² = ‖w‖²·(1 − cos²(w, t))`, so they are those that least squares finds: the name is the
//! identity's, and the work is `exact`'s.

use super::{cells, exact};
use crate::Method;

pub const METHOD: Method = cells(
    "hypersphere",
    "the trits at the smallest angle to the row: the same as exact's",
    "arXiv 2212.12649",
    "cosine",
    "exact, by sorting",
    exact::project,
);
