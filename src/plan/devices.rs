//! Device nodes: the six that every container has, and those of `linux.devices`.
//!
//! config-linux.md, "Default Devices", lists null, zero, full, random, urandom and tty (console
//! and ptmx are no nodes of this kind: the terminal and devpts bring them). An entry of the
//! config at the same path takes the default's place. Where the container gets a /dev by a
//! bind mount, that directory is the host's and no node is made in it, but elsewhere.

use std::path::Path;

use oci_spec::runtime as oci;

use super::idmap::maps_id;
use super::{
    Device, DeviceKind, IdMapping, Mount, MountKind, NamespaceKind, Namespaces, Plan, paths,
};
use crate::error::{Error, Result};
use crate::host::Host;

const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Largest numbers that the kernel's dev_t holds: 12 and 20 bits.
const MAX_MAJOR: i64 = (1 << 12) - 1;
const MAX_MINOR: i64 = (1 << 20) - 1;

impl Plan {
    /// Whether nodes, links and ptmx are made in /dev: not where /dev is a bind mount.
    pub fn sets_up_dev(&self) -> bool {
        sets_up_dev(&self.mounts)
    }
}

fn sets_up_dev(mounts: &[Mount]) -> bool {
    !mounts.iter().any(|mount| {
        mount.target == Path::new("/dev") && matches!(mount.what, MountKind::Bind { .. })
    })
}

