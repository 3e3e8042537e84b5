//! The systemd driver's part of the plan: which unit, in which slice, with which properties.
//!
//! With it `cgroupsPath` is `slice:prefix:name`. The container gets the unit
//! `prefix-name.scope` below the slice, or, where the name ends in `.slice`, the slice of that
//! name. Without a cgroupsPath it is as if that were `:runc:ID`: engines and monitors look for
//! these names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::properties;
use crate::dbus::Value;
use crate::error::{Error, Result};
use crate::plan::{CgroupWrite, DeviceRule, Property, SystemdUnit, escape};

mod gvariant;

const PATH: &str = "/linux/cgroupsPath";
const ANNOTATION: &str = "org.systemd.property.";
const SLICE: &str = ".slice";
/// The root of all slices.
const ROOT: &str = "-.slice";
/// Longest name of a unit, of systemd's own.
const MAX_NAME: usize = 255;
/// The systemd from which on a scope takes its processes as pidfds.
const PIDFDS_SINCE: u32 = 255;

/// The name of a unit, its slice's name, and its cgroup below that of systemd's manager.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub name: String,
    pub slice: String,
    pub path: PathBuf,
}

/// Find the unit of a container. `user`: one of the user's systemd.
pub fn place(asked: Option<&Path>, id: &str, user: bool) -> Result<Place> {
    let text = match asked {
        Some(path) => path.to_str().unwrap_or("\u{fffd}").to_owned(),
        None => format!(":runc:{id}"),
    };
    let parts: Vec<&str> = text.split(':').collect();
    let [slice, prefix, name] = parts[..] else {
        return Err(Error::field(
            PATH,
            format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, \
                 got {text:?} instead"
            ),
        ));
    };
    let slice = match (slice, user) {
        ("", false) => "system.slice",
        ("", true) => "user.slice",
        ("-", _) => ROOT,
        (slice, _) => slice,
    };
    let above = expand(slice)?;
    let is_slice = name.ends_with(SLICE);
    let (name, path) = match is_slice {
        true => (name.to_owned(), expand(name)?),
        false => {
            let name = format!("{prefix}-{name}.scope");
            let path = above.join(&name);
            (name, path)
        }
    };
    check_name(&name)?;
    Ok(Place {
        name,
        slice: slice.to_owned(),
        path,
    })
}

/// A slice's cgroup: each `-` of its name is one level, `a-b.slice` is `a.slice/a-b.slice`.
fn expand(slice: &str) -> Result<PathBuf> {
    let wrong = || Error::field(PATH, format!("invalid slice name: {slice}"));
    if slice == ROOT {
        return Ok("/".into());
    }
    check_name(slice).map_err(|_| wrong())?;
    let name = slice.strip_suffix(SLICE).ok_or_else(wrong)?;
    let mut path = PathBuf::from("/");
    for (end, _) in name.match_indices('-').chain([(name.len(), "")]) {
        let upper = &name[..end];
        // Neither "a--b" nor "-a".
        if upper.is_empty() || upper.ends_with('-') {
            return Err(wrong());
        }
        path.push(format!("{upper}{SLICE}"));
    }
    Ok(path)
}

/// What systemd takes for a name, and so no slash: the name is a directory's, too.
fn check_name(name: &str) -> Result<()> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if name.len() <= MAX_NAME && name.bytes().all(known) {
        return Ok(());
    }
    let problem = format!("{name:?} cannot be the name of a systemd unit");
    let hint = format!("letters, digits and _ - . \\ @, at most {MAX_NAME} of them");
    Err(Error::field(PATH, problem).with_hint(hint))
}

/// What the properties of a unit depend on, beside its place.
pub struct Wanted<'a> {
    pub id: &'a str,
    pub bundle: &'a Path,
    pub user: bool,
    /// Whether the host has cgroup v2 alone.
    pub v2: bool,
    /// Of systemd.
    pub version: u32,
    pub annotations: &'a BTreeMap<String, String>,
    pub writes: &'a [CgroupWrite],
    pub devices: &'a [DeviceRule],
}

/// The unit with all properties but its processes, which are not there yet. The last of a name
/// holds, so that annotations stand above what is always set, and limits above annotations, as
/// the limits' files are written after all.
pub fn unit(place: &Place, wanted: &Wanted) -> Result<SystemdUnit> {
    let text = |name: &str, value: &str| Property::new(name, value.into());
    let on = |name: &str| Property::new(name, Value::Bool(true));
    let is_slice = place.name.ends_with(SLICE);
    let mut list = vec![text(
        "Description",
        &format!(
            "libcontainer container {} of {}",
            wanted.id,
            wanted.bundle.display()
        ),
    )];
    if is_slice {
        let slices = Value::Array("s".to_owned(), vec![place.slice.as_str().into()]);
        list.push(Property::new("Wants", slices));
    } else {
        list.push(text("Slice", &place.slice));
        list.push(on("Delegate"));
    }
    let io = if wanted.v2 {
        "IOAccounting"
    } else {
        "BlockIOAccounting"
    };
    list.extend(["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"].map(on));
    list.push(Property::new("DefaultDependencies", Value::Bool(false)));
    list.extend(of_annotations(wanted.annotations)?);
    let host = properties::Host {
        v2: wanted.v2,
        version: wanted.version,
    };
    list.extend(properties::of_writes(wanted.writes, host));
    // OOMPolicy is a scope's alone, and of its start.
    if !is_slice {
        list.extend(properties::oom_policy(wanted.writes, host));
    }
    // The user's systemd has no right to filter devices.
    if !wanted.user {
        list.extend(properties::of_devices(wanted.devices, host));
    }
    Ok(SystemdUnit {
        name: place.name.clone(),
        user: wanted.user,
        is_slice,
        by_pidfd: wanted.version >= PIDFDS_SINCE,
        properties: list,
    })
}

/// `org.systemd.property.NAME` is a property in GVariant's text form.
fn of_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>> {
    let mut list = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(ANNOTATION) else {
            continue;
        };
        let field = || format!("/annotations/{}", escape(key));
        let wrong = |problem: &str| {
            Error::field(
                field(),
                format!("annotation {key}={text} value parse error: {problem}"),
            )
        };
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(Error::field(
                field(),
                format!(
                    "annotation {key} name incorrect: a property's name is three or more letters"
                ),
            ));
        }
        let value = gvariant::parse(text).map_err(|problem| wrong(&problem))?;
        // In unit files a time is in seconds, on the bus in microseconds and by another name.
        let property = match name.strip_suffix("Sec") {
            Some(start) if start.ends_with(|c: char| c.is_ascii_lowercase()) => {
                let value = microseconds(&value).ok_or_else(|| wrong("not a number of seconds"))?;
                Property::new(&format!("{start}USec"), Value::Uint64(value))
            }
            _ => Property::new(name, value),
        };
        list.push(property);
    }
    Ok(list)
}

fn microseconds(seconds: &Value) -> Option<u64> {
    let whole = match *seconds {
        Value::Double(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            return Some((seconds * 1e6) as u64);
        }
        Value::Byte(n) => n.into(),
        Value::Int16(n) => u64::try_from(n).ok()?,
        Value::Uint16(n) => n.into(),
        Value::Int32(n) => u64::try_from(n).ok()?,
        Value::Uint32(n) => n.into(),
        Value::Int64(n) => u64::try_from(n).ok()?,
        Value::Uint64(n) => n,
        _ => return None,
    };
    whole.checked_mul(1_000_000)
}

#[cfg(test)]
mod tests;
