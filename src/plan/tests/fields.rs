//! No field forgotten: each field of the maximal config (`tests/maximal`) makes a difference to
//! the plan, or is refused by name, or has no effect and `docs/fields.md` says why.
//!
//! A field that nobody reads can be taken out or changed without any difference: that is what
//! fails here. That a difference in the plan is one in the container is proved by the test that
//! `docs/fields.md` names for the field.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::pointer_of;
use crate::bundle::Bundle;
use crate::cgroup::{Hierarchy, Layout};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::plan::{Context, Plan};

#[path = "../../../tests/maximal/mod.rs"]
mod maximal;

use maximal::{Field, fields, leaves};

/// A host with each controller that the config speaks of, every capability and SELinux.
fn host(version: &str) -> Host {
    let hierarchy = |controllers: &[&str], mount: &str| Hierarchy {
        controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        mount: mount.into(),
        own: "/".into(),
    };
    let layout = match version {
        "v1" => Layout {
            v1: [
                "blkio", "cpu", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls",
                "net_prio", "pids", "rdma",
            ]
            .iter()
            .map(|name| hierarchy(&[name], &format!("/sys/fs/cgroup/{name}")))
            .collect(),
            v2: None,
        },
        _ => Layout {
            v1: Vec::new(),
            v2: Some(hierarchy(
                &["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"],
                "/sys/fs/cgroup",
            )),
        },
    };
    Host::fixed(layout, 40, u64::MAX >> 23, false).with_selinux()
}

/// The plan that create acts on, as JSON.
fn plan(config: &Value, host: &Host) -> Result<Value> {
    let bundle = Bundle::parse(PathBuf::from("/bundle"), config.to_string().as_bytes())?;
    let context = Context {
        id: "box",
        bundle: &bundle.dir,
        no_pivot: false,
    };
    let mut plan = Plan::new(&bundle.spec, &context, host)?;
    plan.warnings.splice(..0, bundle.warnings);
    Ok(serde_json::to_value(&plan).unwrap())
}

/// A variant of which everything is taken out that is refused as it is.
struct Runnable {
    /// Of the cgroup hierarchies.
    version: String,
    host: Host,
    config: Value,
    plan: Value,
    refused: Vec<Field>,
}

fn runnable() -> Vec<Runnable> {
    let trim = |variant: maximal::Variant| {
        let host = host(&variant.host);
        let mut config = variant.config;
        let mut refused = Vec::new();
        loop {
            let error = match plan(&config, &host) {
                Ok(plan) => {
                    return Runnable {
                        version: variant.host,
                        host,
                        config,
                        plan,
                        refused,
                    };
                }
                Err(error) => error,
            };
            assert_eq!(error.kind, Kind::Invalid, "{}: {error}", variant.name);
            let before = leaves(&config);
            let taken = maximal::remove(&mut config, pointer_of(&error));
            println!("{}: without {taken}: {error}", variant.name);
            let gone = before.iter().filter(|leaf| {
                leaf.pointer == taken || leaf.pointer.starts_with(&format!("{taken}/"))
            });
            refused.extend(gone.map(|leaf| leaf.field));
        }
    };
    maximal::variants().into_iter().map(trim).collect()
}

/// What was seen of one field in all variants.
#[derive(Default)]
struct Seen {
    /// Taken out, the plan is another or there is none.
    removed: bool,
    /// With another value, the plan is another.
    changed: bool,
    /// As it is in the maximal config, there is no plan.
    refused: bool,
    /// Why a change was refused.
    errors: Vec<Error>,
}

fn look() -> BTreeMap<Field, Seen> {
    let mut seen: BTreeMap<Field, Seen> = BTreeMap::new();
    for variant in runnable() {
        for field in variant.refused.iter().copied() {
            seen.entry(field).or_default().refused = true;
        }
        for leaf in leaves(&variant.config) {
            let entry = seen.entry(leaf.field).or_default();
            if entry.removed && entry.changed {
                continue;
            }
            let mut without = variant.config.clone();
            maximal::remove(&mut without, &leaf.pointer);
            entry.removed |=
                plan(&without, &variant.host).map_or(true, |plan| plan != variant.plan);
            let Some(value) = maximal::other(&leaf) else {
                continue;
            };
            let mut with = variant.config.clone();
            *with.pointer_mut(&leaf.pointer).unwrap() = value;
            match plan(&with, &variant.host) {
                Ok(plan) => entry.changed |= plan != variant.plan,
                Err(error) => entry.errors.push(error),
            }
        }
    }
    seen
}

