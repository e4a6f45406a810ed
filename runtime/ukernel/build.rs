//! Tells those who build on the microkernels where their source is.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::metadata=manifest={}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
}
