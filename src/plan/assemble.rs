//! `Plan::new`: the page on which the topics meet.
//!
//! Order matters only where one topic needs another's answer: namespaces come first, since
//! mounts, ids, sysctls and capabilities are judged by them; the cgroup comes before the mounts
//! that show it; mounts come before the devices. Before all of that, whole sections that this
//! build or this platform cannot act on are refused by name.

use std::collections::BTreeMap;
use std::path::Path;

use oci_spec::runtime as oci;
use serde::Serialize;

use super::{
    KEEP_GROUPS, NamespaceKind, Namespaces, Plan, Rootfs, capabilities, cgroup, devices, hooks,
    intel_rdt, mounts, namespaces, net_devices, paths, process, scheduling, sysctl,
};
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::seccomp;
use crate::seccomp::disassemble;

/// What a plan depends on beside the config and the host: the arguments of create.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// A valid container id.
    pub id: &'a str,
    /// The bundle directory; for [`Plan::new`] it is absolute.
    pub bundle: &'a Path,
    /// `--no-pivot`.
    pub no_pivot: bool,
}

impl Plan {
    /// Read the bundle and plan it: what `create`, `run` and `plan` begin with.
    ///
    /// # Errors
    /// See [`Bundle::open`] and [`Plan::new`].
    pub fn read(context: &Context, host: &Host) -> Result<Self> {
        let bundle = Bundle::open(context.bundle)?;
        let context = Context {
            bundle: &bundle.dir,
            ..*context
        };
        let mut plan = Self::new(&bundle.spec, &context, host)?;
        plan.warnings.splice(..0, bundle.warnings);
        Ok(plan)
    }

