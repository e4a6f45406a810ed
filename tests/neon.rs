//! The microkernels of aarch64 against their oracles, where the machine is another: the tests of `trine-ukernel`,
//! compiled for aarch64 and emulated, on a processor that has dot products and on one that lacks them.
//!
//! Needs QEMU, a linker and a standard library for aarch64.
#![cfg(not(target_arch = "aarch64"))]

use crate::{aarch64, outside};

/// Dependencies that the tests spend time in; optimising the others would take longer than it saves.
const HOT: [&str; 5] = ["proptest", "rand", "rand_core", "rand_xorshift", "chacha20"];

/// Processors, the features that they have, and how many cases of each property suffice: the second differs from the
/// first in what it leaves out.
const PROCESSORS: [(&str, &str, u32); 2] =
    [("cortex-a76", "neondotprod+neon", 256), ("cortex-a53", "neon", 32)];

#[test]
fn kernels_of_aarch64_agree_with_their_oracles() {
    if !outside::asked("microkernels of aarch64, emulated") {
        return;
    }
    for (processor, features, cases) in PROCESSORS {
        let output = test(processor, cases);
        assert!(output.lines().any(|line| line == features), "`{processor}` is not `{features}`:\n{output}");
    }
}

/// Runs the unit tests on `processor`, and returns what they print.
fn test(processor: &str, cases: u32) -> String {
    let mut cargo = aarch64::cargo("test", processor);
    cargo.args(["--package", "trine-ukernel", "--lib"]).env("PROPTEST_CASES", cases.to_string());
    for package in HOT {
        cargo.arg("--config").arg(format!("profile.dev.package.{package}.opt-level=2"));
    }
    cargo.args(["--", "--show-output"]);
    String::from_utf8_lossy(&outside::success(&mut cargo).stdout).into_owned()
}
