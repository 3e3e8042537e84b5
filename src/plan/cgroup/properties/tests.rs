use super::*;
use crate::cgroup::devices::tests::rule;
use crate::plan::Missing;

const V2: Host = Host {
    v2: true,
    version: 255,
};
const V1: Host = Host {
    v2: false,
    version: 247,
};

/// `NAME=VALUE` of each property of these writes.
fn of(host: Host, files: &[(&str, &str)]) -> Vec<String> {
    let write = |(file, value): &(&str, &str)| CgroupWrite {
        field: String::new(),
        controller: if host.v2 { "" } else { "x" }.to_owned(),
        file: (*file).to_owned(),
        value: (*value).to_owned(),
        missing: Missing::Refuse,
    };
    let writes: Vec<CgroupWrite> = files.iter().map(write).collect();
    of_writes(&writes, host).iter().map(shown).collect()
}

fn shown(property: &Property) -> String {
    let value = match &property.value {
        Value::Uint64(u64::MAX) => "infinity".to_owned(),
        Value::Uint64(number) => number.to_string(),
        Value::Array(_, values) => format!("{values:?}"),
        other => format!("{other:?}"),
    };
    format!("{}={value}", property.name)
}

#[test]
fn limits_of_v2() {
    assert_eq!(
        of(
            V2,
            &[
                ("memory.max", "100"),
                ("memory.high", "90"),
                ("memory.low", "max"),
                ("memory.min", "1"),
                ("memory.swap.max", "0"),
                ("cpu.weight", "50"),
                ("pids.max", "max"),
                ("hugetlb.2MB.max", "5"),
            ]
        ),
        [
            "MemoryMax=100",
            "MemoryHigh=90",
            "MemoryLow=infinity",
            "MemoryMin=1",
            "MemorySwapMax=0",
            "CPUWeight=50",
            "TasksMax=infinity"
        ]
    );
    // As with the files, the later value holds.
    assert_eq!(
        of(V2, &[("memory.max", "1"), ("memory.max", " 2\n")]),
        ["MemoryMax=2"]
    );
    assert_eq!(of(V2, &[("pids.max", "0")]), ["TasksMax=1"]);
}

#[test]
fn limits_of_v1() {
    assert_eq!(
        of(
            V1,
            &[
                ("memory.limit_in_bytes", "-1"),
                ("cpu.shares", "512"),
                ("cpu.cfs_period_us", "50000"),
                ("cpu.cfs_quota_us", "25001"),
                ("blkio.weight", "300"),
                ("pids.max", "9"),
            ]
        ),
        [
            "MemoryLimit=infinity",
            "CPUShares=512",
            "BlockIOWeight=300",
            "TasksMax=9",
            "CPUQuotaPeriodUSec=50000",
            "CPUQuotaPerSecUSec=510000",
        ]
    );
    // The unified hierarchy beside v1 is not systemd's to limit.
    let write = CgroupWrite {
        field: String::new(),
        controller: String::new(),
        file: "pids.max".to_owned(),
        value: "1".to_owned(),
        missing: Missing::Refuse,
    };
    assert_eq!(of_writes(&[write], V1), []);
}

#[test]
fn what_a_systemd_does_not_know_it_is_not_told() {
    let files = [
        ("cpu.max", "1 2000"),
        ("cpuset.cpus", "0"),
        ("cpu.idle", "1"),
        ("cpu.weight", "7"),
    ];
    let of = |version| of(Host { version, ..V2 }, &files);
    assert_eq!(of(241), ["CPUWeight=7", "CPUQuotaPerSecUSec=10000"]);
    assert_eq!(
        of(243),
        [
            "CPUWeight=7",
            "CPUQuotaPeriodUSec=2000",
            "CPUQuotaPerSecUSec=10000"
        ]
    );
    assert_eq!(
        of(252),
        [
            "CPUWeight=0",
            "AllowedCPUs=[Byte(1)]",
            "CPUQuotaPeriodUSec=2000",
            "CPUQuotaPerSecUSec=10000"
        ]
    );
}

