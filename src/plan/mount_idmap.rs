//! The id mapping of a mount: which ids its files have, seen through it (config.md, "Mounts").
//!
//! It comes from the mount's `uidMappings` and `gidMappings`, or from crun's short form
//! (`idmap=uids=0-1000-10#10-2000-5;gids=...`, crun(1)), or, with `idmap` or `ridmap` alone, it
//! is that of the container's user namespace. Mappings without either word map the one mount,
//! as with runc.

use oci_spec::runtime as oci;

use super::mount_options::IdMapWord;
use super::mounts::Around;
use super::{IdMapping, MountIdMap, MountKind, NamespaceKind, Namespaces, idmap};
use crate::error::{Error, Result};

/// Plan the id mapping of one entry of `mounts`; `word` is its `idmap` or `ridmap`.
pub fn plan(
    entry: &oci::Mount,
    word: Option<IdMapWord>,
    what: &MountKind,
    field: &str,
    around: &Around,
) -> Result<Option<MountIdMap>> {
    let maps = |list: &Option<Vec<oci::LinuxIdMapping>>, name| {
        let list = list.as_deref().unwrap_or_default();
        idmap::plan(list, &format!("{field}/{name}"))
    };
    let mut plan = MountIdMap {
        recursive: word.as_ref().is_some_and(|word| word.recursive),
        uid_mappings: maps(entry.uid_mappings(), "uidMappings")?,
        gid_mappings: maps(entry.gid_mappings(), "gidMappings")?,
    };
    let own = !plan.uid_mappings.is_empty() || !plan.gid_mappings.is_empty();
    let option = word
        .as_ref()
        .map(|word| format!("{field}/options/{}", word.index));
    let at = match (&option, own) {
        (Some(option), _) => option.as_str(),
        (None, true) => field,
        (None, false) => return Ok(None),
    };
    let wrong = |at: &str, problem: &str| Err(Error::field(at, problem));
    if !matches!(what, MountKind::Bind { .. }) {
        return wrong(at, "id-mapped mounts are only supported for bind-mounts");
    }
    if !around.privileged {
        let problem = "id-mapped mounts are not supported for rootless containers";
        return wrong(at, problem);
    }
    let both = "id-mapped mounts must have both uid and gid mappings specified";
    match word {
        Some(word) if !word.maps.is_empty() => {
            if own {
                return wrong(at, "the mount has uidMappings and gidMappings as well");
            }
            let (uids, gids) = short_form(word.maps, at, around.namespaces)?;
            if uids.is_empty() || gids.is_empty() {
                return wrong(at, both);
            }
            (plan.uid_mappings, plan.gid_mappings) = (uids, gids);
        }
        _ if own && plan.uid_mappings.is_empty() => {
            return wrong(&format!("{field}/uidMappings"), both);
        }
        _ if own && plan.gid_mappings.is_empty() => {
            return wrong(&format!("{field}/gidMappings"), both);
        }
        _ if !own && !around.namespaces.has(NamespaceKind::User) => {
            return Err(Error::field(at, both)
                .with_hint("the container has no user namespace whose mappings they could be"));
        }
        _ => {}
    }
    Ok(Some(plan))
}

/// `uids=` and `gids=`, each with ranges between `#`.
fn short_form(
    text: &str,
    at: &str,
    namespaces: &Namespaces,
) -> Result<(Vec<IdMapping>, Vec<IdMapping>)> {
    let (mut uids, mut gids) = (Vec::new(), Vec::new());
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (maps, ranges, containers) = match part.split_once('=') {
            Some(("uids", ranges)) => (&mut uids, ranges, &namespaces.uid_mappings),
            Some(("gids", ranges)) => (&mut gids, ranges, &namespaces.gid_mappings),
            _ => {
                let problem = format!("invalid option {part:?}: only uids= and gids= are known");
                return Err(Error::field(at, problem));
            }
        };
        for text in ranges.split('#') {
            range(text, containers, maps)
                .map_err(|problem| Error::field(at, format!("{problem}: {text:?}")))?;
        }
    }
    Ok((uids, gids))
}

