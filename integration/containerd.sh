#!/bin/bash
# Debian's containerd with the runtime under test in place of runc, by `ctr`: output, statuses,
# exec, pause, kill, limits, errors, and nothing left at the end. containerd has its own root,
# state and socket, and namespaces that vanish with the test. As root; RUNTIME is the runtime
# under test.
set -euo pipefail
# shellcheck source=integration/checks.sh
source "$(dirname "$0")/checks.sh"
in_own_namespaces

work=$(mktemp -d)
trap clean_up EXIT
namespace=orlop-test-$(basename "$work" | tr -cd '[:alnum:]')
image=localhost/test:latest
# The shim keeps its sockets and the runtime's state there, whatever containerd's own state is.
mkdir -p /run/containerd
mount -t tmpfs tmpfs /run/containerd
# The writable layers want a file system that overlayfs accepts as an upper one.
mkdir "$work/root"
mount -t tmpfs tmpfs "$work/root"

cat >"$work/config.toml" <<EOF
version = 2
root = "$work/root"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$work/socket"
[debug]
address = "$work/debug"
EOF
containerd --config "$work/config.toml" >"$work/log" 2>&1 &
containerd=$!

clean_up() {
    kill "$containerd" || true
    wait "$containerd" || true
    umount "$work/root"
    rm -rf --one-file-system "$work"
    # containerd makes a cgroup for each of its namespaces, and keeps it.
    find /sys/fs/cgroup -depth -path "*/$namespace*" -type d -exec rmdir {} + 2>/dev/null || true
}

ctr() { command ctr --address "$work/socket" --namespace "$namespace" "$@"; }
# run [FLAG...] ID COMMAND... in the image
run() {
    local flags=()
    while [[ $1 == -* ]]; do flags+=("$1") && shift; done
    ctr run --runc-binary "$runtime" "${flags[@]}" $image "$@"
}
status_of() { ctr task ls | awk -v id="$1" '$1 == id { print $3 }'; }
has_status() { [ "$(status_of "$1")" = "$2" ]; }

eventually ctr version >/dev/null 2>&1 || { cat "$work/log" >&2; exit 1; }
"$here/image.sh" "$work/image"
skopeo --insecure-policy copy --quiet "oci:$work/image:test" "oci-archive:$work/image.tar:$image"
ctr image import "$work/image.tar" >/dev/null
mounts_before=$(mounts)
processes_before=$(processes)

# The container's own variables are meant in what follows.
# shellcheck disable=SC2016
{
    status=0
    output=$(run --rm one sh -c 'echo "image: $FROM_IMAGE, pid $$"; exit 42') || status=$?
    is 'run prints what the program prints' 'image: yes, pid 1' "$output"
    is 'run passes the status on' 42 "$status"

    output=$(run --rm --env=A=b --cwd=/tmp --read-only two \
        sh -c 'echo "$A $(pwd) $(touch /x 2>&1)"')
    is 'environment, cwd and read-only root' 'b /tmp touch: /x: Read-only file system' "$output"

    output=$(run --rm --seccomp three sh -c 'grep -c "^Seccomp:.*2" /proc/self/status; unshare -r true 2>&1 | head -n 1')
    is "containerd's seccomp profile holds" "1
unshare: unshare(0x10000000): Operation not permitted" "$output"

    echo 'from outside' >"$work/file"
    output=$(run --rm "--mount=type=bind,src=$work/file,dst=/tmp/file,options=rbind:ro" four cat /tmp/file)
    is 'a bind mount' 'from outside' "$output"

    status=0
    output=$(run --rm five no-such-program 2>&1) || status=$?
    is 'a missing program fails' 1 "$status"
    has 'a missing program, in words' 'executable file not found in $PATH' "$output"
}

# on_terminal COMMAND...: what it prints on a terminal, in the lines of a file
on_terminal() { script --quiet --return --command "$(printf '%q ' "$@")" /dev/null </dev/null | tr -d '\r'; }
# As `ctr` and `run` are functions, and script wants a program.
ctr_words=(ctr --address "$work/socket" --namespace "$namespace")
output=$(on_terminal "${ctr_words[@]}" run --rm --tty --runc-binary "$runtime" $image six tty)
has 'run --tty has a terminal' '/dev/pts/0' "$output"

run --detach --memory-limit=33554432 long sleep 1000
is 'a detached task is running' RUNNING "$(status_of long)"
pid=$(ctr task ls | awk '$1 == "long" { print $2 }')
is 'its init is our pid' sleep "$(cat "/proc/$pid/comm")"
limit=/sys/fs/cgroup/memory/$namespace/long/memory.limit_in_bytes
[ ! -d /sys/fs/cgroup/memory ] || is 'the memory limit is set' 33554432 "$(cat "$limit")"

status=0
output=$(ctr task exec --exec-id first long sh -c 'readlink /proc/self/ns/pid; exit 7') || status=$?
is 'exec runs in its pid namespace' "$(readlink "/proc/$pid/ns/pid")" "$output"
is 'exec passes the status on' 7 "$status"
status=0
output=$(ctr task exec --exec-id second long no-such-program 2>&1) || status=$?
is 'exec of a missing program fails' 1 "$status"
has 'exec of a missing program, in words' "executable file not found in \$PATH" "$output"
output=$(on_terminal "${ctr_words[@]}" task exec --tty --exec-id third long tty)
has 'exec --tty has a terminal' '/dev/pts/' "$output"
is 'ps lists the task' "$pid" "$(ctr task ps long | awk 'NR == 2 { print $1 }')"

ctr task pause long
is 'pause' PAUSED "$(status_of long)"
ctr task resume long
is 'resume' RUNNING "$(status_of long)"
ctr task kill --signal SIGKILL long
eventually has_status long STOPPED || true
is 'kill' STOPPED "$(status_of long)"
output=$(ctr task rm long 2>&1)
has 'the status of a killed task' 'exit code 137' "$output"
ctr container rm long

status=0
run --rm killed sleep 1000 &
runner=$!
eventually has_status killed RUNNING || true
ctr task kill --signal KILL killed
wait $runner || status=$?
is 'run ends with 137 when the task is killed' 137 "$status"

# One after the other and four at a time: what a busy node does.
failures=0
for round in 1 2 3; do
    runners=()
    for i in 1 2 3 4; do
        run --rm "many-$round-$i" sh -c 'exit 3' &
        runners+=($!)
    done
    for runner in "${runners[@]}"; do
        status=0
        wait "$runner" || status=$?
        [ $status = 3 ] || failures=$((failures + 1))
    done
done
is 'twelve runs, four at a time' 0 $failures

no_shims() { [ "$(processes)" = "$processes_before" ]; }
eventually no_shims || true
is 'no process is left' "$processes_before" "$(processes)"
is 'no state of the runtime is left' '' "$(ls "/run/containerd/runc/$namespace")"
is 'no cgroup is left' '' "$(cgroups_below "$namespace")"
is 'no mount is left' "$mounts_before" "$(mounts)"

finish
