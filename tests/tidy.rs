//! Invariants of the tree that no compiler checks.
