//! What is not tested though it was asked for is counted: `.ci/run` fails where more is skipped than `.ci/skips` names.

use crate::outside;

/// Records that `what` is not tested, and why. A line each, `what: why`.
pub fn skip(what: &str, why: &str) {
    outside::record("skipped", &format!("{what}: {why}"));
}
