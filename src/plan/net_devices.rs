//! `linux.netDevices`: devices of the host's network namespace that move into the container's.
//!
//! The names are checked as the kernel checks them. Whether there is such a device, and whether
//! its new name is free, is seen when it is moved; here only that no two want the same.

use std::collections::{BTreeSet, HashMap};

use oci_spec::runtime::LinuxNetDevice;

use super::{NamespaceKind, Namespaces, NetDevice, escape};
use crate::error::{Error, Result};
use crate::host::Host;

/// JSON pointer of the section.
pub const AT: &str = "/linux/netDevices";

/// IFNAMSIZ of linux/if.h, the NUL at the end included.
const LONGEST: usize = 16;

/// Plan the moves, sorted by name.
pub fn plan(
    devices: Option<&HashMap<String, LinuxNetDevice>>,
    namespaces: &Namespaces,
    host: &Host,
) -> Result<Vec<NetDevice>> {
    let Some(devices) = devices.filter(|devices| !devices.is_empty()) else {
        return Ok(Vec::new());
    };
    if !namespaces.has(NamespaceKind::Network) {
        return Err(no_namespace());
    }
    if host.is_rootless() {
        return Err(Error::field(
            AT,
            "network devices are not supported for rootless containers",
        ));
    }
    let mut entries: Vec<_> = devices.iter().collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    let mut taken = BTreeSet::new();
    let plan = |(host, entry): (&String, &LinuxNetDevice)| {
        let field = format!("{AT}/{}", escape(host));
        let (name, at) = match entry.name().as_ref().filter(|name| !name.is_empty()) {
            Some(name) => (name, format!("{field}/name")),
            None => (host, field.clone()),
        };
        for (name, at) in [(host, &field), (name, &at)] {
            if !is_valid(name) {
                let problem = format!("invalid network device name {name:?}");
                return Err(Error::field(at, problem)
                    .with_hint("up to 15 bytes without /, : and blanks; % only in a %d"));
            }
        }
        if !taken.insert(name.clone()) && !name.contains('%') {
            return Err(Error::field(
                at,
                format!("two network devices would have the name {name:?}"),
            ));
        }
        Ok(NetDevice {
            host: host.clone(),
            name: name.clone(),
            field,
        })
    };
    entries.into_iter().map(plan).collect()
}

/// There is no network namespace that the devices could move to.
pub fn no_namespace() -> Error {
    Error::field(AT, "unable to move network devices without a NET namespace")
}

/// dev_valid_name of the kernel's net/core/dev.c, and its rule for templates: `%d` once.
fn is_valid(name: &str) -> bool {
    let blank = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b;
    let wrong = |byte: u8| blank(byte) || matches!(byte, 0 | b'/' | b':');
    let template = match name.split_once('%') {
        Some((_, rest)) => rest.starts_with('d') && !rest.contains('%'),
        None => true,
    };
    !matches!(name, "" | "." | "..") && name.len() < LONGEST && template && !name.bytes().any(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{fixed_host, plan_of, plan_on, pointer_of, with_linux};
    use serde_json::{Value, json};

    fn config(devices: Value) -> Value {
        with_linux(json!({
            "namespaces": [{"type": "mount"}, {"type": "network"}], "netDevices": devices
        }))
    }

    fn of(devices: Value) -> Result<Vec<NetDevice>> {
        plan_of(&config(devices)).map(|plan| plan.net_devices)
    }

    #[test]
    fn a_device_keeps_its_name_or_gets_another() {
        let devices =
            json!({"eth1": {"name": "eth0"}, "eth0": {"name": ""}, "x": {"name": "eth%d"}});
        let error = of(devices).unwrap_err();
        assert_eq!(pointer_of(&error), "/linux/netDevices/eth1/name");
        let devices = json!({"eth1": {"name": "eth0"}, "eth0": {"name": "a%db"}, "é": {}, "z": {"name": "a%db"}});
        let plan = of(devices).unwrap();
        let names: Vec<_> = plan
            .iter()
            .map(|d| (d.host.as_str(), d.name.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("eth0", "a%db"),
                ("eth1", "eth0"),
                ("z", "a%db"),
                ("é", "é")
            ]
        );
        assert_eq!(plan[1].field, "/linux/netDevices/eth1");
        assert_eq!(of(json!({})).unwrap(), []);
    }

    #[test]
    fn names_that_the_kernel_does_not_take_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a\tb",
            "a\u{b}b",
            "a:1",
            "a\0",
            "a%",
            "a%s",
            "%d%d",
            "abcdefghijklmnop",
        ] {
            let error = of(json!({bad: {}})).unwrap_err();
            let pointer = format!("/linux/netDevices/{}", bad.replace('/', "~1"));
            assert_eq!(pointer_of(&error), pointer);
            if !bad.is_empty() {
                let error = of(json!({"eth0": {"name": bad}})).unwrap_err();
                assert_eq!(pointer_of(&error), "/linux/netDevices/eth0/name");
            }
        }
        assert!(of(json!({"abcdefghijklmno": {"name": "..."}})).is_ok());
    }

    #[test]
    fn there_must_be_a_namespace_and_the_hosts_root() {
        let mut spec = config(json!({"eth0": {}}));
        let caps = u64::MAX >> 23;
        let rootless = Host::fixed(fixed_host().layout().unwrap().clone(), 40, caps, true);
        let error = plan_on(&spec, &rootless).unwrap_err();
        assert_eq!(pointer_of(&error), AT);
        spec["linux"]["namespaces"] = json!([{"type": "mount"}]);
        let error = plan_of(&spec).unwrap_err();
        assert_eq!(error, no_namespace());
    }
}
