//! C programs around models that Trine compiled.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::outside;

/// Links `model.o` and `model.h` of a folder, `tests/aot/main.c`, the microkernels and the C library, and nothing else.
pub fn link(model: &Path, program: &Path) {
    outside::success(
        outside::program("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wl,--gc-sections", "-o"])
            .arg(program)
            .arg("-I")
            .arg(model)
            .arg(outside::root().join("tests/aot/main.c"))
            .arg(model.join("model.o"))
            .arg(microkernels())
            .arg("-lm"),
    );
}

/// The microkernels as an archive for C, made as `trine compile --help` says, in a target folder of its own.
pub fn microkernels() -> &'static Path {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let folder = outside::root().join("target/archive");
        outside::success(
            outside::program(env!("CARGO"))
                .args(["rustc", "--quiet", "-p", "trine-ukernel", "--lib", "--release"])
                .args(["--crate-type", "staticlib", "--target-dir"])
                .arg(&folder)
                .args(["--", "--cfg", "trine_archive", "-C", "panic=abort"])
                .current_dir(outside::root()),
        );
        folder.join("release/libtrine_ukernel.a")
    })
}
