//! What a Trine program is.
