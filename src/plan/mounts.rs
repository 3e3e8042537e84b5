//! `mounts` of config.json: from the words of each entry to a typed [`Mount`].
//!
//! An entry changes what is mounted already when it says `remount`, is a bind when it says
//! `bind` or `rbind`, a cgroup mount when its type is `cgroup` (`cgroups`), else a new
//! filesystem. Targets become absolute and clean and are checked (`targets`), relative bind
//! sources count from the bundle. Two things can only be seen when the mount is made and are left to
//! `init`: whether the source of a bind on /proc is a procfs, and where symbolic links in the
//! rootfs take a target; both ask [`proc_rule`] again.

mod cgroups;
mod targets;

use std::path::{Path, PathBuf};

use oci_spec::runtime as oci;

pub use self::targets::{ProcRule, proc_rule};
use super::mount_options::Options;
use super::{Cgroup, Links, Mount, MountKind, NamespaceKind, Namespaces};
use super::{idmap, mount_idmap, paths};
use crate::cgroup::Layout;
use crate::error::{Error, Result};

/// What the entries are planned against.
pub struct Around<'a> {
    pub bundle: &'a Path,
    /// Absolute and lexically clean, on the host.
    pub rootfs: &'a Path,
    pub namespaces: &'a Namespaces,
    pub cgroup: &'a Cgroup,
    /// Whether the host has cgroup v2 only.
    pub layout: &'a Layout,
    /// Whether the caller has CAP_SYS_ADMIN.
    pub privileged: bool,
    /// `linux.mountLabel`, for the filesystems that are new.
    pub label: Option<&'a str>,
}

/// Plan the whole list, in its order.
pub fn plan(
    list: &[oci::Mount],
    around: &Around,
    warnings: &mut Vec<String>,
) -> Result<Vec<Mount>> {
    if !list.is_empty() && !around.namespaces.can_mount() {
        return Err(no_mount_namespace("/mounts"));
    }
    let mounts: Vec<Mount> = list
        .iter()
        .enumerate()
        .map(|(index, entry)| one(entry, format!("/mounts/{index}"), around, warnings))
        .collect::<Result<_>>()?;
    // A rootfs that is built aside is cloned at the end.
    let unbindable = |mount: &&Mount| {
        let last = mount.propagation.last();
        last.is_some_and(|flags| flags & libc::MS_UNBINDABLE != 0)
    };
    match mounts.iter().find(unbindable) {
        Some(mount) if !around.namespaces.is_new(NamespaceKind::Mount) => {
            Err(no_mount_namespace(&format!("{}/options", mount.field)))
        }
        _ => Ok(mounts),
    }
}

/// The error of a field that would change the mounts of others.
pub fn no_mount_namespace(at: &str) -> Error {
    Error::field(at, "not possible without a new mount namespace")
        .with_hint("it would change the mounts of those who share the namespace")
}

fn one(
    entry: &oci::Mount,
    field: String,
    around: &Around,
    warnings: &mut Vec<String>,
) -> Result<Mount> {
    let destination = entry.destination();
    paths::no_nul_path(destination, || format!("{field}/destination"))?;
    if destination.as_os_str().is_empty() {
        return Err(Error::field(
            format!("{field}/destination"),
            "must not be empty",
        ));
    }
    if !destination.is_absolute() {
        warnings.push(format!(
            "mount destination {} is relative, which is deprecated: it is taken as relative to / \
             (config.json: {field}/destination)",
            destination.display()
        ));
    }
    let target = paths::clean(destination);
    let words = entry.options().as_deref().unwrap_or_default();
    for (index, word) in words.iter().enumerate() {
        paths::no_nul(word.as_bytes(), || format!("{field}/options/{index}"))?;
    }
    let mut options = Options::read(words);
    let fstype = entry.typ().as_deref().unwrap_or_default();
    paths::no_nul(fstype.as_bytes(), || format!("{field}/type"))?;
    if fstype == "bind" && options.bind.is_none() {
        options.bind = Some(false);
    }
    let what = kind(entry, fstype, &options, &field, around)?;
    warn_of_what_binds_cannot_have(&what, &options, &field, warnings);
    warn_of_what_is_the_hosts(&what, &options, &field, around.namespaces, warnings);
    check_links(&what, options.links, &field)?;
    let idmap = mount_idmap::plan(entry, options.idmap.take(), &what, &field, around)?;
    targets::check(&target, &what, &field)?;
    if options.copy_up
        && !matches!(&what, MountKind::Filesystem { fstype, .. } if fstype == "tmpfs")
    {
        return Err(Error::field(
            format!("{field}/options"),
            "tmpcopyup is for a tmpfs only",
        ));
    }
    Ok(Mount {
        target,
        source: source_text(entry).to_owned(),
        what,
        flags: options.flags,
        cleared: options.cleared,
        recursive_set: options.recursive_set,
        recursive_clear: options.recursive_clear,
        propagation: options.propagation,
        copy_up: options.copy_up,
        links: options.links,
        idmap,
        field,
    })
}

fn source_text(entry: &oci::Mount) -> &str {
    // JSON text is UTF-8, so nothing is lost.
    entry
        .source()
        .as_deref()
        .and_then(Path::to_str)
        .unwrap_or_default()
}

