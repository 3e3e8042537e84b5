#!/bin/bash
# Boots the test machine, which unpacks DIR, runs its job.sh as root with systemd as the first
# process, and ends. What the job prints comes out here, and its exit status is this script's;
# 124 after LIMIT seconds, 125 when the machine dies.
#
# The machine is emulated, as most machines that build and test have no KVM to lend; ACCEL=kvm is
# for those that have.
#
# usage: integration/vm/boot.sh IMAGE DIR LIMIT
set -euo pipefail
image=${1:?} dir=${2:?} limit=${3:?}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# A tar file is as good as a disk: the job needs no file system of the host.
tar -C "$dir" -cf "$scratch/job.tar" .

# shellcheck disable=SC2054 # the commas are QEMU's
machine=(
    -M q35 -accel "${ACCEL:-tcg,thread=multi}" -cpu max -smp 2 -m 4G
    -nodefaults -no-user-config -nographic -nic none -no-reboot
    -kernel "$image/kernel"
    # NVMe, ext4 and virtio-console are built into Debian's kernel, which boots without an initrd.
    # The job's disk is of another kind, as two of one kind get their names in any order.
    -drive "file=$image/disk,format=raw,if=none,id=root,snapshot=on,cache=unsafe" -device nvme,drive=root,serial=root
    -drive "file=$scratch/job.tar,format=raw,if=none,id=job,readonly=on" -device virtio-blk-pci,drive=job
    -device virtio-serial-pci
    -chardev stdio,id=console,signal=off -device virtconsole,chardev=console
    -chardev "file,id=status,path=$scratch/status" -device virtserialport,chardev=status,name=status
)
# damon_stat is a sampler that an emulated processor has no use for, and has crashed early with.
command_line=(
    console=hvc0 root=/dev/nvme0n1 rootfstype=ext4 rw loglevel=1 panic=-1 TERM=dumb
    systemd.unit=job.target systemd.show_status=0 systemd.log_level=warning
    mitigations=off audit=0 damon_stat.enabled=0 tsc=reliable no_timer_check
)

boot() {
    : >"$scratch/status"
    # Signals of the terminal reach timeout, and with it the machine.
    timeout --foreground "$limit" nice qemu-system-x86_64 "${machine[@]}" -append "${command_line[*]}" </dev/null ||
        [ $? != 124 ] || return 124
    # The last line is the job's status; only "started": the machine died under the job.
    case $(tail -n 1 "$scratch/status") in
    '') return 126 ;;
    started) return 125 ;;
    *) return "$(tail -n 1 "$scratch/status")" ;;
    esac
}

code=0
boot || code=$?
if [ $code = 126 ]; then
    # About one boot in thirty.
    echo "orlop: the test machine died before its job began; once more" >&2
    code=0
    boot || code=$?
fi
case $code in
124) echo "orlop: the test machine was switched off after $limit s" >&2 ;;
125 | 126) echo "orlop: the test machine died" >&2 ;;
esac
exit $code