/// Plan the nodes; `mounts` is the plan of the mounts.
pub fn plan(
    list: &[oci::LinuxDevice],
    mounts: &[Mount],
    namespaces: &Namespaces,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Vec<Device>> {
    let mut devices: Vec<Device> = DEFAULTS
        .iter()
        .map(|(path, major, minor)| Device {
            field: String::new(),
            path: path.into(),
            kind: DeviceKind::Char,
            major: *major,
            minor: *minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    for (index, entry) in list.iter().enumerate() {
        let device = one(entry, format!("/linux/devices/{index}"), namespaces)?;
        warn_of_what_a_bind_cannot_have(entry, &device.field, host, warnings);
        match devices.iter_mut().find(|other| other.path == device.path) {
            Some(other) if other.field.is_empty() => *other = device,
            Some(other) if same_node(other, &device) => {}
            Some(other) => {
                return Err(Error::field(
                    format!("{}/path", device.field),
                    format!("another device at this path: {}", other.field),
                ));
            }
            None => devices.push(device),
        }
    }
    if !sets_up_dev(mounts) {
        devices.retain(|device| {
            let kept = !device.path.starts_with("/dev");
            if !kept && !device.field.is_empty() {
                warnings.push(format!(
                    "/dev is a bind mount, so no device is made in it (config.json: {})",
                    device.field
                ));
            }
            kept
        });
    }
    Ok(devices)
}

/// Where mknod is refused the host's node is bound, as it is.
fn warn_of_what_a_bind_cannot_have(
    entry: &oci::LinuxDevice,
    field: &str,
    host: &Host,
    warnings: &mut Vec<String>,
) {
    for (value, name) in [
        (entry.file_mode(), "fileMode"),
        (entry.uid(), "uid"),
        (entry.gid(), "gid"),
    ] {
        if value.is_some() && !host.can_make_nodes() {
            warnings.push(format!(
                "{name} of a device has no effect: device nodes cannot be made here, so the \
                 host's is bound as it is (config.json: {field}/{name})"
            ));
        }
    }
}

fn same_node(a: &Device, b: &Device) -> bool {
    (a.kind, a.major, a.minor) == (b.kind, b.major, b.minor)
}

fn one(entry: &oci::LinuxDevice, field: String, namespaces: &Namespaces) -> Result<Device> {
    let path = entry.path();
    paths::no_nul_path(path, || format!("{field}/path"))?;
    let clean = paths::clean(path);
    if !path.is_absolute() || clean == Path::new("/") {
        return Err(Error::field(
            format!("{field}/path"),
            format!(
                "device path {} must be an absolute path of a file",
                path.display()
            ),
        ));
    }
    let kind = match entry.typ() {
        // "u" is an unbuffered character device, for mknod(1) the same as "c".
        oci::LinuxDeviceType::C | oci::LinuxDeviceType::U => DeviceKind::Char,
        oci::LinuxDeviceType::B => DeviceKind::Block,
        oci::LinuxDeviceType::P => DeviceKind::Fifo,
        oci::LinuxDeviceType::A => {
            return Err(Error::field(
                format!("{field}/type"),
                "a device node must be of type c, b, u or p; \"a\" is for cgroup rules",
            ));
        }
    };
    let number = |value: i64, max: i64, name: &str| {
        // A FIFO has no numbers; what the config says for it means nothing.
        if kind == DeviceKind::Fifo {
            return Ok(0);
        }
        match u32::try_from(value) {
            Ok(number) if value <= max => Ok(number),
            _ => Err(Error::field(
                format!("{field}/{name}"),
                format!("device number {value} is not between 0 and {max}"),
            )),
        }
    };
    let has_maps = namespaces.is_new(NamespaceKind::User);
    let owner = |id: Option<u32>, maps: &[IdMapping], name: &str| match id {
        Some(u32::MAX) => Err(Error::field(
            format!("{field}/{name}"),
            format!(
                "{} is not an id, the kernel takes it for \"unchanged\"",
                u32::MAX
            ),
        )),
        Some(id) if has_maps && !maps_id(maps, id) => Err(Error::field(
            format!("{field}/{name}"),
            format!("id {id} is not mapped in the container's user namespace"),
        )),
        id => Ok(id.unwrap_or(0)),
    };
    Ok(Device {
        major: number(entry.major(), MAX_MAJOR, "major")?,
        minor: number(entry.minor(), MAX_MINOR, "minor")?,
        // Engines pass st_mode as stat(2) gave it, file type included.
        mode: entry.file_mode().unwrap_or(0o666) & 0o7777,
        uid: owner(entry.uid(), &namespaces.uid_mappings, "uid")?,
        gid: owner(entry.gid(), &namespaces.gid_mappings, "gid")?,
        path: clean,
        kind,
        field,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{fixed_host, plan_of, plan_on, pointer_of, with_linux};
    use serde_json::{Value, json};

    fn of(devices: Value) -> Result<Vec<Device>> {
        let linux = json!({"namespaces": [{"type": "mount"}], "devices": devices});
        plan_of(&with_linux(linux)).map(|plan| plan.devices)
    }

    #[test]
    fn the_six_defaults_are_there() {
        let devices = of(json!([])).unwrap();
        assert_eq!(devices.len(), 6);
        assert!(devices.iter().all(|device| device.mode == 0o666));
    }

    #[test]
    fn an_entry_takes_the_place_of_a_default() {
        let devices = of(json!([
            {"path": "/dev//null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o20600},
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "uid": 7, "gid": 8},
            {"path": "/run/pipe", "type": "p"}
        ]))
        .unwrap();
        assert_eq!(devices.len(), 8);
        assert_eq!(
            (devices[0].mode, devices[0].field.as_str()),
            (0o600, "/linux/devices/0")
        );
        assert_eq!(
            (devices[6].uid, devices[6].gid, devices[6].minor),
            (7, 8, 229)
        );
        assert_eq!(devices[7].kind, DeviceKind::Fifo);
    }

    #[test]
    fn bad_devices_are_refused_by_name() {
        for (device, pointer) in [
            (
                json!({"path": "dev/x", "type": "c", "major": 1, "minor": 3}),
                "path",
            ),
            (
                json!({"path": "/", "type": "c", "major": 1, "minor": 3}),
                "path",
            ),
            (
                json!({"path": "/dev/x", "type": "a", "major": 1, "minor": 3}),
                "type",
            ),
            (
                json!({"path": "/dev/x", "type": "c", "major": -1, "minor": 3}),
                "major",
            ),
            (
                json!({"path": "/dev/x", "type": "b", "major": 1, "minor": 1 << 20}),
                "minor",
            ),
        ] {
            let error = of(json!([device])).unwrap_err();
            assert_eq!(pointer_of(&error), format!("/linux/devices/0/{pointer}"));
        }
        let node = |minor| json!({"path": "/dev/x", "type": "c", "major": 1, "minor": minor});
        assert_eq!(of(json!([node(3), node(3)])).unwrap().len(), 7);
        let error = of(json!([node(3), node(4)])).unwrap_err();
        assert_eq!(pointer_of(&error), "/linux/devices/1/path");
    }

    #[test]
    fn what_a_host_without_mknod_ignores_is_warned_of() {
        let spec = with_linux(json!({
        "namespaces": [{"type": "mount"}, {"type": "user"}],
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
        "devices": [
            {"path": "/dev/x", "type": "c", "major": 1, "minor": 3},
            {"path": "/dev/y", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "gid": 0}
        ]}));
        let layout = fixed_host().layout().unwrap().clone();
        let warnings = plan_on(&spec, &Host::fixed(layout, 40, 0, true))
            .unwrap()
            .warnings;
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        for (warning, name) in warnings.iter().zip(["fileMode", "gid"]) {
            assert!(
                warning.contains(&format!("/linux/devices/1/{name}")),
                "{warning}"
            );
        }
        assert_eq!(plan_of(&spec).unwrap().warnings, [""; 0]);
    }

    #[test]
    fn an_owner_must_be_mapped() {
        let mut linux = json!({"namespaces": [{"type": "mount"}, {"type": "user"}],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 20}],
            "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "uid": 9, "gid": 19}]});
        plan_of(&with_linux(linux.clone())).unwrap();
        for (name, id) in [("uid", 10), ("gid", 20)] {
            let before = std::mem::replace(&mut linux["devices"][0][name], json!(id));
            let error = plan_of(&with_linux(linux.clone())).unwrap_err();
            assert_eq!(pointer_of(&error), format!("/linux/devices/0/{name}"));
            linux["devices"][0][name] = before;
        }
    }

    #[test]
    fn a_bound_dev_is_left_alone() {
        let mut spec = with_linux(json!({"namespaces": [{"type": "mount"}],
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
                {"path": "/run/fuse", "type": "c", "major": 10, "minor": 229}]}));
        spec["mounts"] = json!([{"destination": "/dev/", "source": "/dev", "options": ["rbind"]}]);
        let plan = plan_of(&spec).unwrap();
        assert!(!plan.sets_up_dev());
        assert_eq!(plan.devices.len(), 1);
        assert_eq!(plan.devices[0].path, Path::new("/run/fuse"));
        assert!(plan.warnings[0].contains("/linux/devices/0"));
    }
}
