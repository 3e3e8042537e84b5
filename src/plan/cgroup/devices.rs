//! `linux.resources.devices`, and the rules that every container gets after its own.

use std::path::Path;

use oci_spec::runtime::{Linux, LinuxDeviceCgroup, LinuxDeviceType};

use crate::cgroup::devices::{Refused, Table};
use crate::error::{Error, Result};
use crate::plan::{DeviceRule, DeviceRuleKind};

const FIELD: &str = "/linux/resources/devices";

/// Added in this order, as every runtime does: making any node is allowed (using it is not),
/// then the devices that the specification promises, terminals, and /dev/net/tun, on which too
/// many setups rely. `linux.devices` may name the device of the same path otherwise; then its
/// rule is the config's affair.
const DEFAULTS: [(&str, DeviceRule); 11] = [
    ("", any(DeviceRuleKind::Char)),
    ("", any(DeviceRuleKind::Block)),
    ("/dev/null", char_device(1, Some(3))),
    ("/dev/random", char_device(1, Some(8))),
    ("/dev/full", char_device(1, Some(7))),
    ("/dev/tty", char_device(5, Some(0))),
    ("/dev/zero", char_device(1, Some(5))),
    ("/dev/urandom", char_device(1, Some(9))),
    ("", char_device(136, None)),
    ("", char_device(5, Some(2))),
    ("", char_device(10, Some(200))),
];

const fn any(kind: DeviceRuleKind) -> DeviceRule {
    DeviceRule {
        allow: true,
        kind,
        major: None,
        minor: None,
        read: false,
        write: false,
        mknod: true,
    }
}

const fn char_device(major: u32, minor: Option<u32>) -> DeviceRule {
    DeviceRule {
        allow: true,
        kind: DeviceRuleKind::Char,
        major: Some(major),
        minor,
        read: true,
        write: true,
        mknod: true,
    }
}

/// All rules in order. They are known to make sense as a whole.
pub fn rules(linux: Option<&Linux>) -> Result<Vec<DeviceRule>> {
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let asked = resources
        .and_then(|resources| resources.devices().as_deref())
        .unwrap_or(&[]);
    let mut rules = asked
        .iter()
        .enumerate()
        .map(|(index, entry)| rule(entry, &format!("{FIELD}/{index}")))
        .collect::<Result<Vec<_>>>()?;

    let nodes = linux
        .and_then(|linux| linux.devices().as_deref())
        .unwrap_or(&[]);
    let defaults = DEFAULTS
        .iter()
        .filter(|(path, _)| path.is_empty() || nodes.iter().all(|n| n.path() != Path::new(path)));
    rules.extend(defaults.map(|(_, rule)| rule.clone()));

    match Table::new(&rules) {
        Ok(_) => Ok(rules),
        Err(Refused { rule, reason }) if rule < asked.len() => {
            Err(Error::field(format!("{FIELD}/{rule}"), reason))
        }
        Err(Refused { reason, .. }) => Err(Error::field(
            FIELD,
            format!("the rules conflict with those that every container gets: {reason}"),
        )),
    }
}

fn rule(entry: &LinuxDeviceCgroup, field: &str) -> Result<DeviceRule> {
    let kind = match entry.typ() {
        None | Some(LinuxDeviceType::A) => DeviceRuleKind::All,
        Some(LinuxDeviceType::C) => DeviceRuleKind::Char,
        Some(LinuxDeviceType::B) => DeviceRuleKind::Block,
        Some(other) => {
            return Err(Error::field(
                format!("{field}/type"),
                format!("invalid cgroup device type {:?}", other.as_str()),
            ));
        }
    };
    let access = entry.access().as_deref().unwrap_or("");
    if access.is_empty() || !access.bytes().all(|letter| b"rwm".contains(&letter)) {
        return Err(Error::field(
            format!("{field}/access"),
            format!("device access must be made of the letters r, w and m: {access:?}"),
        ));
    }
    Ok(DeviceRule {
        allow: entry.allow(),
        kind,
        major: number(entry.major(), field, "major")?,
        minor: number(entry.minor(), field, "minor")?,
        read: access.contains('r'),
        write: access.contains('w'),
        mknod: access.contains('m'),
    })
}

/// Absent and -1 are any.
fn number(value: Option<i64>, field: &str, name: &str) -> Result<Option<u32>> {
    match value {
        None | Some(-1) => Ok(None),
        Some(value) => u32::try_from(value).map(Some).map_err(|_| {
            Error::field(
                format!("{field}/{name}"),
                format!("{value} is not a device number"),
            )
        }),
    }
}