    /// The plan as indented JSON, which is what `orlop plan` prints.
    pub fn to_json(&self) -> Result<String> {
        /// The plan, and what a person cannot read in it in a form that one can.
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Printed<'a> {
            #[serde(flatten)]
            plan: &'a Plan,
            #[serde(skip_serializing_if = "Option::is_none")]
            seccomp_listing: Option<Vec<String>>,
        }
        let filter = self.process.seccomp.as_ref();
        let printed = Printed {
            plan: self,
            seccomp_listing: filter.map(|filter| disassemble(&filter.program)),
        };
        serde_json::to_string_pretty(&printed)
            .map_err(|error| Error::new(format!("write the plan as JSON: {error}")))
    }

    /// Turn a config into what will be done. Pure but for the questions that `host` asks once.
    ///
    /// # Errors
    /// The first field that is wrong, with its JSON pointer.
    pub fn new(spec: &oci::Spec, context: &Context, host: &Host) -> Result<Self> {
        check_sections(spec)?;
        let linux = spec.linux().as_ref();
        let mut warnings = Vec::new();

        let namespaces = namespaces::plan(linux)?;
        // Not a question of the user id: --rootless only speaks of cgroups.
        let privileged = host.capabilities() & capabilities::SYS_ADMIN != 0;
        if !privileged && !namespaces.has(NamespaceKind::User) {
            return Err(Error::field(
                "/linux/namespaces",
                "rootless container requires user namespaces",
            ));
        }
        let rootfs = rootfs(spec, context, &namespaces, host)?;
        let annotations = annotations(spec)?;
        let mut cgroup = cgroup::plan(
            linux,
            context.id,
            context.bundle,
            &annotations,
            host,
            &mut warnings,
        )?;
        let around = mounts::Around {
            bundle: context.bundle,
            rootfs: &rootfs.path,
            namespaces: &namespaces,
            cgroup: &cgroup,
            layout: host.layout()?,
            privileged,
            label: rootfs.mount_label.as_deref(),
        };
        let mounts = mounts::plan(
            spec.mounts().as_deref().unwrap_or_default(),
            &around,
            &mut warnings,
        )?;
        cgroup.owner = cgroup::owner(
            spec.process().as_ref(),
            &namespaces,
            &mounts,
            host.layout()?,
        );
        let listed = linux.and_then(|linux| linux.devices().as_deref());
        let devices = if namespaces.can_mount() {
            devices::plan(
                listed.unwrap_or_default(),
                &mounts,
                &namespaces,
                host,
                &mut warnings,
            )?
        } else if listed.is_some_and(|list| !list.is_empty()) {
            return Err(mounts::no_mount_namespace("/linux/devices"));
        } else {
            Vec::new()
        };
        let restricted = |list: Option<&[String]>, at: &str| match list {
            None | Some([]) => Ok(Vec::new()),
            Some(_) if !namespaces.can_mount() => Err(mounts::no_mount_namespace(at)),
            Some(list) => paths::plan(list, at),
        };
        let masked_paths = restricted(
            linux.and_then(|linux| linux.masked_paths().as_deref()),
            "/linux/maskedPaths",
        )?;
        let readonly_paths = restricted(
            linux.and_then(|linux| linux.readonly_paths().as_deref()),
            "/linux/readonlyPaths",
        )?;
        let name =
            |name: &Option<String>, at| namespaces::host_name(name.as_ref(), at, &namespaces);
        Ok(Self {
            id: context.id.to_owned(),
            bundle: context.bundle.to_owned(),
            oci_version: version(spec.version(), &mut warnings)?,
            annotations,
            hostname: name(spec.hostname(), "/hostname")?,
            domainname: name(spec.domainname(), "/domainname")?,
            sysctl: match linux.and_then(|linux| linux.sysctl().as_ref()) {
                Some(settings) => sysctl::plan(
                    settings,
                    &namespaces,
                    spec.domainname().as_deref().filter(|name| !name.is_empty()),
                )?,
                None => Vec::new(),
            },
            net_devices: net_devices::plan(
                linux.and_then(|linux| linux.net_devices().as_ref()),
                &namespaces,
                host,
            )?,
            intel_rdt: linux
                .and_then(|linux| linux.intel_rdt().as_ref())
                .map(|rdt| intel_rdt::plan(rdt, &mut warnings))
                .transpose()?,
            process: process_of(spec, &namespaces, host, &mut warnings)?,
            hooks: hooks::plan(spec.hooks().as_ref())?,
            namespaces,
            rootfs,
            mounts,
            devices,
            masked_paths,
            readonly_paths,
            cgroup,
            warnings,
        })
    }
}

/// Refuse what would otherwise be ignored. The specification lets a config carry the section
/// of another platform only when that platform is its target, and `vm` asks for a hypervisor.
fn check_sections(spec: &oci::Spec) -> Result<()> {
    for (set, name) in [
        (spec.solaris().is_some(), "solaris"),
        (spec.windows().is_some(), "windows"),
        (spec.vm().is_some(), "vm"),
        (spec.zos().is_some(), "zos"),
    ] {
        if set {
            return Err(Error::field(
                format!("/{name}"),
                format!("{name} is not supported: this is a runtime for Linux containers"),
            ));
        }
    }
    Ok(())
}

/// Any 1.x is taken: the specification promises that a config of an older or newer minor
/// version stays readable.
fn version(version: &str, warnings: &mut Vec<String>) -> Result<String> {
    if version.is_empty() {
        warnings.push("the config has no ociVersion (config.json: /ociVersion)".to_owned());
    } else if !version.starts_with("1.") {
        return Err(Error::field(
            "/ociVersion",
            format!("version {version:?} of the specification is not supported, only 1.x is"),
        ));
    }
    Ok(version.to_owned())
}

fn annotations(spec: &oci::Spec) -> Result<BTreeMap<String, String>> {
    let mut sorted = BTreeMap::new();
    for (key, value) in spec.annotations().iter().flatten() {
        // config.md, "Annotations": keys MUST NOT be an empty string.
        if key.is_empty() {
            return Err(Error::field(
                "/annotations/",
                "an annotation must have a name",
            ));
        }
        sorted.insert(key.clone(), value.clone());
    }
    Ok(sorted)
}

