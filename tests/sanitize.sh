#!/bin/sh
# Runs tests under AddressSanitizer, which sees what Rust code reads or writes outside of an allocation: microkernels,
# packing, the runtime, the interpreter. Code that Trine compiled itself, and `asm!`, is not instrumented; what that
# writes outside is seen by the guards of `Session::guarded`, with which these tests run, and what it reads past the end
# of an input by the page after it. Needs a nightly toolchain; all is built once more, under target/sanitize.
#
#     tests/sanitize.sh                                    those that run kernels and microkernels
#     tests/sanitize.sh --test graphs                      any others, as `cargo test` takes them
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Zsanitizer=address"
# Frames are larger with the sanitizer's bookkeeping.
export RUST_MIN_STACK="${RUST_MIN_STACK:-33554432}"
# Microkernels take minutes to build with the sanitizer's checks optimised.
test() {
    cargo +nightly test --target "$host" --target-dir target/sanitize \
        --config profile.dev.package.trine-ukernel.opt-level=1 "$@"
}
if [ $# -gt 0 ]; then
    test "$@"
    exit
fi
test --lib
test --test library -- codegen:: products:: rows:: recurrent:: sessions:: caches:: groups:: halves::
test --test filetests
