use std::path::Path;

use super::*;
use crate::error::Target;
use crate::plan::Missing;

fn of(path: &str) -> Result<Place> {
    place(Some(Path::new(path)), "box", false)
}

fn shown(place: Place) -> [String; 3] {
    let path = place.path.display().to_string();
    [place.name, place.slice, path]
}

#[test]
fn a_unit_is_named_by_slice_prefix_and_name() {
    for (asked, name, slice, path) in [
        ("a.slice:p:n", "p-n.scope", "a.slice", "/a.slice/p-n.scope"),
        (
            "a-b-c.slice:p:n",
            "p-n.scope",
            "a-b-c.slice",
            "/a.slice/a-b.slice/a-b-c.slice/p-n.scope",
        ),
        (
            ":p:n",
            "p-n.scope",
            "system.slice",
            "/system.slice/p-n.scope",
        ),
        ("a.slice::", "-.scope", "a.slice", "/a.slice/-.scope"),
        ("-.slice:p:n", "p-n.scope", "-.slice", "/p-n.scope"),
        ("-:p:n", "p-n.scope", "-.slice", "/p-n.scope"),
        // A slice is where its own name says.
        (
            "a.slice:p:a-n.slice",
            "a-n.slice",
            "a.slice",
            "/a.slice/a-n.slice",
        ),
    ] {
        assert_eq!(shown(of(asked).unwrap()), [name, slice, path], "{asked}");
    }
    let default = |user| shown(place(None, "box", user).unwrap());
    assert_eq!(
        default(false),
        [
            "runc-box.scope",
            "system.slice",
            "/system.slice/runc-box.scope"
        ]
    );
    assert_eq!(
        default(true),
        ["runc-box.scope", "user.slice", "/user.slice/runc-box.scope"]
    );
}

#[test]
fn a_path_of_another_form_is_refused() {
    for (asked, words) in [
        (
            "/a/b",
            "expected cgroupsPath to be of format \"slice:prefix:name\"",
        ),
        ("a.slice:n", "got \"a.slice:n\" instead"),
        ("a.slice:p:n:m", "expected cgroupsPath"),
        ("a:p:n", "invalid slice name: a"),
        (".slice:p:n", "invalid slice name"),
        ("-a.slice:p:n", "invalid slice name"),
        ("a--b.slice:p:n", "invalid slice name"),
        ("a-.slice:p:n", "invalid slice name"),
        ("a/b.slice:p:n", "invalid slice name"),
        ("../a.slice:p:n", "invalid slice name"),
        ("a.slice:p:--n.slice", "invalid slice name"),
        ("a.slice:p:../../n", "cannot be the name of a systemd unit"),
        ("a.slice:p/q:n", "cannot be the name of a systemd unit"),
        ("a.slice:p:n+", "cannot be the name of a systemd unit"),
        (&format!("a.slice:p:{}", "n".repeat(260)), "at most 255"),
    ] {
        let error = of(asked).expect_err(asked);
        assert_eq!(
            error.target,
            Some(Target::Field(PATH.to_owned())),
            "{asked}"
        );
        assert!(error.to_string().contains(words), "{error}");
    }
}

static NONE: BTreeMap<String, String> = BTreeMap::new();

fn plain() -> Wanted<'static> {
    Wanted {
        id: "box",
        bundle: Path::new("/bundle"),
        user: false,
        v2: true,
        version: 255,
        annotations: &NONE,
        writes: &[],
        devices: &[],
    }
}

fn planned(name: &str, wanted: &Wanted) -> Result<SystemdUnit> {
    unit(&of(&format!("a-b.slice:p:{name}")).unwrap(), wanted)
}

fn value<'a>(unit: &'a SystemdUnit, name: &str) -> Option<&'a Value> {
    let last = unit.properties.iter().rev().find(|p| p.name == name);
    last.map(|property| &property.value)
}

