//! What runs a Trine program.