#[test]
fn a_quota_is_a_share_of_a_second() {
    for (text, share) in [
        ("max", "infinity"),
        ("max 50000", "infinity"),
        ("100000", "1000000"),
        ("50000 100000", "500000"),
        ("1 100000", "10000"),
        ("33333 100000", "340000"),
        ("18446744073709551615 1", "infinity"),
    ] {
        let properties = of(V2, &[("cpu.max", text)]);
        let expected = format!("CPUQuotaPerSecUSec={share}");
        assert_eq!(properties.last(), Some(&expected), "{text}");
    }
    // What the kernel will refuse is no affair of systemd's.
    assert_eq!(of(V2, &[("cpu.max", "x")]), Vec::<String>::new());
    assert_eq!(of(V2, &[("cpu.max", "")]), Vec::<String>::new());
}

#[test]
fn sets_of_cpus_are_bits() {
    assert_eq!(bits("0"), Some(vec![1]));
    assert_eq!(bits("1,3-5, 8"), Some(vec![0b11_1010, 1]));
    assert_eq!(bits("16"), Some(vec![0, 0, 1]));
    assert_eq!(bits(""), None);
    assert_eq!(bits("x"), None);
}

#[test]
fn the_oom_killer_may_take_all() {
    let policy = |value: &str, version| {
        let write = CgroupWrite {
            field: String::new(),
            controller: String::new(),
            file: "memory.oom.group".to_owned(),
            value: value.to_owned(),
            missing: Missing::Refuse,
        };
        oom_policy(&[write], Host { version, ..V2 }).map(|p| p.value)
    };
    assert_eq!(policy("1", 253), Some("kill".into()));
    assert_eq!(policy("0", 253), Some("continue".into()));
    assert_eq!(policy("1", 252), None);
}

fn devices(host: Host, rules: &[&str]) -> (String, Vec<String>) {
    let rules: Vec<DeviceRule> = rules.iter().map(|text| rule(text)).collect();
    let [policy, allowed] = &of_devices(&rules, host)[..] else {
        panic!("two properties");
    };
    assert_eq!(policy.name, "DevicePolicy");
    assert_eq!(allowed.name, "DeviceAllow");
    let Value::Array(_, lines) = &allowed.value else {
        panic!("an array");
    };
    let line = |line: &Value| match line {
        Value::Struct(fields) => fields
            .iter()
            .filter_map(Value::text)
            .collect::<Vec<_>>()
            .join(" "),
        other => panic!("{other:?}"),
    };
    let policy = policy.value.text().unwrap().to_owned();
    (policy, lines.iter().map(line).collect())
}

#[test]
fn devices_are_allowed_one_by_one() {
    let list = [
        "deny a",
        "allow c 1:3 rwm",
        "allow c 136:* rw",
        "allow b *:* m",
    ];
    for host in [V1, V2] {
        let (policy, lines) = devices(host, &list);
        assert_eq!(policy, "strict");
        assert_eq!(lines, ["/dev/char/1:3 rwm", "char-136 rw", "block-* m"]);
    }
    assert_eq!(of_devices(&[], V2), []);
}

#[test]
fn rules_that_systemd_cannot_have_whole() {
    let odd = ["deny a", "allow c 1:3 rwm", "allow c *:5 r"];
    let nothing: Vec<String> = Vec::new();
    assert_eq!(devices(V2, &odd), ("auto".to_owned(), nothing.clone()));
    assert_eq!(
        devices(V1, &odd),
        ("strict".to_owned(), vec!["/dev/char/1:3 rwm".to_owned()])
    );
    let but_one = ["allow a", "deny c 1:3 rwm"];
    assert_eq!(devices(V2, &but_one).0, "auto");
    assert_eq!(
        devices(V1, &but_one),
        ("strict".to_owned(), nothing.clone())
    );
    for host in [V1, V2] {
        assert_eq!(
            devices(host, &["allow a"]),
            ("auto".to_owned(), nothing.clone())
        );
    }
}
