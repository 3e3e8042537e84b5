//! Reads what strace(1) has seen of a runtime, and judges each call that mounts or makes
//! something: by descriptor, or by a path that somebody could have exchanged?
//!
//! Good are descriptors with a single name or none, `.` after an fchdir, and `/proc/self/fd/N`.
//! A path is good only where it is the host's: outside of the rootfs, by a process that has not
//! entered it.

use std::collections::HashMap;

/// The calls that are traced.
pub const CALLS: &str = "mount,umount2,move_mount,open_tree,mount_setattr,fspick,pivot_root,\
    chdir,fchdir,chroot,mkdir,mkdirat,mknod,mknodat,symlink,symlinkat,unlink,unlinkat,rmdir,\
    rename,renameat,renameat2,link,linkat,chmod,fchmodat,chown,lchown,fchownat,open,openat,\
    execve,execveat";

/// What is known of one process.
#[derive(Clone, Copy, Default)]
struct Process {
    /// Its working directory has been entered by an fd.
    here: bool,
    /// Absolute paths are the container's.
    inside: bool,
    /// It runs somebody else's program.
    over: bool,
}

/// The lines of a trace that act on a path that is resolved anew. `rootfs` is the root's path on
/// the host.
pub fn bad_lines<'a>(trace: &'a str, rootfs: &str) -> Vec<&'a str> {
    let mut processes: HashMap<&str, Process> = HashMap::new();
    trace
        .lines()
        .filter(|line| {
            let Some((pid, call)) = line.split_once(' ') else {
                return false;
            };
            let process = processes.entry(pid).or_default();
            let Some((name, args)) = parse(call.trim_start()) else {
                return false;
            };
            let bad = !process.over && is_bad(*process, name, &args, rootfs);
            process.follow(name, &args);
            bad
        })
        .collect()
}

/// How many lines are of this call, and of processes that are the runtime's.
pub fn count(trace: &str, name: &str) -> usize {
    let of_name = |line: &&str| {
        let call = line.split_once(' ').map(|(_, call)| call.trim_start());
        call.and_then(parse).is_some_and(|(found, _)| found == name)
    };
    trace.lines().filter(of_name).count()
}

impl Process {
    fn follow(&mut self, name: &str, args: &[&str]) {
        match name {
            "fchdir" => self.here = true,
            "chdir" => self.here = args[0] == "\"/\"",
            "pivot_root" | "chroot" => self.inside = true,
            "execve" => self.over |= !text(args[0]).is_some_and(|path| path.ends_with("/orlop")),
            _ => {}
        }
    }
}