/// One range, `ID-HOST-SIZE`. With `@` in front, HOST is an id of the container, and a range
/// that its user namespace maps in several pieces is taken apart.
fn range(text: &str, containers: &[IdMapping], maps: &mut Vec<IdMapping>) -> Result<(), String> {
    let (relative, numbers) = match text.strip_prefix('@') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut numbers = numbers.split('-').map(|number| number.parse::<u32>().ok());
    let mut next = || numbers.next().flatten();
    let (Some(container), Some(host), Some(size), None) = (next(), next(), next(), numbers.next())
    else {
        return Err("invalid mapping, not ID-ID-SIZE".to_owned());
    };
    let mut push = |map| idmap::push(maps, map).map_err(|(_, problem)| problem);
    if !relative {
        return push(IdMapping {
            container,
            host,
            size,
        });
    }
    let mut done = 0;
    while done < size {
        // Beyond the last id there is no mapping either.
        let first = host.checked_add(done);
        let piece = first.and_then(|first| {
            let line = containers
                .iter()
                .find(|line| first >= line.container && first - line.container < line.size)?;
            let skipped = first - line.container;
            Some((line.host + skipped, line.size - skipped))
        });
        let (Some((host, left)), Some(container)) = (piece, container.checked_add(done)) else {
            return Err("the container's user namespace does not map all of it".to_owned());
        };
        let size = left.min(size - done);
        push(IdMapping {
            container,
            host,
            size,
        })?;
        done += size;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{plan_of, plan_on, pointer_of, with_linux};
    use serde_json::{Value, json};

    fn maps(lines: &[(u32, u32, u32)]) -> Value {
        lines
            .iter()
            .map(|(c, h, s)| json!({"containerID": c, "hostID": h, "size": s}))
            .collect()
    }

    /// The id mapping of one mount with these fields, in a container whose user namespace has
    /// this map, if any.
    fn of(extra: Value, users: Option<&[(u32, u32, u32)]>) -> Result<Option<MountIdMap>> {
        let mut linux = json!({"namespaces": [{"type": "mount"}]});
        if let Some(lines) = users {
            linux = json!({"namespaces": [{"type": "mount"}, {"type": "user"}],
                "uidMappings": maps(lines), "gidMappings": maps(lines)});
        }
        let mut spec = with_linux(linux);
        let mut mount = json!({"destination": "/d", "source": "/s"});
        mount
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        spec["mounts"] = json!([mount]);
        plan_of(&spec).map(|mut plan| plan.mounts.remove(0).idmap)
    }

    fn lines(maps: &[IdMapping]) -> Vec<(u32, u32, u32)> {
        maps.iter().map(|m| (m.container, m.host, m.size)).collect()
    }

    #[test]
    fn the_mapping_is_the_mounts_own() {
        for (options, recursive) in [
            (json!(["bind", "ridmap"]), true),
            (json!(["rbind", "idmap"]), false),
            (json!(["rbind", "ridmap", "idmap"]), false),
            (json!(["rbind"]), false),
        ] {
            let own = json!({"options": options, "uidMappings": maps(&[(0, 1000, 9), (9, 3000, 1)]),
                "gidMappings": maps(&[(0, 2000, 9)])});
            let plan = of(own, Some(&[(0, 7, 1)])).unwrap().unwrap();
            assert_eq!(plan.recursive, recursive, "{options}");
            assert_eq!(lines(&plan.uid_mappings), [(0, 1000, 9), (9, 3000, 1)]);
            assert_eq!(lines(&plan.gid_mappings), [(0, 2000, 9)]);
        }
    }

    #[test]
    fn the_mapping_is_the_containers() {
        for option in ["idmap", "idmap=", "ridmap"] {
            let plan = of(json!({"options": ["bind", option]}), Some(&[(0, 7, 1)]));
            let plan = plan.unwrap().unwrap();
            assert_eq!(plan.recursive, option == "ridmap");
            assert_eq!(plan.uid_mappings, plan.gid_mappings);
            assert_eq!(plan.uid_mappings, []);
        }
        assert_eq!(of(json!({"options": ["bind"]}), None).unwrap(), None);
    }

    #[test]
    fn the_short_form_has_ranges() {
        let option = "ridmap=uids=0-1-10#10-11-10;gids=0-100-10;";
        let plan = of(json!({"options": ["bind", option]}), None);
        let plan = plan.unwrap().unwrap();
        assert!(plan.recursive);
        assert_eq!(lines(&plan.uid_mappings), [(0, 1, 10), (10, 11, 10)]);
        assert_eq!(lines(&plan.gid_mappings), [(0, 100, 10)]);
    }

    #[test]
    fn a_relative_range_goes_through_the_containers_map() {
        let users: &[(u32, u32, u32)] = &[(0, 0, 1), (1, 2, 1000), (1001, 5000, 50)];
        let option = "idmap=uids=@1-3-10;gids=@0-0-1051#2000-9000-1";
        let plan = of(json!({"options": ["bind", option]}), Some(users));
        let plan = plan.unwrap().unwrap();
        assert_eq!(lines(&plan.uid_mappings), [(1, 4, 10)]);
        assert_eq!(
            lines(&plan.gid_mappings[..3]),
            [(0, 0, 1), (1, 2, 1000), (1001, 5000, 50)]
        );
        assert_eq!(lines(&plan.gid_mappings[3..]), [(2000, 9000, 1)]);
        for beyond in [
            "uids=@0-0-1052;gids=0-0-1",
            "uids=@0-4294967295-2;gids=0-0-1",
        ] {
            let option = format!("idmap={beyond}");
            let error = of(json!({"options": ["bind", option]}), Some(users)).unwrap_err();
            assert!(error.step.contains("does not map all of it"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_mapped_is_refused_by_name() {
        let map = maps(&[(0, 1000, 1)]);
        for (mount, pointer, words) in [
            (
                json!({"type": "tmpfs", "options": ["ro", "idmap"]}),
                "/mounts/0/options/1",
                "only supported for bind-mounts",
            ),
            (
                json!({"type": "tmpfs", "uidMappings": map, "gidMappings": map}),
                "/mounts/0",
                "only supported for bind-mounts",
            ),
            (
                json!({"options": ["bind", "idmap"]}),
                "/mounts/0/options/1",
                "must have both uid and gid mappings specified",
            ),
            (
                json!({"options": ["bind"], "uidMappings": map}),
                "/mounts/0/gidMappings",
                "must have both uid and gid mappings specified",
            ),
            (
                json!({"options": ["bind", "idmap"], "gidMappings": map}),
                "/mounts/0/uidMappings",
                "must have both uid and gid mappings specified",
            ),
            (
                json!({"options": ["bind"], "uidMappings": map, "gidMappings": maps(&[(0, 1, 0)])}),
                "/mounts/0/gidMappings/0/size",
                "above zero",
            ),
            (
                json!({"options": ["idmap=uids=0-0-1;gids=0-0-1", "bind"], "uidMappings": map, "gidMappings": map}),
                "/mounts/0/options/0",
                "as well",
            ),
        ] {
            let error = of(mount.clone(), None).unwrap_err();
            assert_eq!(pointer_of(&error), pointer, "{mount}");
            assert!(error.step.contains(words), "{mount}: {error}");
        }
        for (maps, words) in [
            ("uids=0-0-1", "must have both"),
            ("uids=0-0-1;groups=0-0-1", "only uids= and gids="),
            ("uids=0-0;gids=0-0-1", "not ID-ID-SIZE"),
            ("uids=0-0-1-1;gids=0-0-1", "not ID-ID-SIZE"),
            ("uids=0-x-1;gids=0-0-1", "not ID-ID-SIZE"),
            ("uids=0-0-1#;gids=0-0-1", "not ID-ID-SIZE"),
            ("uids=0-0-4294967296;gids=0-0-1", "not ID-ID-SIZE"),
            ("uids=0-0-0;gids=0-0-1", "above zero"),
            ("uids=0-0-5#4-9-1;gids=0-0-1", "overlaps with entry 0"),
            ("uids=0-0-1;uids=0-9-1;gids=0-0-1", "overlaps with entry 0"),
            ("uids=@0-0-1;gids=0-0-1", "does not map all of it"),
        ] {
            let option = format!("idmap={maps}");
            let error = of(json!({"options": ["bind", option]}), None).unwrap_err();
            assert_eq!(pointer_of(&error), "/mounts/0/options/1", "{maps}");
            assert!(error.step.contains(words), "{maps}: {error}");
        }
    }

    #[test]
    fn without_the_right_to_mount_there_is_none() {
        let mut spec = with_linux(json!({"namespaces": [{"type": "mount"}, {"type": "user"}],
            "uidMappings": maps(&[(0, 1000, 1)]), "gidMappings": maps(&[(0, 1000, 1)])}));
        spec["mounts"] =
            json!([{"destination": "/d", "source": "/s", "options": ["bind", "idmap"]}]);
        let layout = crate::plan::tests::fixed_host().layout().unwrap().clone();
        let rootless = crate::host::Host::fixed(layout, 40, 0, true);
        let error = plan_on(&spec, &rootless).unwrap_err();
        assert_eq!(pointer_of(&error), "/mounts/0/options/1");
        assert!(error.step.contains("rootless containers"), "{error}");
    }
}
