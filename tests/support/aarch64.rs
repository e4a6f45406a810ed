//! Programs for aarch64, on a machine that is another: built by cargo or a C compiler, and emulated.
//!
//! Needs QEMU, a linker and a standard library for aarch64.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::outside;

pub const COMPILER: &str = "aarch64-linux-gnu-gcc";
const TARGET: &str = "aarch64-unknown-linux-gnu";
const EMULATOR: &str = "qemu-aarch64";

/// The compiler that runs these tests, then Debian's.
const RUST_COMPILERS: [&str; 2] = ["rustc", "/usr/bin/rustc"];

const INSTALL: &str = "\
install gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user, and a standard library for aarch64: \
`rustup target add aarch64-unknown-linux-gnu`, or on Debian, after `dpkg --add-architecture arm64`, rustc-web and \
libstd-rust-web-dev:arm64";

/// Cargo in the root of the tree, with a command that is given more arguments; what it runs is emulated on `processor`.
/// Few dependencies are worth the time to optimise them.
pub fn cargo(command: &str, processor: &str) -> Command {
    let rust = RUST_COMPILERS.into_iter().find(|compiler| targets(compiler));
    let (Some(rust), true) = (rust, has_tools()) else { panic!("{INSTALL}") };
    let mut cargo = outside::program(env!("CARGO"));
    cargo.args([command, "--locked", "--target", TARGET]).current_dir(outside::root());
    cargo.args(["--config", "profile.dev.package.\"*\".opt-level=0"]);
    // What was set for this machine's compiler is not for that one.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(variable);
    }
    let variable = |suffix| format!("CARGO_TARGET_{}_{suffix}", TARGET.to_uppercase().replace('-', "_"));
    cargo
        .env("RUSTC", rust)
        .env("CARGO_TARGET_DIR", folder())
        .env(variable("LINKER"), COMPILER)
        .env(variable("RUNNER"), format!("{EMULATOR} -cpu {processor}"))
        // The emulator then needs no libraries.
        .env(variable("RUSTFLAGS"), "-D warnings -C target-feature=+crt-static");
    cargo
}

/// Where what cargo built lies.
pub fn built(path: &str) -> PathBuf {
    folder().join(TARGET).join(path)
}

/// A program, emulated on `processor`.
pub fn emulated(program: &Path, processor: &str) -> Command {
    let mut command = outside::program(EMULATOR);
    command.args(["-cpu", processor]).arg(program);
    command
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("aarch64")
}

fn has_tools() -> bool {
    [COMPILER, EMULATOR].iter().all(|tool| succeeds(tool, &["--version"]))
}

/// Whether `compiler` has a standard library for aarch64.
fn targets(compiler: &str) -> bool {
    let Ok(output) =
        outside::program(compiler).args(["--print", "target-libdir", "--target", TARGET]).output()
    else {
        return false;
    };
    let folder = String::from_utf8_lossy(&output.stdout);
    output.status.success() && Path::new(folder.trim_end()).is_dir()
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    outside::program(program).args(args).output().is_ok_and(|output| output.status.success())
}
