#!/bin/sh
# The job of the test machine: the tests as root, and once more as a user.
#
# The user's are run as rootless engines run containers: by the root of a user namespace, in a
# cgroup that the user's own systemd has delegated, seen as the root of all cgroups.
# shellcheck disable=SC1091,SC2086,SC2154 # settings comes with the job; its lists are lists
. ./settings
export ORLOP_TEST_RUNTIME="$RUNTIME" ORLOP_TEST_PROBE=/job/probe ORLOP_TEST_SLOWNESS=6 ORLOP_TEST_SECONDS=540

if [ "${1:-}" = user ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # A cgroup with processes hands no controller down.
    mkdir /sys/fs/cgroup/tests
    echo 0 >/sys/fs/cgroup/tests/cgroup.procs
    exec ./tests $USER_TESTS
fi

mkdir -p "$(dirname "$REPO")"
ln -s "/job$REPO" "$REPO"
# Without it, no disk has a weight of its own.
for disk in /sys/block/*; do
    echo "$(cat "$disk/dev") enable=1" >/sys/fs/cgroup/io.cost.qos
done
code=0

if [ "$TESTS" != none ]; then
    echo "== as root, cgroupfs driver; controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"
    ./tests $TESTS || code=1
    # Once there is a second driver, the same tests with it have their place here.
fi

[ "$USER_TESTS" != none ] || exit $code
systemctl start user@1000.service
own=/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service
echo "== as a user, cgroupfs driver; controllers: $(cat $own/cgroup.controllers)"
setpriv --reuid 1000 --regid 1000 --init-groups \
    env HOME=/home/user XDG_RUNTIME_DIR=/run/user/1000 \
    systemd-run --user --quiet --pipe --wait --collect --working-directory=/job --property=Delegate=yes \
    unshare --user --map-root-user --map-auto --mount --cgroup sh ./job.sh user || code=1
exit $code
