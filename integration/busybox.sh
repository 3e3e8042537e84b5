#!/bin/bash
# Prints the path of a static busybox, or nothing when there is none.
here=$(dirname "$0")/..
for candidate in "$(command -v busybox)" "$here"/target/busybox/{bin,usr/bin}/busybox; do
    if [ -x "$candidate" ] && ! ldd "$candidate" >/dev/null 2>&1; then
        realpath "$candidate"
        exit
    fi
done
