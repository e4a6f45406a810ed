//! An offset μ for each group besides its scale: `w ≈ α·t + μ`, both solved under the metric as 2×2 systems.

use super::{refit, step};
use crate::method::{Method, Refinement, Role};

pub const METHOD: Method = Method {
    role: Role::Refine(Refinement {
        run: |rows, grid| {
            let mut grid = grid.with_offset();
            refit::fit(rows, &mut grid);
            Ok(grid)
        },
        moves_codes: false,
        refuses: |codebook| codebook.has_offset().then_some("it has one already"),
    }),
    ..step(
        "offset",
        "an offset a group besides the scale, both minimising the output error",
        "arXiv 2510.03267",
        "closed form",
        |_, grid| Ok(grid),
    )
};
