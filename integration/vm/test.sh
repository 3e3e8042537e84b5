#!/bin/bash
# Runs tests of tests/ in the test machine: as root, and as a user to whom systemd has given a
# part of the cgroups. What they print comes out here; exits with 0 when all have passed.
#
# RUNTIME        the runtime to test; a name without a slash is the machine's own, such as runc
# VM_TESTS       the tests to run as root, as filters of libtest; or "all", or "none"
# VM_USER_TESTS  the tests to run as the user
# VM_LIMIT       seconds after which the machine is switched off
# ACCEL          QEMU's accelerator: tcg where nothing is said, kvm where there is one
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PATH:$HOME/.cargo/bin
listed() { grep -v '^#' "integration/vm/$1" | tr '\n' ' '; }
tests=${VM_TESTS:-$(listed tests)}
user_tests=${VM_USER_TESTS:-$(listed user-tests)}
[ "$tests" != all ] || tests=
[ "$user_tests" != all ] || user_tests=

image=$(integration/vm/image.sh)
probe=$(tests/probe/build.sh)
binary=$(cargo test --locked --test runtime --no-run --message-format json |
    sed -n 's/.*"name":"runtime".*"executable":"\([^"]*\)".*/\1/p')

job=$(mktemp -d)
trap 'rm -rf "$job"' EXIT
cp integration/vm/job.sh "$job/job.sh"
cp "$probe" "$job/probe"
strip -o "$job/tests" "$binary"
case ${RUNTIME:=bin/orlop} in
*/*)
    cp "$RUNTIME" "$job/orlop"
    RUNTIME=/job/orlop
    ;;
esac
# Some tests read files of the repository, at the path where they were compiled.
mkdir -p "$job$PWD"
cp -r Cargo.toml README.md docs src tests "$job$PWD"
chmod 755 "$job"
printf '%s=%q\n' REPO "$PWD" RUNTIME "$RUNTIME" TESTS "$tests" USER_TESTS "$user_tests" >"$job/settings"

SECONDS=0
code=0
integration/vm/boot.sh "$image" "$job" "${VM_LIMIT:-1800}" || code=$?
echo "orlop: the test machine ran for $SECONDS s" >&2
exit $code
