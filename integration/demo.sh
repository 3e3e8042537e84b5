#!/bin/bash
# The container of `make run`: a root file system of busybox, the config that `orlop spec`
# writes with two limits added, and one look from each side of the wall. As root.
set -euo pipefail
cd "$(dirname "$0")/.."
runtime=$(command -v "${RUNTIME:-bin/orlop}")
bundle=target/demo
id=demo-$$
look=integration/demo-look.sh

rm -rf --one-file-system "$bundle"
mkdir -p "$bundle"
integration/rootfs.sh "$bundle/rootfs"
"$runtime" spec --bundle "$bundle"
sed -i -e 's/"terminal": true/"terminal": false/' \
    -e 's/"resources": {/&"memory": {"limit": 67108864}, "pids": {"limit": 32},/' \
    "$bundle/config.json"

outside=$("$bundle/rootfs/bin/busybox" sh <$look)
inside=$("$runtime" run --bundle "$bundle" "$id" <$look)

printf '%-20s %-26s %s\n' '' 'on the host' "in the container ($(basename "$runtime"))"
paste -d '|' <(printf '%s' "$outside") <(printf '%s' "$inside" | cut -d '|' -f 2) |
    while IFS='|' read -r name host container; do
        printf '%-20s %-26s %s\n' "$name" "$host" "$container"
    done

status=0
echo 'exit 42' | "$runtime" run --bundle "$bundle" "$id" || status=$?
echo
echo "A program that ends with 42 makes the runtime end with $status."
echo "Your turn:  echo 'ps; ls /' | sudo bin/orlop run --bundle $bundle mine"
[ "$status" = 42 ]
