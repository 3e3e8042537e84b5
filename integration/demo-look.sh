# shellcheck shell=sh disable=SC2012,SC3045
# Read by a shell on the host and by one in the container: one `name|value` a line.

# The first of the files that there is; a number that stands for "no limit" as a word.
limit() {
    for file in "$@"; do
        [ -r "$file" ] || continue
        value=$(cat "$file")
        [ "$value" = max ] || [ ${#value} -gt 18 ] && value=none
        echo "$value"
        return
    done
    echo none
}
status() { sed -n "s/^$1:[[:space:]]*//p" /proc/self/status; }

echo "own pid|$$"
echo "processes seen|$(ls -d /proc/[0-9]* | wc -l)"
echo "hostname|$(hostname)"
echo "network interfaces|$(ls /sys/class/net | head -n 3 | tr '\n' ' ')"
echo "root file system|$(awk '$2 == "/" { last = $3 ", " substr($4, 1, 2) } END { print last }' /proc/mounts)"
echo "mounts|$(wc -l < /proc/mounts)"
echo "devices in /dev|$(ls /dev | wc -l)"
echo "capabilities|$(status CapEff)"
echo "no new privileges|$(status NoNewPrivs)"
echo "open files|$(ulimit -n)"
echo "memory limit|$(limit /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max)"
echo "processes limit|$(limit /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max)"
