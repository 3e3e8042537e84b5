//! Stored plans: what becomes of whole configs on a host that never changes.
//!
//! Each folder of `tests/plans` has the plan on a hybrid host (`hybrid.json`), on one with
//! cgroup v2 only (`v2.json`), or both; its config is `config.json` beside them, or that of the
//! folder of the same name in `tests/bundles`. `ORLOP_BLESS=1 cargo test stored` writes those
//! that are there anew: read the difference before you commit it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bundle::Bundle;
use crate::cgroup::{Hierarchy, Layout};
use crate::error::Result;
use crate::host::Host;
use crate::plan::{Context, Plan};

/// As on a host of systemd in hybrid mode, the caller in a cgroup of its own, without
/// CAP_SYS_RESOURCE (bit 24) and with a kernel that knows CAP_CHECKPOINT_RESTORE (40).
pub fn hybrid() -> Host {
    let v1 = |controllers: &[&str], name: &str| Hierarchy {
        controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        mount: Path::new("/sys/fs/cgroup").join(name),
        own: "/caller".into(),
    };
    let layout = Layout {
        v1: vec![
            v1(&["blkio"], "blkio"),
            v1(&["cpu", "cpuacct"], "cpu,cpuacct"),
            v1(&["cpuset"], "cpuset"),
            v1(&["devices"], "devices"),
            v1(&["freezer"], "freezer"),
            v1(&["memory"], "memory"),
            v1(&["pids"], "pids"),
            v1(&["name=systemd"], "systemd"),
        ],
        v2: Some(Hierarchy {
            controllers: vec!["hugetlb".to_owned()],
            mount: "/sys/fs/cgroup/unified".into(),
            own: "/caller".into(),
        }),
    };
    Host::fixed(layout, 40, (u64::MAX >> 23) ^ 1 << 24, false)
}

fn plan(config: &Path, host: &Host) -> Result<Value> {
    let text = std::fs::read(config).unwrap();
    let bundle = Bundle::parse(PathBuf::from("/bundle"), &text)?;
    let context = Context {
        id: "box",
        bundle: &bundle.dir,
        no_pivot: false,
    };
    let mut plan = Plan::new(&bundle.spec, &context, host)?;
    plan.warnings.splice(..0, bundle.warnings.iter().cloned());
    // The instructions are checked by executing them, in the tests of the seccomp compiler.
    if let Some(filter) = &mut plan.process.seccomp {
        assert!(filter.program.len() > 10);
        filter.program.clear();
    }
    Ok(serde_json::to_value(&plan).unwrap())
}

/// The JSON pointer at which two values begin to differ.
fn difference(a: &Value, b: &Value) -> Option<String> {
    let below = |key: &str, a: Option<&Value>, b: Option<&Value>| {
        let null = Value::Null;
        difference(a.unwrap_or(&null), b.unwrap_or(&null)).map(|rest| format!("/{key}{rest}"))
    };
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => a
            .keys()
            .chain(b.keys())
            .find_map(|key| below(key, a.get(key), b.get(key))),
        (Value::Array(a), Value::Array(b)) => {
            (0..a.len().max(b.len())).find_map(|n| below(&n.to_string(), a.get(n), b.get(n)))
        }
        _ => (a != b).then(|| format!(": {a} against {b}")),
    }
}

#[test]
fn stored_plans_hold() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let bless = std::env::var_os("ORLOP_BLESS").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    let mut seen = 0;
    let folders = std::fs::read_dir(tests.join("plans")).unwrap();
    for folder in folders
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
    {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let config = [
            folder.join("config.json"),
            tests.join("bundles").join(name).join("config.json"),
        ]
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("no config for the plans in {}", folder.display()));
        for (host, file) in [
            (hybrid().with_selinux(), "hybrid.json"),
            (super::fixed_host().with_selinux(), "v2.json"),
        ] {
            let stored = folder.join(file);
            if !stored.exists() {
                continue;
            }
            seen += 1;
            let plan = plan(&config, &host).unwrap_or_else(|error| panic!("{name}: {error}"));
            if bless {
                let text = serde_json::to_string_pretty(&plan).unwrap() + "\n";
                std::fs::write(&stored, text).unwrap();
                continue;
            }
            let text = std::fs::read_to_string(&stored).unwrap();
            let expected = serde_json::from_str(&text).unwrap();
            if let Some(at) = difference(&expected, &plan) {
                wrong.push(format!("{name}/{file} {at}"));
            }
        }
    }
    assert!(seen >= 20, "only {seen} plans are stored");
    assert!(
        wrong.is_empty(),
        "plan as stored against now:\n{}",
        wrong.join("\n")
    );
}
