#!/bin/sh
# Runs tests under AddressSanitizer, which sees what Rust code reads or writes outside of an allocation: microkernels,
# packing, the runtime, the interpreter. Code that Trine compiled itself, and `asm!`, is not instrumented; what that
# writes outside is seen by the guards of `Session::guarded`, with which these tests run, and what it reads past the end
# of an input by the page after it. Needs a nightly toolchain; all is built once more, under target/sanitize.
#
#     tests/sanitize.sh                            those that run kernels and microkernels
#     tests/sanitize.sh --test onnx -- gemm        any others, as `cargo test` takes them
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Zsanitizer=address"
# Frames are larger with the sanitizer's bookkeeping.
export RUST_MIN_STACK="${RUST_MIN_STACK:-33554432}"
test() {
    cargo +nightly test --target "$host" --target-dir target/sanitize "$@"
}
if [ $# -gt 0 ]; then
    test "$@"
    exit
fi
test -p trine-ukernel --lib
test -p trine-runtime --lib
test -p trine-tests --test codegen --test products --test rows --test recurrent --test sessions --test filetests
