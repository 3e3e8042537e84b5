#!/bin/bash
# Makes a small root file system out of a static busybox. As root.
# usage: integration/rootfs.sh DIR
set -euo pipefail
dir=${1:?usage: rootfs.sh DIR}
busybox=$("$(dirname "$0")/busybox.sh")
[ -n "$busybox" ] || { echo "rootfs.sh: no static busybox here (package busybox-static)" >&2; exit 1; }

mkdir -p "$dir"/{bin,dev,etc,proc,root,sys,tmp,var}
chmod 1777 "$dir/tmp"
cp "$busybox" "$dir/bin/busybox"
chroot "$dir" /bin/busybox --install -s /bin
printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n' >"$dir/etc/passwd"
printf 'root:x:0:\nuser:x:1000:\n' >"$dir/etc/group"