fn kind(
    entry: &oci::Mount,
    fstype: &str,
    options: &Options,
    field: &str,
    around: &Around,
) -> Result<MountKind> {
    let source = Path::new(source_text(entry));
    paths::no_nul_path(source, || format!("{field}/source"))?;
    let mut data = options.data.iter().filter(|_| options.bind.is_some());
    if let Some((index, _)) = data.find(|(_, word)| !is_of_tmpfs(word)) {
        return Err(Error::field(
            format!("{field}/options/{index}"),
            "bind mounts cannot have any filesystem-specific options applied",
        ));
    }
    // As for mount(2), source and type are of no account then.
    if options.remount {
        return Ok(MountKind::Remount {
            bind: options.bind.is_some(),
            data: options.data(),
        });
    }
    if let Some(recursive) = options.bind {
        if source.as_os_str().is_empty() {
            return Err(Error::field(
                format!("{field}/source"),
                "a bind mount needs a source",
            ));
        }
        let source = around.bundle.join(source);
        return Ok(MountKind::Bind {
            inside: inside(&source, around.rootfs),
            source,
            recursive,
        });
    }
    match fstype {
        "" => Err(Error::field(
            format!("{field}/type"),
            "a mount that is not a bind needs a type",
        )),
        "cgroup" if around.layout.is_v2_only() => Ok(cgroups::v2(around, options)),
        "cgroup" => cgroups::v1(around, options, field),
        _ => {
            check_owner(fstype, options, field, around.namespaces)?;
            Ok(MountKind::Filesystem {
                fstype: fstype.to_owned(),
                data: labelled(options.data(), around.label.filter(|_| takes_label(fstype))),
            })
        }
    }
}

/// Where in the rootfs a source lies, if it does by its text. The host's own root as a rootfs
/// does not count: there a source is just a path of the host.
fn inside(source: &Path, rootfs: &Path) -> Option<PathBuf> {
    let source = paths::clean(source);
    let rest = source.strip_prefix(rootfs).ok()?;
    (rootfs != Path::new("/")).then(|| Path::new("/").join(rest))
}

/// procfs and sysfs are labelled by the policy alone; an mqueue is too, and has its root
/// labelled once it is there.
fn takes_label(fstype: &str) -> bool {
    !matches!(fstype, "proc" | "sysfs" | "mqueue")
}

/// An SELinux context among the options of a filesystem: quoted, as it may hold commas.
pub fn labelled(data: String, label: Option<&str>) -> String {
    match label {
        None => data,
        Some(label) if data.is_empty() => format!("context=\"{label}\""),
        Some(label) => format!("{data},context=\"{label}\""),
    }
}

/// mount(2) passes over them in silence; a person should know.
/// The kernel takes the options of a cgroup2 from the host's own cgroup namespace alone, since
/// there is one hierarchy for all; of others it checks the spelling.
fn warn_of_what_is_the_hosts(
    what: &MountKind,
    options: &Options,
    field: &str,
    namespaces: &Namespaces,
    warnings: &mut Vec<String>,
) {
    let apart = namespaces.has(NamespaceKind::Cgroup) || namespaces.has(NamespaceKind::User);
    if !apart || !matches!(what, MountKind::Cgroup2 { .. }) {
        return;
    }
    for (index, word) in &options.data {
        warnings.push(format!(
            "mount option {word:?} has no effect from a namespace of the container's own: it is \
             one of the host's cgroups (config.json: {field}/options/{index})"
        ));
    }
}

fn warn_of_what_binds_cannot_have(
    what: &MountKind,
    options: &Options,
    field: &str,
    warnings: &mut Vec<String>,
) {
    if !matches!(
        what,
        MountKind::Bind { .. } | MountKind::Remount { bind: true, .. }
    ) {
        return;
    }
    for (index, word) in &options.of_filesystem {
        warnings.push(format!(
            "mount option {word:?} has no effect on a bind: it is one of the whole filesystem \
             (config.json: {field}/options/{index})"
        ));
    }
    for (index, word) in &options.data {
        warnings.push(format!(
            "mount option {word:?} has no effect on a bind: it is one of tmpfs \
             (config.json: {field}/options/{index})"
        ));
    }
}

/// Templates that give the options of their tmpfs to each mount are old and many, the
/// specification's own validation among them. A bind loses nothing with these; whatever else is
/// not for a bind, somebody may have meant.
fn is_of_tmpfs(word: &str) -> bool {
    let key = word.split_once('=').map(|(key, _)| key);
    matches!(key, Some("mode" | "size" | "nr_blocks" | "nr_inodes"))
}

fn check_links(what: &MountKind, links: Links, field: &str) -> Result<()> {
    let problem = if links == Links::FOLLOWED {
        return Ok(());
    } else if !matches!(what, MountKind::Bind { .. }) {
        "copy-symlink, src-nofollow and dest-nofollow are for binds only"
    } else if links.copy && (links.mount_itself || links.mount_over) {
        "copy-symlink goes with neither src-nofollow nor dest-nofollow"
    } else {
        return Ok(());
    };
    Err(Error::field(format!("{field}/options"), problem))
}

/// `uid=` and `gid=` of a filesystem that is mounted inside a new user namespace must be
/// mapped there; the kernel's answer would be a bare EINVAL.
fn check_owner(
    fstype: &str,
    options: &Options,
    field: &str,
    namespaces: &Namespaces,
) -> Result<()> {
    if !namespaces.is_new(NamespaceKind::User) || !matches!(fstype, "tmpfs" | "devpts") {
        return Ok(());
    }
    for (index, word) in &options.data {
        let (maps, id) = match word.split_once('=') {
            Some(("uid", id)) => (&namespaces.uid_mappings, id),
            Some(("gid", id)) => (&namespaces.gid_mappings, id),
            _ => continue,
        };
        if id.parse().is_ok_and(|id| !idmap::maps_id(maps, id)) {
            return Err(Error::field(
                format!("{field}/options/{index}"),
                format!("{word}: the id is not mapped in the container's user namespace"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
