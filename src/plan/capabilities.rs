//! The five capability sets of a process, as masks.
//!
//! What cannot be granted is left out with a warning, never an error (config.md, "Linux
//! Process", `capabilities`): what this kernel does not know, what the caller does not hold,
//! and what the kernel's own rules between the sets forbid (capabilities(7)): effective within
//! permitted, inheritable within bounding, ambient within both permitted and inheritable.

use oci_spec::runtime as oci;

use super::{Capabilities, NamespaceKind, Namespaces};
use crate::host::Host;

/// Bit of CAP_SYS_PTRACE.
pub const SYS_PTRACE: u64 = 1 << 19;

/// Bit of CAP_SYS_ADMIN.
pub const SYS_ADMIN: u64 = 1 << 21;

/// Names in the order of the kernel's numbers (linux/capability.h).
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Number of a capability. The match has no wildcard, so that a new one cannot be forgotten.
fn number(capability: oci::Capability) -> u8 {
    use oci::Capability as C;
    match capability {
        C::Chown => 0,
        C::DacOverride => 1,
        C::DacReadSearch => 2,
        C::Fowner => 3,
        C::Fsetid => 4,
        C::Kill => 5,
        C::Setgid => 6,
        C::Setuid => 7,
        C::Setpcap => 8,
        C::LinuxImmutable => 9,
        C::NetBindService => 10,
        C::NetBroadcast => 11,
        C::NetAdmin => 12,
        C::NetRaw => 13,
        C::IpcLock => 14,
        C::IpcOwner => 15,
        C::SysModule => 16,
        C::SysRawio => 17,
        C::SysChroot => 18,
        C::SysPtrace => 19,
        C::SysPacct => 20,
        C::SysAdmin => 21,
        C::SysBoot => 22,
        C::SysNice => 23,
        C::SysResource => 24,
        C::SysTime => 25,
        C::SysTtyConfig => 26,
        C::Mknod => 27,
        C::Lease => 28,
        C::AuditWrite => 29,
        C::AuditControl => 30,
        C::Setfcap => 31,
        C::MacOverride => 32,
        C::MacAdmin => 33,
        C::Syslog => 34,
        C::WakeAlarm => 35,
        C::BlockSuspend => 36,
        C::AuditRead => 37,
        C::Perfmon => 38,
        C::Bpf => 39,
        C::CheckpointRestore => 40,
    }
}

/// The number of a capability by its name, in any case, with or without `CAP_`.
pub fn number_of(name: &str) -> Option<u8> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let found = NAMES
        .iter()
        .position(|known| known.strip_prefix("CAP_") == Some(bare))?;
    u8::try_from(found).ok()
}

/// The names in `mask`, for messages.
pub fn names(mask: u64) -> String {
    let mut names = Vec::new();
    for bit in 0..64u8 {
        if mask & 1 << bit != 0 {
            names.push(
                NAMES
                    .get(usize::from(bit))
                    .map_or_else(|| format!("CAP_{bit}"), |name| (*name).to_owned()),
            );
        }
    }
    names.join(" ")
}