/// Name and arguments of a call; `None` for its end, which strace may tell apart.
fn parse(call: &str) -> Option<(&str, Vec<&str>)> {
    let (name, rest) = call.split_once('(')?;
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let (mut args, mut start, mut depth, mut quoted, mut escaped) = (vec![], 0, 0, false, false);
    let mut end = rest.len();
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '[' | '(' => depth += 1,
            '}' | ']' => depth -= 1,
            ')' if depth == 0 => {
                end = at;
                break;
            }
            ')' => depth -= 1,
            ',' if depth == 0 => {
                args.push(rest[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = rest[start..end].trim().trim_end_matches("<unfinished ...>");
    args.push(last.trim());
    Some((name, args))
}

/// What is between the quotes of an argument that is a string.
fn text(arg: &str) -> Option<&str> {
    arg.strip_prefix('"')?.strip_suffix('"')
}

fn is_bad(process: Process, name: &str, args: &[&str], rootfs: &str) -> bool {
    let arg = |n: usize| args.get(n).copied().unwrap_or_default();
    let path = |n: usize| text(arg(n)).unwrap_or_default();
    // A path of the host, as the host's own processes have it.
    let host = |path: &str| path.starts_with('/') && !process.inside && !is_below(path, rootfs);
    let fd = |arg: &str| arg.parse::<u32>().is_ok();
    // A name in a directory that is held, or a path of the host.
    let at = |dir: usize| {
        let path = path(dir + 1);
        fd(arg(dir)) && !path.contains('/') && path != ".." || host(path)
    };
    let good = match name {
        "mount" => {
            let flags = arg(3);
            let words = ["MS_PRIVATE", "MS_SLAVE", "MS_SHARED", "MS_UNBINDABLE"];
            let only_propagation = arg(0) == "NULL" && words.iter().any(|w| flags.contains(w));
            let target = (path(1) == "." && process.here)
                || is_fd_path(process, path(1))
                // The root of the process itself: nothing is looked up.
                || path(1) == "/" && (only_propagation || path(0) == "." || path(0) == "tmpfs");
            let by_source = flags.contains("MS_BIND") || flags.contains("MS_MOVE");
            let source = !by_source
                || arg(0) == "NULL"
                || (path(0) == "." && process.here)
                || is_fd_path(process, path(0));
            target && source && !is_below(path(0), rootfs)
        }
        "umount2" => path(0) == "." && process.here || is_fd_path(process, path(0)),
        "move_mount" => arg(1) == "\"\"" && arg(3) == "\"\"",
        // The source of a bind may be the host's, and so is the rootfs itself.
        "open_tree" => arg(1) == "\"\"" || host(path(1)) || path(1) == rootfs && !process.inside,
        "mount_setattr" | "fspick" => arg(1) == "\"\"",
        "pivot_root" => path(0) == "." && path(1) == "." && process.here,
        "mkdirat" | "mknodat" | "unlinkat" | "fchmodat" | "fchownat" => at(0),
        "symlinkat" => at(1),
        "renameat" | "renameat2" | "linkat" => at(0) && at(2),
        "mkdir" | "mknod" | "unlink" | "rmdir" | "chmod" | "chown" | "lchown" => host(path(0)),
        "symlink" => host(path(1)),
        "rename" | "link" => host(path(0)) && host(path(1)),
        // To look is allowed once the container's root is ours.
        "open" => process.inside || !is_below(path(0), rootfs),
        "openat" => process.inside || !is_below(path(1), rootfs),
        _ => true,
    };
    !good
}

/// Strictly below.
fn is_below(path: &str, dir: &str) -> bool {
    let dir = dir.trim_end_matches('/');
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// The name of an fd: from the root, or from inside a procfs that has been entered by its fd.
/// The container's own procfs is not trusted with that.
fn is_fd_path(process: Process, path: &str) -> bool {
    let number = match path.strip_prefix("/proc/self/fd/") {
        Some(number) => (!process.inside).then_some(number),
        None => path.strip_prefix("self/fd/").filter(|_| process.here),
    };
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOTFS: &str = "/b/rootfs";

    fn bad(lines: &[&str]) -> usize {
        bad_lines(&lines.join("\n"), ROOTFS).len()
    }

    #[test]
    fn what_goes_by_descriptor_is_good() {
        assert_eq!(
            bad(&[
                "7  execve(\"/usr/bin/orlop\", [\"orlop\"], 0x7ff /* 1 var */) = 0",
                "7  mount(NULL, \"/\", NULL, MS_REC|MS_SLAVE, NULL) = 0",
                "7  open_tree(AT_FDCWD, \"/b/rootfs\", OPEN_TREE_CLONE|AT_RECURSIVE) = 3",
                "7  open_tree(AT_FDCWD, \"/srv/data\", OPEN_TREE_CLONE) = 4",
                "7  openat(AT_FDCWD, \"/b/rootfs\", O_RDONLY|O_PATH|O_DIRECTORY) = 5",
                "7  move_mount(3, \"\", 5, \"\", MOVE_MOUNT_F_EMPTY_PATH) = 0",
                "7  mkdir(\"/run/orlop/x\", 0700) = 0",
                "7  fchdir(5) = 0",
                "7  mount(\"proc\", \".\", \"proc\", 0, NULL) = 0",
                "7  mknodat(6, \"null\", S_IFCHR|0666, makedev(0x1, 0x3)) = 0",
                "7  symlinkat(\"/proc/self/fd\", 6, \"fd\") = 0",
                "7  mount_setattr(3, \"\", AT_EMPTY_PATH, {attr_set=MOUNT_ATTR_RDONLY}, 32) = 0",
                "7  mount(\"/proc/self/fd/3\", \"/proc/self/fd/5\", NULL, MS_BIND, NULL) = 0",
                "7  mount(\"self/fd/3\", \"self/fd/5\", NULL, MS_MOVE, NULL <unfinished ...>",
                "7  <... mount resumed>) = 0",
                "7  pivot_root(\".\", \".\") = 0",
                "7  umount2(\".\", MNT_DETACH) = 0",
                "7  execve(\"/bin/sh\", [\"sh\"], 0x7ff /* 1 var */) = 0",
                "7  mkdir(\"/tmp/x\", 0700) = 0",
            ]),
            0
        );
    }

    #[test]
    fn a_path_that_is_resolved_anew_is_bad() {
        for line in [
            "7  mount(\"proc\", \"/b/rootfs/proc\", \"proc\", 0, NULL) = 0",
            "7  mount(\"tmpfs\", \"dev\", \"tmpfs\", 0, NULL) = 0",
            // Nobody has said what the working directory is.
            "7  mount(\"tmpfs\", \".\", \"tmpfs\", 0, NULL) = 0",
            "7  mount(\"/srv\", \"/proc/self/fd/5\", NULL, MS_BIND, NULL) = 0",
            "7  mount(\"/proc/self/fd/3\", \"/proc/self/fd/x\", NULL, MS_BIND, NULL) = 0",
            "7  mount(NULL, \"/b\", NULL, MS_PRIVATE, NULL) = 0",
            "7  mount(NULL, \"/b/rootfs/tmp\", NULL, MS_PRIVATE, NULL) = 0",
            "7  mount(\"/b/rootfs/disk\", \"/proc/self/fd/5\", \"ext4\", 0, NULL) = 0",
            "7  umount2(\"/b/rootfs/proc\", MNT_DETACH) = 0",
            "7  move_mount(3, \"\", AT_FDCWD, \"/b/rootfs/proc\", MOVE_MOUNT_F_EMPTY_PATH) = 0",
            "7  move_mount(3, \"\", 5, \"proc\", MOVE_MOUNT_F_EMPTY_PATH) = 0",
            "7  open_tree(AT_FDCWD, \"/b/rootfs/etc\", OPEN_TREE_CLONE) = 3",
            "7  open_tree(5, \"etc\", OPEN_TREE_CLONE <unfinished ...>",
            "7  mount_setattr(AT_FDCWD, \"/b/rootfs/etc\", 0, {attr_set=0}, 32) = 0",
            "7  fspick(AT_FDCWD, \"/b/rootfs/etc\", 0) = 3",
            "7  mknodat(AT_FDCWD, \"/b/rootfs/dev/null\", S_IFCHR|0666, makedev(0x1, 0x3)) = 0",
            "7  mknodat(5, \"dev/null\", S_IFCHR|0666, makedev(0x1, 0x3)) = 0",
            "7  symlinkat(\"/proc/self/fd\", 5, \"dev/fd\") = 0",
            "7  symlink(\"/proc/self/fd\", \"/b/rootfs/dev/fd\") = 0",
            "7  mkdirat(5, \"..\", 0755) = 0",
            "7  mkdir(\"/b/rootfs/proc\", 0755) = 0",
            "7  mkdir(\"proc\", 0755) = 0",
            "7  fchownat(5, \"dev/null\", 0, 0, AT_SYMLINK_NOFOLLOW) = 0",
            "7  rename(\"/run/x\", \"/b/rootfs/x\") = 0",
            "7  openat(AT_FDCWD, \"/b/rootfs/proc\", O_RDONLY|O_PATH) = 3",
        ] {
            assert_eq!(bad(&[line]), 1, "{line}");
        }
    }

    #[test]
    fn what_was_good_on_the_host_is_bad_inside() {
        let entered = ["7  fchdir(5) = 0", "7  pivot_root(\".\", \".\") = 0"];
        for line in [
            "7  open_tree(AT_FDCWD, \"/srv\", OPEN_TREE_CLONE) = 3",
            "7  mount(\"/proc/self/fd/3\", \"/proc/self/fd/4\", NULL, MS_BIND, NULL) = 0",
            "7  mkdir(\"/dev/x\", 0755) = 0",
        ] {
            assert_eq!(bad(&[entered[0], entered[1], line]), 1, "{line}");
        }
        let left = ["7  fchdir(5) = 0", "7  chdir(\"/b/rootfs\") = 0"];
        let line = "7  mount(\"x\", \".\", \"tmpfs\", 0, NULL) = 0";
        assert_eq!(bad(&[left[0], left[1], line]), 1);
    }
}
