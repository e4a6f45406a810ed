//! C programs around models that Trine compiled.

use std::path::Path;

use crate::outside;

/// Links `model.o` and `model.h` of a folder, `tests/aot/main.c` and the C library, and nothing else.
pub fn link(model: &Path, program: &Path) {
    link_with("cc", &[], model, program);
}

/// The same by a C compiler that is given more arguments.
pub fn link_with(compiler: &str, more: &[&str], model: &Path, program: &Path) {
    outside::success(
        outside::program(compiler)
            .args(more)
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(program)
            .arg("-I")
            .arg(model)
            .arg(outside::root().join("tests/aot/main.c"))
            .arg(model.join("model.o"))
            .arg("-lm"),
    );
}
