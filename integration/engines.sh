#!/bin/bash
# The tests with real engines: on the host as it is and, where that is a cgroup v1 or hybrid
# host, once more with cgroup v2. As root; RUNTIME is the runtime under test.
set -uo pipefail
cd "$(dirname "$0")" || exit
unified=/sys/fs/cgroup/unified
failed=
for test in umoci containerd; do
    for view in host v2; do
        command=(bash "./$test.sh")
        if [ $view = v2 ]; then
            [ -d $unified ] || continue
            # `ctr` asks for CPU shares, whatever its flags.
            if [ $test = containerd ] && ! grep -qw cpu $unified/cgroup.controllers; then
                echo "== $test, $view: skipped, as v2 has no cpu controller here"
                continue
            fi
            command=(./v2-view.sh "${command[@]}")
        fi
        echo "== $test, $view"
        timeout 300 "${command[@]}" || failed+=" $test/$view"
    done
done
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
