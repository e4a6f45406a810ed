//! The microkernels of aarch64 against their oracles, where the machine is another: the tests of `trine-ukernel`,
//! compiled for aarch64 and emulated, on a processor that has dot products and on one that lacks them.
//!
//! Needs QEMU, a linker and a standard library for aarch64.
#![cfg(not(target_arch = "aarch64"))]

use std::path::Path;

use crate::outside;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";

/// The compiler that runs these tests, then Debian's.
const COMPILERS: [&str; 2] = ["rustc", "/usr/bin/rustc"];

const INSTALL: &str = "\
install gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user, and a standard library for aarch64: \
`rustup target add aarch64-unknown-linux-gnu`, or on Debian, after `dpkg --add-architecture arm64`, rustc-web and \
libstd-rust-web-dev:arm64";

/// Dependencies that the tests spend time in; optimising the others would take longer than it saves.
const HOT: [&str; 5] = ["proptest", "rand", "rand_core", "rand_xorshift", "chacha20"];

/// Processors, the features that they have, and how many cases of each property suffice: the second differs from the
/// first in what it leaves out.
const PROCESSORS: [(&str, &str, u32); 2] =
    [("cortex-a76", "neondotprod", 256), ("cortex-a53", "baseline", 32)];

#[test]
fn kernels_of_aarch64_agree_with_their_oracles() {
    if !outside::asked("microkernels of aarch64, emulated") {
        return;
    }
    let compiler = COMPILERS.into_iter().find(|compiler| targets(compiler));
    let tools = [LINKER, EMULATOR].iter().all(|tool| succeeds(tool, &["--version"]));
    let (Some(compiler), true) = (compiler, tools) else { panic!("{INSTALL}") };
    for (processor, features, cases) in PROCESSORS {
        let output = test(compiler, processor, cases);
        assert!(output.lines().any(|line| line == features), "`{processor}` is not `{features}`:\n{output}");
    }
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

/// Runs the unit tests on `processor`, and returns what they print.
fn test(compiler: &str, processor: &str, cases: u32) -> String {
    let mut cargo = outside::program(env!("CARGO"));
    cargo.args(["test", "--locked", "--package", "trine-ukernel", "--lib", "--target", TARGET]);
    let levels = HOT.map(|package| (package, 2));
    for (package, level) in [("\"*\"", 0)].into_iter().chain(levels) {
        cargo.arg("--config").arg(format!("profile.dev.package.{package}.opt-level={level}"));
    }
    cargo.args(["--", "--show-output"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    // What was set for this machine's compiler is not for that one.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(variable);
    }
    let variable = |suffix| format!("CARGO_TARGET_{}_{suffix}", TARGET.to_uppercase().replace('-', "_"));
    cargo
        .env("RUSTC", compiler)
        .env("PROPTEST_CASES", cases.to_string())
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("aarch64"))
        .env(variable("LINKER"), LINKER)
        .env(variable("RUNNER"), format!("{EMULATOR} -cpu {processor}"))
        // The emulator then needs no libraries.
        .env(variable("RUSTFLAGS"), "-D warnings -C target-feature=+crt-static");
    String::from_utf8_lossy(&outside::success(&mut cargo).stdout).into_owned()
}
