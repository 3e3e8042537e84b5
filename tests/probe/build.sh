#!/bin/sh
# Build the probe as a static program and print its path.
#
# build.sh [TARGET_DIR]    default: target/probe beside Cargo.toml
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/../../target/probe}
arch=$(uname -m)
target=$arch-unknown-linux-musl
flags=
if [ ! -d "$(rustc --print target-libdir --target "$target")" ]; then
    target=$arch-unknown-linux-gnu
    flags='-C target-feature=+crt-static'
fi
unset CARGO_ENCODED_RUSTFLAGS
RUSTFLAGS=$flags CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_STRIP=true \
    "${CARGO:-cargo}" build --quiet --package orlop-probe --target "$target" \
    --manifest-path "$here/Cargo.toml" --target-dir "$dir" >&2
dir=$(cd "$dir" && pwd)
cp "$dir/$target/debug/probe" "$dir/probe.new"
mv "$dir/probe.new" "$dir/probe"
echo "$dir/probe"
