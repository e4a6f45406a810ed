//! All that is tested through the library, in one binary, so that it is linked once. What counts allocations, or has a
//! harness of its own, stands apart.

mod aot;
mod artefact;
mod bad_files;
mod bad_import;
mod bad_runs;
mod batch;
mod caches;
mod capi;
mod codegen;
mod contrib;
mod cross;
mod defaults;
mod dims;
mod dumps;
mod fuzz;
mod groups;
mod halves;
mod import_shapes;
mod large_graphs;
mod libraries;
mod masks;
mod memory;
mod models;
mod neon;
mod opsets;
mod products;
mod proto;
mod python;
mod recipes;
mod recurrent;
mod rows;
mod saved;
mod sessions;
mod smollm2;
mod specification;
mod spellings;
mod tidy;
mod wheel;

#[cfg(not(target_arch = "aarch64"))]
#[path = "support/aarch64.rs"]
mod aarch64;
#[path = "support/answers.rs"]
mod answers;
#[path = "support/c.rs"]
mod c;
#[path = "support/caught.rs"]
mod caught;
#[path = "support/damage.rs"]
mod damage;
#[path = "support/feed.rs"]
mod feed;
#[path = "support/fetch.rs"]
mod fetch;
#[path = "graphs/mod.rs"]
mod graphs;
#[path = "support/kernels.rs"]
mod kernels;
#[path = "support/model.rs"]
mod model;
#[path = "support/numbers.rs"]
mod numbers;
#[path = "support/onnx.rs"]
mod onnx;
#[path = "support/outside.rs"]
mod outside;
#[path = "support/sections.rs"]
mod sections;
#[path = "support/skips.rs"]
mod skips;
