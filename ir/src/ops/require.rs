//! Sizes that have to be equal.

use super::Signatures;
use crate::dim::Dim;

/// Whether two dimensions can be equal; that they are is then required, where it does not follow from what they are.
pub(super) fn may_equal(a: &Dim, b: &Dim, module: &dyn Signatures) -> bool {
    if a == b {
        return true;
    }
    let differ = a.sub(b).is_some_and(|d| d.as_integer().is_some());
    if !differ {
        module.require(a, b);
    }
    !differ
}

/// Whether a dimension can be 1 or equal another; that it is is then required.
pub(super) fn may_broadcast(a: &Dim, to: &Dim, module: &dyn Signatures) -> bool {
    let Some(both) = Dim::broadcast([a.clone(), to.clone()]) else { return false };
    // A constant is broadcast to nothing smaller.
    may_equal(&both, to, module)
}
