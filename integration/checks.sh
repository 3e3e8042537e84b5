# Sourced by the integration tests: checks with a count, a scratch directory, and a look for
# what a test left behind.
# shellcheck shell=bash disable=SC2034

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
runtime=$(realpath "$(command -v "${RUNTIME:-$here/../bin/orlop}")")
passed=0
failed=0

# is NAME EXPECTED ACTUAL
is() {
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
        echo "ok   $1"
    else
        failed=$((failed + 1))
        printf 'FAIL %s\n  expected: %s\n  actual:   %s\n' "$1" "$2" "$3"
    fi
}

# has NAME WORDS ACTUAL: WORDS are somewhere in ACTUAL.
has() {
    case $3 in
    *"$2"*) is "$1" "$2" "$2" ;;
    *) is "$1" "...$2..." "$3" ;;
    esac
}

# Waits up to 10 s for a command to succeed.
eventually() {
    local i
    for ((i = 0; i < 200; i++)); do
        "$@" && return
        sleep 0.05
    done
    return 1
}

# The cgroups below any directory of this name, in every hierarchy.
cgroups_below() { find /sys/fs/cgroup -path "*/$1/*" -type d 2>/dev/null | sort; }

mounts() { cut -d ' ' -f 5 /proc/self/mountinfo | sort; }

# How many processes there are; in the test's own pid namespace, none but its own.
processes() {
    local all=(/proc/[0-9]*)
    echo ${#all[@]}
}

# Starts this script again in namespaces of its own, in which every process and mount of the
# test vanishes at its end.
in_own_namespaces() {
    [ -n "${ORLOP_ISOLATED:-}" ] && return
    ORLOP_ISOLATED=1 exec unshare --mount --pid --net --ipc --fork --mount-proc --kill-child \
        bash "$(realpath "$0")"
}

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}
