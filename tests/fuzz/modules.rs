//! Modules of the tests that targets are made of.

#[path = "entry.rs"]
pub mod entry;
#[path = "../support/feed.rs"]
pub mod feed;
#[path = "../graphs/mod.rs"]
pub mod graphs;
#[path = "../support/sections.rs"]
pub mod sections;
