#!/bin/bash
# Runs a command in a mount namespace where /sys/fs/cgroup is cgroup v2 and nothing else, as on
# a host with systemd. On a hybrid host that is a real v2 at native speed, with the controllers
# that v1 does not hold (often none, or hugetlb alone). As root.
# usage: integration/v2-view.sh COMMAND [ARG...]
set -euo pipefail
cgroup=/sys/fs/cgroup
[ "$(stat -f -c %T $cgroup)" = cgroup2fs ] && exec "$@"
[ -d $cgroup/unified ] || { echo "v2-view.sh: this host has no cgroup v2" >&2; exit 1; }
# shellcheck disable=SC2016 # the inner shell's own variables
exec unshare --mount --propagation private bash -ec '
    held=$(mktemp -d)
    mount --bind '$cgroup'/unified "$held"
    umount --recursive '$cgroup'
    mount --move "$held" '$cgroup'
    rmdir "$held"
    exec "$@"' v2-view "$@"
