//! What makes a Trine program.
