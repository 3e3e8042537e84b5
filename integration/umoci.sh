#!/bin/bash
# An image made on the spot, unpacked to a bundle by umoci, and driven through the whole life
# cycle as an engine would. As root; RUNTIME is the runtime under test.
set -euo pipefail
# shellcheck source=integration/checks.sh
source "$(dirname "$0")/checks.sh"
in_own_namespaces

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bundle=$work/bundle
id=orlop-umoci-$$
orlop() { "$runtime" --root "$work/state" "$@"; }

"$here/image.sh" "$work/image"
umoci unpack --image "$work/image:test" "$bundle" 2>/dev/null

# Puts a program into the bundle's config, in place of the image's.
program() {
    sed 's/"terminal": *true/"terminal": false/' "$work/config.json" |
        sed -z 's|"args": *\[[^]]*\]|"args": ["/bin/sh", "-c", "'"$1"'"]|' >"$bundle/config.json"
}
cp "$bundle/config.json" "$work/config.json"
mounts_before=$(mounts)
processes_before=$(processes)

# shellcheck disable=SC2016 # the container's variables
program 'echo image: $FROM_IMAGE, pid $$; exit 42'
status=0
output=$(orlop run --bundle "$bundle" "$id") || status=$?
is 'run prints what the program prints' 'image: yes, pid 1' "$output"
is 'run ends with the program'"'"'s status' 42 "$status"

program 'sleep 1000'
status=0
orlop run --bundle "$bundle" "$id" &
runner=$!
running() { orlop state "$id" 2>/dev/null | grep -q '"status": "running"'; }
is 'a container in the foreground is running' 0 "$(eventually running; echo $?)"
orlop kill "$id" KILL
wait $runner || status=$?
is 'run ends with 137 when the program is killed' 137 "$status"

state() { orlop state "$id" | sed -n 's/^ *"status": "\(.*\)",$/\1/p'; }
program 'trap exit TERM; while true; do sleep 0.05; done'
orlop create --bundle "$bundle" --pid-file "$work/pid" "$id" </dev/null >"$work/out" 2>&1
is 'created' created "$(state)"
is 'the pid file names a process' yes "$([ -d "/proc/$(cat "$work/pid")" ] && echo yes)"
orlop start "$id"
is 'running' running "$(state)"
is 'list knows it' "$id" "$(orlop list --quiet)"
is 'exec runs beside it' "$(readlink "/proc/$(cat "$work/pid")/ns/pid")" \
    "$(orlop exec "$id" /bin/readlink /proc/self/ns/pid)"
status=0
orlop exec "$id" /bin/sh -c 'exit 7' || status=$?
is 'exec passes its status on' 7 "$status"
orlop pause "$id"
is 'paused' paused "$(state)"
orlop resume "$id"
is 'resumed' running "$(state)"
orlop kill "$id" TERM
stopped() { [ "$(state)" = stopped ]; }
eventually stopped || true
is 'stopped' stopped "$(state)"
orlop delete "$id"
status=0
output=$(orlop state "$id" 2>&1) || status=$?
is 'deleted' 1 "$status"
has 'deleted, in words' 'container does not exist' "$output"

program 'true'
sed -i 's|"/bin/sh", "-c", "true"|"no-such-program"|' "$bundle/config.json"
status=0
output=$(orlop run --bundle "$bundle" "$id" 2>&1) || status=$?
is 'a missing program fails' 1 "$status"
has 'a missing program, in words' "executable file not found in \$PATH" "$output"

is 'no state is left' '' "$(ls "$work/state")"
is 'no cgroup is left' '' "$(find /sys/fs/cgroup -name "$id" -type d)"
is 'no mount is left' "$mounts_before" "$(mounts)"
is 'no process is left' "$processes_before" "$(processes)"
finish