#[test]
fn a_scope_and_a_slice_are_described() {
    let scope = planned("n", &plain()).unwrap();
    assert_eq!(value(&scope, "Slice"), Some(&"a-b.slice".into()));
    assert_eq!(value(&scope, "Delegate"), Some(&Value::Bool(true)));
    assert_eq!(
        value(&scope, "DefaultDependencies"),
        Some(&Value::Bool(false))
    );
    for name in ["CPU", "IO", "Memory", "Tasks"] {
        let name = format!("{name}Accounting");
        assert_eq!(value(&scope, &name), Some(&Value::Bool(true)), "{name}");
    }
    let old = planned(
        "n",
        &Wanted {
            v2: false,
            ..plain()
        },
    )
    .unwrap();
    assert_eq!(value(&old, "IOAccounting"), None);
    assert_eq!(value(&old, "BlockIOAccounting"), Some(&Value::Bool(true)));

    let slice = planned("a-n.slice", &plain()).unwrap();
    assert!(slice.is_slice);
    assert_eq!(value(&slice, "Slice"), None);
    assert_eq!(value(&slice, "Delegate"), None);
    let wants = Value::Array("s".to_owned(), vec!["a-b.slice".into()]);
    assert_eq!(value(&slice, "Wants"), Some(&wants));
}

#[test]
fn annotations_are_properties_and_limits_stand_above_them() {
    let annotations: BTreeMap<String, String> = [
        ("org.systemd.property.TimeoutStopUSec", "uint64 123456789"),
        ("org.systemd.property.RestartSec", "2.5"),
        ("org.systemd.property.JobTimeoutSec", "uint32 3"),
        ("org.systemd.property.CollectMode", "'inactive-or-failed'"),
        ("org.systemd.property.TasksMax", "uint64 5"),
        ("org.systemd.property.Delegate", "false"),
        ("org.other", "not a value"),
    ]
    .map(|(key, text)| (key.to_owned(), text.to_owned()))
    .into();
    let pids = CgroupWrite {
        field: String::new(),
        controller: String::new(),
        file: "pids.max".to_owned(),
        value: "7".to_owned(),
        missing: Missing::Refuse,
    };
    let unit = planned(
        "n",
        &Wanted {
            annotations: &annotations,
            writes: std::slice::from_ref(&pids),
            ..plain()
        },
    );
    let unit = unit.unwrap();
    for (name, expected) in [
        ("TimeoutStopUSec", Value::Uint64(123_456_789)),
        ("RestartUSec", Value::Uint64(2_500_000)),
        ("JobTimeoutUSec", Value::Uint64(3_000_000)),
        ("CollectMode", "inactive-or-failed".into()),
        ("TasksMax", Value::Uint64(7)),
        ("Delegate", Value::Bool(false)),
    ] {
        assert_eq!(value(&unit, name), Some(&expected), "{name}");
    }
    assert_eq!(value(&unit, "RestartSec"), None);
}

#[test]
fn an_annotation_that_is_no_property_is_refused_by_name() {
    for (name, text, words) in [
        ("A", "5", "name incorrect"),
        ("A_b/c", "5", "name incorrect"),
        ("After", "[]", "value parse error"),
        ("After", "{'a': 5}", "value parse error"),
        ("StopSec", "'5'", "not a number of seconds"),
        ("StopSec", "-5", "not a number of seconds"),
        (
            "StopSec",
            "uint64 18446744073709551615",
            "not a number of seconds",
        ),
    ] {
        let key = format!("org.systemd.property.{name}");
        let annotations = [(key.clone(), text.to_owned())].into();
        let error = planned(
            "n",
            &Wanted {
                annotations: &annotations,
                ..plain()
            },
        )
        .unwrap_err();
        let field = format!("/annotations/{}", key.replace('/', "~1"));
        assert_eq!(error.target, Some(Target::Field(field)), "{name}");
        assert!(error.step.contains(words), "{error}");
    }
}

#[test]
fn the_users_systemd_is_told_nothing_of_devices() {
    let deny = DeviceRule {
        allow: false,
        kind: crate::plan::DeviceRuleKind::All,
        major: None,
        minor: None,
        read: true,
        write: true,
        mknod: true,
    };
    for user in [false, true] {
        let unit = planned(
            "n",
            &Wanted {
                devices: std::slice::from_ref(&deny),
                user,
                ..plain()
            },
        );
        let policy = (!user).then(|| "strict".into());
        assert_eq!(value(&unit.unwrap(), "DevicePolicy"), policy.as_ref());
    }
}