#[test]
fn the_maximal_config_sets_every_field_of_the_schema() {
    let set: BTreeSet<Field> = leaves(&maximal::config()).iter().map(|l| l.field).collect();
    let all: BTreeSet<Field> = fields().into_iter().collect();
    let missing: Vec<_> = all.difference(&set).collect();
    assert!(
        missing.is_empty(),
        "not in the maximal config: {missing:#?}"
    );
    assert!(all.len() > 240, "only {} fields", all.len());
}

#[test]
fn every_field_makes_a_difference_or_is_refused_by_name() {
    let seen = look();
    let mut forgotten = Vec::new();
    for field in fields() {
        let Some(seen) = seen.get(&field) else {
            forgotten.push(format!("{} is in no variant", field.name));
            continue;
        };
        let acted = maximal::row(field).acted;
        let as_told = match seen.removed && seen.changed {
            true => acted.starts_with("src/"),
            false => seen.refused == (acted == "refused") && !acted.starts_with("src/"),
        };
        if !as_told {
            let errors: Vec<_> = seen.errors.iter().map(Error::to_string).collect();
            forgotten.push(format!(
                "{} ({acted}): taken out {}, changed {}, refused {} {}",
                field.name,
                seen.removed,
                seen.changed,
                seen.refused,
                errors.join("; ")
            ));
        }
    }
    assert!(forgotten.is_empty(), "forgotten:\n{}", forgotten.join("\n"));
}

#[test]
fn every_wrong_value_is_refused_with_its_pointer() {
    let mut wrong = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for variant in runnable() {
        for leaf in leaves(&variant.config) {
            let values = [
                maximal::wrong_types(leaf.field),
                maximal::wrong_values(leaf.field),
            ]
            .concat();
            for value in values {
                if !seen.insert((
                    variant.version.clone(),
                    leaf.pointer.clone(),
                    value.to_string(),
                )) {
                    continue;
                }
                if let Some(problem) = problem(&variant, &leaf.pointer, &value) {
                    let text = value.to_string();
                    wrong.insert(format!("{} = {text}: {problem}", leaf.pointer));
                }
            }
        }
    }
    assert!(seen.len() > 1500, "only {} values", seen.len());
    let wrong: Vec<_> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_no_object_or_list_is_refused_with_its_pointer() {
    let variant = runnable().swap_remove(0);
    let mut places = BTreeSet::new();
    for leaf in leaves(&variant.config) {
        let mut pointer = leaf.pointer.as_str();
        while let Some((parent, _)) = pointer.rsplit_once('/').filter(|(p, _)| !p.is_empty()) {
            places.insert(parent.to_owned());
            pointer = parent;
        }
    }
    assert!(places.len() > 80, "{places:?}");
    let mut wrong = Vec::new();
    for place in &places {
        // serde takes a list for an object, field by field.
        let is_list = variant.config.pointer(place).unwrap().is_array();
        let object = is_list.then(|| json!({}));
        for value in [json!("x"), json!(7), json!(true)]
            .into_iter()
            .chain(object)
        {
            let problem = problem(&variant, place, &value);
            wrong.extend(problem.map(|problem| format!("{place} = {value}: {problem}")));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

fn problem(variant: &Runnable, pointer: &str, value: &Value) -> Option<String> {
    let mut config = variant.config.clone();
    *config.pointer_mut(pointer).unwrap() = value.clone();
    match plan(&config, &variant.host) {
        Ok(_) => Some("taken".to_owned()),
        Err(error) if error.kind != Kind::Invalid => Some(format!("{:?}: {error}", error.kind)),
        Err(error) if pointer_of(&error) == pointer => None,
        Err(error) => Some(error.to_string()),
    }
}
