#!/bin/bash
# Makes the disk image and the kernel of the test machine from Debian packages, unless the
# cache has them, and prints the directory in which they are. Making them needs root, or sudo.
#
# The machine is Debian sid: systemd, kernel and other runtimes are the newest there are. The
# cache goes by this recipe: a change of a file in this directory that goes into the image makes
# another one. Each is kept until it has not been used for 30 days.
#
# usage: [ORLOP_VM_CACHE=DIR] integration/vm/image.sh
set -euo pipefail
cd "$(dirname "$0")"
PATH=$PATH:/usr/sbin:/sbin
suite=sid
mirror=http://deb.debian.org/debian
cache=${ORLOP_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orlop/vm}
key=$(cat image.sh packages guest/* | sha256sum | cut -c 1-16)
image=$cache/$key

if [ -e "$image/disk" ]; then
    touch "$image" 2>/dev/null || true
    echo "$image"
    exit
fi
if [ "$(uname -m)" != x86_64 ]; then
    echo "orlop: there is a test machine for x86_64 only" >&2
    exit 1
fi
[ "$(id -u)" = 0 ] || exec sudo env ORLOP_VM_CACHE="$cache" ./image.sh

# Everything is mounted in a namespace that ends with this script, however it ends.
[ -n "${ORLOP_VM_OWN:-}" ] || ORLOP_VM_OWN=1 exec unshare --mount --propagation private ./image.sh
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
[ ! -e "$image/disk" ] || exec ./image.sh
# What one that was killed has left.
rm -rf --one-file-system "$cache"/making.*
work=$(mktemp -d "$cache/making.XXXXXX")
trap 'umount "$work"/root/{proc,dev} 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
root=$work/root
log=$cache/$key.log
echo "orlop: making the test machine's image in $cache, once; this takes some minutes (log: $log)" >&2

inside() { chroot "$root" env DEBIAN_FRONTEND=noninteractive "$@"; }

install_packages() {
    local packages
    mapfile -t packages < <(grep -v '^#' packages | grep .)
    debootstrap --variant=minbase "$suite" "$root" "$mirror"
    # Whatever apt was told here about proxies and the age of lists holds there, too.
    apt-config dump Acquire >"$root/etc/apt/apt.conf.d/90host"
    printf 'APT::Install-Recommends "0";\nAcquire::Languages "none";\nAPT::Sandbox::User "root";\n' \
        >"$root/etc/apt/apt.conf.d/99lean"
    printf 'force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n' \
        >"$root/etc/dpkg/dpkg.cfg.d/lean"
    # No package may start a service in the chroot.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    mount --bind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    inside apt-get -q update
    inside apt-get -q -y install "${packages[@]}"
    rm "$root/usr/sbin/policy-rc.d"
}

# The kernel is only unpacked: installing it would make an initrd, which it boots without.
unpack_kernel() {
    local release names
    release=$(inside apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: linux-image-//p')
    mapfile -t names < <(inside apt-cache --names-only search "^linux-(base|binary|image|modules)-${release//+/\\+}\$" | cut -d ' ' -f 1)
    # shellcheck disable=SC2016 # the inner shell's own arguments
    inside sh -ec 'cd /tmp; apt-get -q download "$@"; for deb in *.deb; do dpkg -x "$deb" /; rm "$deb"; done' - "${names[@]}"
    inside depmod "$release"
    bare_kernel "$root/usr/lib/modules/$release/vmlinuz" >"$work/kernel"
    rm "$root/usr/lib/modules/$release/vmlinuz"
}

# The kernel without what unpacks it at boot, which an emulated machine is slow at: it lies at
# an offset that the file's head tells (Documentation/arch/x86/boot.rst), with its own size after
# it, and is compressed by zstd.
bare_kernel() {
    local setup offset length
    setup=$(od -An -tu1 -j $((0x1f1)) -N 1 "$1")
    offset=$(od -An -tu4 -j $((0x248)) -N 4 "$1")
    length=$(od -An -tu4 -j $((0x24c)) -N 4 "$1")
    head -c $(((setup + 1) * 512 + offset + length - 4)) "$1" | tail -c $((length - 4)) | zstd -dcq
}

# A machine that does one job: no logins, no timers, nothing that waits for hardware or for a
# second boot. The user has a systemd of its own from the start.
configure() {
    local unit
    inside useradd --create-home --uid 1000 --shell /bin/bash user
    mkdir -p "$root/var/lib/systemd/linger"
    : >"$root/var/lib/systemd/linger/user"
    echo vm >"$root/etc/hostname"
    echo '127.0.0.1 localhost vm' >"$root/etc/hosts"
    : >"$root/etc/fstab"
    echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
    install -m 755 guest/job "$root/usr/local/lib/job"
    install -m 644 guest/job.service guest/job.target "$root/etc/systemd/system/"
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
        systemd-tmpfiles-clean.timer systemd-binfmt.service systemd-timesyncd.service \
        systemd-random-seed.service systemd-update-utmp.service systemd-journal-flush.service \
        systemd-hwdb-update.service systemd-firstboot.service systemd-machine-id-commit.service \
        systemd-journal-catalog-update.service systemd-update-done.service ldconfig.service \
        systemd-pstore.service modprobe@drm.service modprobe@configfs.service \
        modprobe@efi_pstore.service proc-sys-fs-binfmt_misc.automount; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
}

pack() {
    inside apt-get clean
    rm -rf "$root"/var/lib/apt/lists/*
    umount "$root"/{proc,dev}
    truncate -s 3G "$work/disk"
    mkfs.ext4 -q -F -O ^has_journal -E lazy_itable_init=1,nodiscard -m 0 -d "$root" "$work/disk"
    rm -rf --one-file-system "$root"
}

# Not `... ||`, in which the shell would go on after a step that fails.
set +e
(
    set -e
    install_packages
    unpack_kernel
    configure
    pack
) >"$log" 2>&1
made=$?
set -e
if [ $made != 0 ]; then
    tail -n 20 "$log" >&2
    echo "orlop: the test machine's image cannot be made here" >&2
    exit 1
fi
find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {} +
chmod 755 "$work"
mv "$work" "$image"
echo "$image"
