#!/bin/bash
# Makes an OCI image, out of busybox alone, with the tag `test`. As root.
# usage: integration/image.sh LAYOUT_DIR
set -euo pipefail
layout=${1:?usage: image.sh LAYOUT_DIR}
rootfs=$(mktemp -d)
trap 'rm -rf "$rootfs"' EXIT

"$(dirname "$0")/rootfs.sh" "$rootfs"
umoci init --layout "$layout"
umoci new --image "$layout:test"
umoci insert --image "$layout:test" "$rootfs" / 2>/dev/null
umoci config --image "$layout:test" --config.cmd /bin/sh --config.env PATH=/bin --config.env FROM_IMAGE=yes
