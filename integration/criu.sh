#!/bin/bash
# Sets up the criu of Debian trixie in DIR, beside the system and without touching it, for tests
# on a host whose own criu is too old for its kernel; prints the path of the program.
#
# It runs with trixie's own loader and libraries, so any Linux of this architecture will do that
# has apt. `ORLOP_TEST_CRIU=$(integration/criu.sh DIR) make test` has the tests use it.
#
# usage: integration/criu.sh DIR
set -euo pipefail
mkdir -p "${1:?usage: integration/criu.sh DIR}"
dir=$(realpath "$1")
program=$dir/criu
if [ ! -x "$program" ]; then
    # An apt of its own, which believes that nothing is installed: it finds the dependencies.
    mkdir -p "$dir"/apt/{lists,archives}/partial "$dir/root"
    : >"$dir/apt/status"
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$keys] http://deb.debian.org/debian trixie main" >"$dir/apt/sources.list"
    apt=(apt-get -q -o "Dir::Etc::SourceList=$dir/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$dir/apt/lists" -o "Dir::State::status=$dir/apt/status"
        -o "Dir::Cache=$dir/apt" -o APT::Sandbox::User=root -o APT::Install-Recommends=0 -o Acquire::Languages=none)
    "${apt[@]}" update >&2
    "${apt[@]}" -y --download-only install criu >&2
    for package in "$dir"/apt/archives/*.deb; do
        dpkg -x "$package" "$dir/root"
    done
    rm -rf "$dir/apt"
    libraries=$(cd "$dir/root/usr/lib" && echo ./*-linux-gnu)
    cat >"$program.new" <<END
#!/bin/sh
lib=$dir/root/usr/lib/${libraries#./}
exec "\$lib"/ld-linux*.so.* --library-path "\$lib" $dir/root/usr/sbin/criu "\$@"
END
    chmod 755 "$program.new"
    mv "$program.new" "$program"
fi
echo "$program"
