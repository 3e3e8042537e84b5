//! `linux.sysctl`: only what a namespace of the container's own owns.
//!
//! Everything else under /proc/sys is the host's, and is refused. Names come with dots or, as
//! sysctl(8) has it, with slashes; in the second form a dot belongs to a name, such as that of
//! a VLAN interface (`net/ipv4/conf/eno2.100/rp_filter`).

use std::collections::HashMap;

use super::{NamespaceKind, Namespaces, Sysctl, escape, paths};
use crate::error::{Error, Result};

/// Owned by the IPC namespace, besides fs/mqueue (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shm_rmid_forced",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
];

const DOMAINNAME: &str = "kernel/domainname";

/// Plan the settings, sorted by name. `domainname` is the config's, which has the last word.
pub fn plan(
    settings: &HashMap<String, String>,
    namespaces: &Namespaces,
    domainname: Option<&str>,
) -> Result<Vec<Sysctl>> {
    let mut names: Vec<_> = settings.iter().collect();
    names.sort_unstable();
    names
        .into_iter()
        .map(|(name, value)| {
            let field = format!("/linux/sysctl/{}", escape(name));
            paths::no_nul(name.as_bytes(), || field.clone())?;
            paths::no_nul(value.as_bytes(), || field.clone())?;
            let path = path(name);
            if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(Error::field(
                    field,
                    format!("{name:?} is not the name of a sysctl"),
                ));
            }
            let owner = owner(name, &path).map_err(|problem| Error::field(&field, problem))?;
            if !namespaces.has(owner) {
                let problem = format!(
                    "sysctl {name:?} is not allowed in the host's {} namespace",
                    owner.name()
                );
                return Err(Error::field(field, problem));
            }
            if path == DOMAINNAME && domainname.is_some_and(|other| other != value) {
                let problem =
                    format!("sysctl {name:?} says otherwise than the field \"domainname\"");
                return Err(Error::field(field, problem));
            }
            Ok(Sysctl {
                path,
                value: value.clone(),
                owner,
                field,
            })
        })
        .collect()
}

/// The path below /proc/sys. The first separator of the name says which form it has.
fn path(name: &str) -> String {
    if name
        .find(['.', '/'])
        .is_some_and(|at| name[at..].starts_with('/'))
    {
        return name.to_owned();
    }
    name.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect()
}

/// The kind of namespace that has a value of its own for each of its instances.
fn owner(name: &str, path: &str) -> Result<NamespaceKind, String> {
    match path {
        _ if IPC.contains(&path) || path.starts_with("fs/mqueue/") => Ok(NamespaceKind::Ipc),
        _ if path.starts_with("net/") => Ok(NamespaceKind::Network),
        _ if path.starts_with("user/") => Ok(NamespaceKind::User),
        DOMAINNAME => Ok(NamespaceKind::Uts),
        "kernel/hostname" => Err(format!(
            "sysctl {name:?} is not allowed as it conflicts with the field \"hostname\""
        )),
        _ => Err(format!(
            "sysctl {name:?} is not in a separate kernel namespace"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::pointer_of;

    fn of(name: &str, new: &[NamespaceKind]) -> Result<String> {
        let namespaces = Namespaces {
            new: new.to_vec(),
            ..Namespaces::default()
        };
        let settings = HashMap::from([(name.to_owned(), "1".to_owned())]);
        plan(&settings, &namespaces, None).map(|mut list| list.remove(0).path)
    }

    #[test]
    fn two_domain_names_exclude_each_other() {
        let namespaces = Namespaces {
            new: vec![NamespaceKind::Uts],
            ..Namespaces::default()
        };
        let settings = HashMap::from([("kernel.domainname".to_owned(), "a".to_owned())]);
        assert!(plan(&settings, &namespaces, Some("a")).is_ok());
        let error = plan(&settings, &namespaces, Some("b")).unwrap_err();
        assert_eq!(pointer_of(&error), "/linux/sysctl/kernel.domainname");
    }

    #[test]
    fn both_forms_of_a_name_give_one_path() {
        let net = [NamespaceKind::Network];
        for (name, wanted) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            (
                "net/ipv4/conf/eno2.100/rp_filter",
                "net/ipv4/conf/eno2.100/rp_filter",
            ),
            (
                "net.ipv4.conf.eno2/100.rp_filter",
                "net/ipv4/conf/eno2.100/rp_filter",
            ),
        ] {
            assert_eq!(of(name, &net).unwrap(), wanted, "{name}");
        }
    }

    #[test]
    fn each_name_needs_its_namespace() {
        for (name, kind) in [
            ("kernel.msgmax", NamespaceKind::Ipc),
            ("kernel.shm_rmid_forced", NamespaceKind::Ipc),
            ("fs.mqueue.msg_max", NamespaceKind::Ipc),
            ("net.core.somaxconn", NamespaceKind::Network),
            ("user.max_user_namespaces", NamespaceKind::User),
            ("kernel.domainname", NamespaceKind::Uts),
        ] {
            assert!(of(name, &[kind]).is_ok(), "{name}");
            let others: Vec<_> = [
                NamespaceKind::Ipc,
                NamespaceKind::Network,
                NamespaceKind::User,
                NamespaceKind::Uts,
            ]
            .into_iter()
            .filter(|other| *other != kind)
            .collect();
            let error = of(name, &others).unwrap_err();
            assert_eq!(pointer_of(&error), format!("/linux/sysctl/{name}"));
        }
    }

    #[test]
    fn what_no_namespace_owns_is_refused() {
        let all = [
            NamespaceKind::User,
            NamespaceKind::Network,
            NamespaceKind::Ipc,
            NamespaceKind::Uts,
        ];
        for name in [
            "kernel.hostname",
            "kernel.core_pattern",
            "vm.swappiness",
            "net/../kernel/core_pattern",
            "fs.mqueue./../../kernel/core_pattern",
            "net//core",
            "",
            "/net/core/somaxconn",
        ] {
            assert!(of(name, &all).is_err(), "{name}");
        }
    }

    #[test]
    fn a_slash_in_a_name_is_escaped_in_the_pointer() {
        let error = of("kernel/core_pattern", &[]).unwrap_err();
        assert_eq!(pointer_of(&error), "/linux/sysctl/kernel~1core_pattern");
    }
}