/// Plan the sets of one process. No `capabilities` at all: five empty sets, as in runc.
pub fn plan(
    sets: Option<&oci::LinuxCapabilities>,
    namespaces: &Namespaces,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Capabilities {
    let Some(sets) = sets else {
        return Capabilities::default();
    };
    let mask = |set: &Option<oci::Capabilities>| {
        set.iter()
            .flatten()
            .fold(0u64, |mask, capability| mask | 1 << number(*capability))
    };
    let mut plan = Capabilities {
        bounding: mask(sets.bounding()),
        effective: mask(sets.effective()),
        permitted: mask(sets.permitted()),
        inheritable: mask(sets.inheritable()),
        ambient: mask(sets.ambient()),
    };
    // Shifting by 64 is an overflow, so the highest bit is made from the top.
    let mut granted = u64::MAX >> (63 - host.last_capability().min(63));
    // The first process of a user namespace, and whoever joins one, has all capabilities in it.
    if !namespaces.has(NamespaceKind::User) {
        granted &= host.capabilities();
    }
    let asked = plan.bounding | plan.effective | plan.permitted | plan.inheritable | plan.ambient;
    if asked & !granted != 0 {
        warnings.push(format!(
            "left out capabilities that this kernel or the caller does not have: {}",
            names(asked & !granted)
        ));
    }
    for set in [
        &mut plan.bounding,
        &mut plan.effective,
        &mut plan.permitted,
        &mut plan.inheritable,
        &mut plan.ambient,
    ] {
        *set &= granted;
    }
    cut(&mut plan.effective, plan.permitted, warnings, |names| {
        format!("left out effective capabilities that are not permitted: {names}")
    });
    cut(&mut plan.inheritable, plan.bounding, warnings, |names| {
        format!("left out inheritable capabilities that are not in the bounding set: {names}")
    });
    let raisable = plan.permitted & plan.inheritable;
    // One warning each: callers look for the words with the name behind them.
    for bit in (0..64).filter(|bit| plan.ambient & !raisable & 1 << bit != 0) {
        warnings.push(format!(
            "can't raise ambient capability {}: it must be permitted and inheritable",
            names(1 << bit)
        ));
    }
    plan.ambient &= raisable;
    plan
}

fn cut(set: &mut u64, to: u64, warnings: &mut Vec<String>, say: impl Fn(String) -> String) {
    let over = *set & !to;
    if over != 0 {
        warnings.push(say(names(over)));
    }
    *set &= to;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Layout;
    use serde_json::{Value, json};

    fn of(
        sets: Value,
        last: u8,
        held: u64,
        namespaces: &Namespaces,
    ) -> (Capabilities, Vec<String>) {
        let layout = Layout {
            v1: Vec::new(),
            v2: None,
        };
        let host = Host::fixed(layout, last, held, false);
        let mut warnings = Vec::new();
        let sets = serde_json::from_value(sets).unwrap();
        let plan = plan(Some(&sets), namespaces, &host, &mut warnings);
        (plan, warnings)
    }

    const CHOWN: u64 = 1;
    const KILL: u64 = 1 << 5;
    const RESOURCE: u64 = 1 << 24;

    #[test]
    fn each_set_is_its_own() {
        let sets = json!({"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_KILL"],
            "effective": ["CAP_KILL"], "inheritable": ["CAP_CHOWN"], "ambient": []});
        let (plan, warnings) = of(sets, 40, u64::MAX, &Namespaces::default());
        assert_eq!(plan.bounding, CHOWN | KILL);
        assert_eq!((plan.permitted, plan.effective), (KILL, KILL));
        assert_eq!((plan.inheritable, plan.ambient), (CHOWN, 0));
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn what_the_caller_lacks_is_warned_of_but_not_in_a_user_namespace() {
        let sets = json!({"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"]});
        let (plan, warnings) = of(
            sets.clone(),
            40,
            u64::MAX ^ RESOURCE,
            &Namespaces::default(),
        );
        assert_eq!(plan.bounding, CHOWN);
        assert!(warnings[0].ends_with(": CAP_SYS_RESOURCE"), "{warnings:?}");

        let user = Namespaces {
            new: vec![NamespaceKind::User],
            ..Namespaces::default()
        };
        let (plan, warnings) = of(sets, 40, u64::MAX ^ RESOURCE, &user);
        assert_eq!(plan.bounding, CHOWN | RESOURCE);
        assert!(warnings.is_empty());
    }

    #[test]
    fn what_the_kernel_does_not_know_is_warned_of() {
        let sets = json!({"permitted": ["CAP_CHECKPOINT_RESTORE", "CAP_BPF"]});
        let (plan, warnings) = of(sets, 39, u64::MAX, &Namespaces::default());
        assert_eq!(plan.permitted, 1 << 39);
        assert!(
            warnings[0].ends_with(": CAP_CHECKPOINT_RESTORE"),
            "{warnings:?}"
        );
    }

    #[test]
    fn the_rules_between_the_sets_are_kept() {
        let sets = json!({"effective": ["CAP_KILL"], "inheritable": ["CAP_CHOWN"],
            "ambient": ["CAP_KILL"]});
        let (plan, warnings) = of(sets, 40, u64::MAX, &Namespaces::default());
        assert_eq!(plan, Capabilities::default());
        assert_eq!(warnings.len(), 3);
        assert!(warnings[2].starts_with("can't raise ambient capability CAP_KILL"));
    }

    #[test]
    fn numbers_and_names_agree() {
        for (bit, name) in NAMES.iter().enumerate() {
            let capability: oci::Capability = serde_json::from_value(json!(name)).unwrap();
            assert_eq!(usize::from(number(capability)), bit, "{name}");
        }
        assert_eq!(names(1 << 41 | 1), "CAP_CHOWN CAP_41");
    }
}
