#!/bin/bash
# What `make lint` checks.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --check
cargo clippy --locked --all-targets -- -D warnings

# `unsafe` has one home. The compiler denies it elsewhere; this finds an `allow` that lets it in.
if grep -rnE '\bunsafe\b *(\{|fn|impl|extern)|allow\(.*unsafe_code' src --include='*.rs' | grep -v '^src/sys/'; then
    echo "lint: unsafe outside of src/sys" >&2
    exit 1
fi

if command -v shellcheck >/dev/null; then
    shellcheck --external-sources --source-path=. integration/*.sh integration/vm/*.sh integration/vm/guest/job tests/probe/build.sh .ci/run
else
    echo "lint: no shellcheck here, the scripts were not checked" >&2
fi
