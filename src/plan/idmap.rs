//! Id mappings: those of a new user namespace, and those of one mount.
//!
//! The kernel takes at most 340 lines a map, none empty, and no id twice on either side
//! (user_namespaces(7)). It says so with a bare EINVAL or EPERM, so we look first.

use oci_spec::runtime as oci;

use super::IdMapping;
use crate::error::{Error, Result};

/// UID_GID_MAP_MAX_EXTENTS of the kernel.
const MAX_LINES: usize = 340;

/// Check one list of mappings; `at` is its JSON pointer.
pub fn plan(list: &[oci::LinuxIdMapping], at: &str) -> Result<Vec<IdMapping>> {
    let mut maps = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        let map = IdMapping {
            container: entry.container_id(),
            host: entry.host_id(),
            size: entry.size(),
        };
        push(&mut maps, map)
            .map_err(|(part, problem)| Error::field(format!("{at}/{index}{part}"), problem))?;
    }
    Ok(maps)
}

/// Add a line to a map, if the kernel would take it there.
///
/// # Errors
/// The field of the line that is wrong, as the end of a JSON pointer, and what is wrong.
pub fn push(maps: &mut Vec<IdMapping>, map: IdMapping) -> Result<(), (&'static str, String)> {
    if maps.len() == MAX_LINES {
        let problem = format!("more id mappings than the {MAX_LINES} that the kernel takes");
        return Err(("", problem));
    }
    if map.size == 0 {
        let problem = "an id mapping must have a size above zero";
        return Err(("/size", problem.to_owned()));
    }
    // The last id, 2^32 - 1, means "no id" and can never be mapped.
    for (first, side) in [(map.container, "/containerID"), (map.host, "/hostID")] {
        if u64::from(first) + u64::from(map.size) > u64::from(u32::MAX) {
            let more = map.size - 1;
            return Err((
                side,
                format!("ids {first} and {more} more end beyond 4294967294"),
            ));
        }
    }
    if let Some(other) = maps.iter().position(|other| overlap(other, &map)) {
        return Err(("", format!("id mapping overlaps with entry {other}")));
    }
    maps.push(map);
    Ok(())
}

fn overlap(a: &IdMapping, b: &IdMapping) -> bool {
    // Sums stay below 2^32, see the check above.
    let meet = |a0: u32, b0: u32| a0 < b0 + b.size && b0 < a0 + a.size;
    meet(a.container, b.container) || meet(a.host, b.host)
}

/// Whether `id` of the container has an id on the host.
pub fn maps_id(maps: &[IdMapping], id: u32) -> bool {
    host_id(maps, id).is_some()
}

/// What `id` of the container is on the host.
pub fn host_id(maps: &[IdMapping], id: u32) -> Option<u32> {
    let map = maps
        .iter()
        .find(|map| id >= map.container && id - map.container < map.size)?;
    Some(map.host + (id - map.container))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u32, u32, u32)]) -> Vec<oci::LinuxIdMapping> {
        entries
            .iter()
            .map(|(container, host, size)| {
                oci::LinuxIdMappingBuilder::default()
                    .container_id(*container)
                    .host_id(*host)
                    .size(*size)
                    .build()
                    .unwrap()
            })
            .collect()
    }

    #[test]
    fn maps_side_by_side_are_taken() {
        let maps = plan(&list(&[(0, 1000, 1), (1, 100_000, 65536)]), "/m").unwrap();
        assert!(maps_id(&maps, 0) && maps_id(&maps, 65536));
        assert!(!maps_id(&maps, 65537));
        assert_eq!(host_id(&maps, 10), Some(100_009));
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_by_name() {
        for (entries, pointer) in [
            (vec![(0, 1000, 0)], "/m/0/size"),
            (vec![(0, 1000, 10), (9, 5000, 10)], "/m/1"),
            (vec![(0, 1000, 10), (20, 1009, 10)], "/m/1"),
            (vec![(u32::MAX, 0, 1)], "/m/0/containerID"),
            (vec![(0, u32::MAX - 1, 2)], "/m/0/hostID"),
        ] {
            let error = plan(&list(&entries), "/m").unwrap_err();
            assert_eq!(
                error.target,
                Some(crate::error::Target::Field(pointer.to_owned())),
                "{entries:?}"
            );
        }
        let many: Vec<_> = (0..341).map(|n| (n, n, 1)).collect();
        assert!(plan(&list(&many), "/m").is_err());
        assert!(plan(&list(&many[..340]), "/m").is_ok());
    }
}
