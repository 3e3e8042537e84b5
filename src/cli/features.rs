//! `features`: what this build can do, whatever the host (features.md and features-linux.md of
//! the runtime-spec).
//!
//! Engines believe it: containerd offers user namespaces to Kubernetes only where it reads
//! idmapped mounts here. So each line says what the code does; a list comes from the table
//! that the plan reads, where there is one, and what `plan::supported` refuses is left out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::SPEC_VERSION;
use super::argv::FlagsEnd;
use super::help::commit;
use super::verb::{Count, Verb};
use crate::error::{Error, Result};
use crate::plan::{self, KEEP_GROUPS, NamespaceKind};
use crate::seccomp::{FLAGS, arch};
use crate::sys::seccomp;

pub const VERB: Verb = Verb {
    name: "features",
    about: "show the enabled features",
    usage: "",
    count: Count::Exactly(0),
    flags_end: FlagsEnd::Never,
    flags: |command| command,
    run: |_, _| {
        super::print(&json(&Features::of_this_build())?);
        Ok(0)
    },
    failure_status: 1,
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: Vec<&'static str>,
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, &'static str>,
    potentially_unsafe_config_annotations: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<&'static str>,
    capabilities: Vec<&'static str>,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: Vec<&'static str>,
    operators: Vec<&'static str>,
    archs: Vec<String>,
    known_flags: Vec<&'static str>,
    supported_flags: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Debug, Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Debug, Serialize)]
struct MemoryPolicy {
    modes: Vec<&'static str>,
    flags: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// Those that the container room acts on; NOTIFY needs its agent.
const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

const POLICY_MODES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

const POLICY_FLAGS: [&str; 3] = [
    "MPOL_F_NUMA_BALANCING",
    "MPOL_F_RELATIVE_NODES",
    "MPOL_F_STATIC_NODES",
];

/// Annotations of a config that can change what a runtime does, for callers that let others
/// write them: the list of the peers, whether or not this build reads them yet.
const UNSAFE_ANNOTATIONS: [&str; 4] = [
    "bundle",
    "org.systemd.property.",
    "org.criu.config",
    KEEP_GROUPS,
];

/// The runc whose behaviour this build answers for, for callers that only know that name.
const LIKE_RUNC: &str = "1.5.0";

impl Features {
    fn of_this_build() -> Self {
        let mut namespaces = NamespaceKind::ALL.map(NamespaceKind::name).to_vec();
        namespaces.sort_unstable();
        let mut archs: Vec<_> = arch::all()
            .map(|abi| format!("SCMP_ARCH_{}", abi.name.to_ascii_uppercase()))
            .collect();
        archs.sort_unstable();
        Self {
            oci_version_min: "1.0.0",
            oci_version_max: SPEC_VERSION,
            hooks: HOOKS.to_vec(),
            mount_options: plan::mount_options().collect(),
            linux: Linux {
                namespaces,
                capabilities: plan::CAPABILITIES.to_vec(),
                cgroup: Cgroup {
                    v1: true,
                    v2: true,
                    systemd: true,
                    systemd_user: true,
                    rdma: true,
                },
                seccomp: Seccomp {
                    enabled: true,
                    actions: ACTIONS.to_vec(),
                    operators: OPERATORS.to_vec(),
                    archs,
                    known_flags: FLAGS.map(|(name, _)| name).to_vec(),
                    supported_flags: FLAGS
                        .iter()
                        .filter(|(_, bit)| seccomp::unknown_flag(*bit).is_none())
                        .map(|(name, _)| *name)
                        .collect(),
                },
                apparmor: Enabled { enabled: true },
                selinux: Enabled { enabled: true },
                intel_rdt: IntelRdt {
                    enabled: true,
                    schemata: true,
                    monitoring: true,
                },
                memory_policy: MemoryPolicy {
                    modes: POLICY_MODES.to_vec(),
                    flags: POLICY_FLAGS.to_vec(),
                },
                mount_extensions: MountExtensions {
                    idmap: Enabled { enabled: true },
                },
                net_devices: Enabled { enabled: true },
            },
            annotations: BTreeMap::from([
                ("org.opencontainers.runc.version", LIKE_RUNC),
                ("org.opencontainers.runc.commit", commit()),
                ("org.opencontainers.runc.checkpoint.enabled", "true"),
                ("io.orlop.version", env!("CARGO_PKG_VERSION")),
                ("io.orlop.commit", commit()),
            ]),
            potentially_unsafe_config_annotations: UNSAFE_ANNOTATIONS.to_vec(),
        }
    }
}

/// Four spaces and a newline at the end, as the peers write it.
fn json(features: &Features) -> Result<String> {
    let mut bytes = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    features
        .serialize(&mut serde_json::Serializer::with_formatter(
            &mut bytes, format,
        ))
        .map_err(|error| Error::new(format!("write the features: {error}")))?;
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(|error| Error::new(format!("write the features: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn features() -> Value {
        serde_json::from_str(&json(&Features::of_this_build()).unwrap()).unwrap()
    }

    #[test]
    fn the_text_is_indented_by_four() {
        let text = json(&Features::of_this_build()).unwrap();
        assert!(
            text.starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n"),
            "{text}"
        );
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn engines_find_what_they_ask_for() {
        let linux = &features()["linux"];
        let has = |list: &Value, name| list.as_array().unwrap().iter().any(|v| v == name);
        assert!(has(&linux["namespaces"], "user"));
        assert!(has(&features()["mountOptions"], "rro"));
        assert!(has(&features()["mountOptions"], "ridmap"));
        assert_eq!(linux["mountExtensions"]["idmap"]["enabled"], true);
        assert!(has(&linux["seccomp"]["archs"], "SCMP_ARCH_X86_64"));
        assert!(has(
            &linux["seccomp"]["supportedFlags"],
            "SECCOMP_FILTER_FLAG_LOG"
        ));
    }

    #[test]
    fn lists_are_sorted() {
        let features = features();
        for pointer in [
            "/mountOptions",
            "/linux/namespaces",
            "/linux/seccomp/actions",
            "/linux/seccomp/operators",
            "/linux/seccomp/archs",
            "/linux/memoryPolicy/modes",
            "/linux/memoryPolicy/flags",
        ] {
            let list = features.pointer(pointer).unwrap().as_array().unwrap();
            assert!(list.is_sorted_by_key(|v| v.as_str().unwrap()), "{pointer}");
        }
    }
}
