#!/bin/sh
# Says what of the public API of the libraries changed since a commit, by default that of `tests/semver-baseline`, in ways that
# break programs: a version that is released needs a new number for these. Needs cargo-semver-checks.
#
#     tests/semver.sh [COMMIT]
set -eu
cd "$(dirname "$0")/.."
command -v cargo-semver-checks >/dev/null || {
    echo "cargo-semver-checks is not here: cargo install cargo-semver-checks --locked" >&2
    exit 2
}
packages=$(cargo metadata --no-deps --format-version 1 |
    python3 -c 'import json, sys; print(*(p["name"] for p in json.load(sys.stdin)["packages"] if p["publish"] != [] and any("lib" in t["kind"] for t in p["targets"])))')
for package in $packages; do
    set -- "$@" --package "$package"
done
baseline=$(cat tests/semver-baseline)
case ${1:-} in
'' | --package) ;;
*) baseline=$1 && shift ;;
esac
exec cargo semver-checks --baseline-rev "$baseline" "$@"