fn rootfs(
    spec: &oci::Spec,
    context: &Context,
    namespaces: &Namespaces,
    host: &Host,
) -> Result<Rootfs> {
    let Some(root) = spec.root() else {
        return Err(Error::field("/root", "root must be specified"));
    };
    if root.path().as_os_str().is_empty() {
        return Err(Error::field("/root/path", "root.path must be specified"));
    }
    paths::no_nul_path(root.path(), || "/root/path".to_owned())?;
    let readonly = root.readonly().unwrap_or(false);
    if readonly && !namespaces.can_mount() {
        return Err(mounts::no_mount_namespace("/root/readonly"));
    }
    let linux = spec.linux().as_ref();
    let word = linux
        .and_then(|linux| linux.rootfs_propagation().as_deref())
        .filter(|word| !word.is_empty());
    let propagation = word
        .map(|word| propagation(word, context.no_pivot))
        .transpose()?;
    if propagation.is_some() && !namespaces.is_new(NamespaceKind::Mount) {
        return Err(mounts::no_mount_namespace("/linux/rootfsPropagation"));
    }
    let mount_label = linux
        .and_then(|linux| linux.mount_label().clone())
        .filter(|label| !label.is_empty());
    if let Some(label) = &mount_label {
        const AT: &str = "/linux/mountLabel";
        paths::no_nul(label.as_bytes(), || AT.to_owned())?;
        if label.contains('"') {
            return Err(Error::field(AT, "an SELinux label cannot hold a quote"));
        }
        process::check_selinux(AT, host)?;
    }
    Ok(Rootfs {
        path: paths::clean(&context.bundle.join(root.path())),
        readonly,
        propagation,
        mount_label,
    })
}

fn propagation(word: &str, no_pivot: bool) -> Result<u64> {
    const AT: &str = "/linux/rootfsPropagation";
    let (kind, recursive) = match word.strip_prefix('r') {
        Some(kind) => (kind, libc::MS_REC),
        None => (word, 0),
    };
    let flags = match kind {
        "private" => libc::MS_PRIVATE,
        "slave" => libc::MS_SLAVE,
        "shared" => libc::MS_SHARED,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => {
            return Err(
                Error::field(AT, format!("propagation {word:?} is not known")).with_hint(
                    "private, slave, shared, unbindable, or one of them with r in front",
                ),
            );
        }
    };
    // Without pivot_root the host's tree stays reachable below the root, so its unmounts must
    // go on being seen.
    if no_pivot && kind == "private" {
        return Err(Error::field(
            AT,
            "a private root is not safe without pivot_root",
        ));
    }
    Ok(flags | recursive)
}

fn process_of(
    spec: &oci::Spec,
    namespaces: &Namespaces,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<super::Process> {
    let Some(entry) = spec.process() else {
        return Err(Error::field(
            "/process",
            "process property must not be empty",
        ));
    };
    let mut plan = process::plan(entry, super::IN_CONFIG, namespaces, host, warnings)?;
    let annotation = spec.annotations().as_ref().and_then(|a| a.get(KEEP_GROUPS));
    plan.user.keep_groups = annotation.is_some_and(|value| value == "1");
    if plan.user.keep_groups && !plan.user.additional_gids.is_empty() {
        warnings.push(format!(
            "the supplementary groups stay as they are, by the annotation {KEEP_GROUPS} \
             (config.json: /process/user/additionalGids)"
        ));
    }
    if let Some(linux) = spec.linux() {
        plan.personality = linux
            .personality()
            .as_ref()
            .map(scheduling::personality)
            .transpose()?;
        plan.memory_policy = linux
            .memory_policy()
            .as_ref()
            .map(scheduling::memory_policy)
            .transpose()?;
        plan.seccomp = linux
            .seccomp()
            .as_ref()
            .map(|profile| seccomp::compile(profile, "/linux/seccomp"))
            .transpose()?;
    }
    Ok(plan)
}
