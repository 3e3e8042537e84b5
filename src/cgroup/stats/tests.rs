//! Statistics of directories that have the files of a kernel, as JSON to the letter.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;

/// A directory of the test's own for each hierarchy.
struct Fake(PathBuf);

impl Fake {
    fn new(name: &str) -> Self {
        let base = std::env::temp_dir().join(format!("orlop-stats-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir(&base).unwrap();
        Self(base)
    }

    fn put(&self, hierarchy: &str, files: &[(&str, &str)]) {
        let dir = self.0.join(hierarchy);
        fs::create_dir_all(&dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    /// With these keys of `cgroup_paths`, the empty one being the directory `unified`.
    fn read(&self, keys: &[&str]) -> Result<Stats> {
        let dir = |key: &str| self.0.join(if key.is_empty() { "unified" } else { key });
        let paths: BTreeMap<_, _> = keys.iter().map(|k| ((*k).to_owned(), dir(k))).collect();
        Cgroup::open(&paths).stats()
    }

    fn json(&self, keys: &[&str]) -> Value {
        serde_json::to_value(self.read(keys).unwrap()).unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const NO_CPUSET: &str = r#"{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0}"#;

fn fill_v2(fake: &Fake) {
    let idle = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n\
                full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
    fake.put("unified", &[
        ("cpu.stat", "usage_usec 1001\nuser_usec 700\nsystem_usec 301\nnice_usec 0\ncore_sched.force_idle_usec 0\n\
                      nr_periods 10\nnr_throttled 3\nthrottled_usec 5\nnr_bursts 0\nburst_usec 0\n"),
        ("cpu.pressure", "some avg10=1.50 avg60=0.22 avg300=3.00 total=44\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
        ("memory.stat", "anon 100\nfile 200\nkernel_stack -5\nsock 0\n"),
        ("memory.current", "4096\n"),
        ("memory.max", "33554432\n"),
        ("memory.peak", "8192\n"),
        ("memory.swap.current", "1000\n"),
        ("memory.swap.max", "max\n"),
        ("memory.swap.peak", "2000\n"),
        ("memory.pressure", idle),
        ("pids.current", "2\n"),
        ("pids.max", "max\n"),
        ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=7\n0:0 \n253:1 rbytes=0 wbytes=9\n"),
        ("io.pressure", idle),
    ]);
}

#[test]
fn v2_to_the_letter() {
    let fake = Fake::new("v2");
    fill_v2(&fake);
    let cpu = r#"{"usage":{"total":1001000,"kernel":301000,"user":700000},"throttling":{"periods":10,"throttledPeriods":3,"throttledTime":5000},"psi":{"some":{"avg10":1.5,"avg60":0.22,"avg300":3,"total":44}}}"#;
    let memory = r#"{"cache":200,"usage":{"limit":33554432,"usage":4096,"max":8192,"failcnt":0},"swap":{"limit":18446744073709551615,"usage":5096,"failcnt":0},"raw":{"anon":100,"file":200,"kernel_stack":0,"sock":0},"psi":{}}"#;
    let blkio = r#"{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":1},{"major":8,"op":"Write","value":2},{"major":253,"minor":1,"op":"Read"},{"major":253,"minor":1,"op":"Write","value":9}],"ioServicedRecursive":[{"major":8,"op":"Read","value":3},{"major":8,"op":"Write","value":4}],"psi":{}}"#;
    assert_eq!(
        serde_json::to_string(&fake.read(&[""]).unwrap()).unwrap(),
        format!(
            r#"{{"cpu":{cpu},"cpuset":{NO_CPUSET},"memory":{memory},"pids":{{"current":2}},"blkio":{blkio},"hugetlb":{{}}}}"#
        )
    );
}

#[test]
fn v2_without_controllers_has_time_processes_and_pressure() {
    let fake = Fake::new("v2-bare");
    fake.put(
        "unified",
        &[
            ("cpu.stat", "usage_usec 5\nuser_usec 0\nsystem_usec 5\n"),
            ("cgroup.procs", "1\n22\n333\n"),
        ],
    );
    let json = fake.json(&[""]);
    assert_eq!(
        json["cpu"],
        json!({"usage": {"total": 5000, "kernel": 5000, "user": 0}})
    );
    assert_eq!(json["pids"], json!({"current": 3}));
    assert_eq!(json["memory"], json!({}));
    assert_eq!(json["blkio"], json!({}));
    assert_eq!(fake.json(&[])["cpu"], json!({}), "no cgroup at all");
}

#[test]
fn v2_swap_is_told_in_v1s_manner() {
    let fake = Fake::new("v2-swap");
    fake.put(
        "unified",
        &[
            ("memory.stat", "file 0\n"),
            ("memory.current", "10\n"),
            ("memory.max", "100\n"),
        ],
    );
    let swap = || fake.json(&[""])["memory"]["swap"].clone();
    assert_eq!(swap(), json!({"limit": 100, "usage": 10, "failcnt": 0}));
    fake.put(
        "unified",
        &[
            ("memory.swap.current", "5\n"),
            ("memory.swap.max", "50\n"),
            ("memory.swap.peak", "7\n"),
        ],
    );
    assert_eq!(swap(), json!({"limit": 150, "usage": 15, "failcnt": 0}));
    fake.put("unified", &[("memory.max", "max\n")]);
    assert_eq!(swap()["limit"], json!(u64::MAX));
}

const V1: [&str; 6] = ["cpu", "cpuacct", "cpuset", "memory", "pids", "blkio"];

fn fill_v1(fake: &Fake) {
    fake.put(
        "cpu",
        &[(
            "cpu.stat",
            "nr_periods 4\nnr_throttled 2\nthrottled_time 99\nnr_bursts 0\n",
        )],
    );
    fake.put(
        "cpuacct",
        &[
            ("cpuacct.stat", "user 3\nsystem 2\n"),
            ("cpuacct.usage", "51234567\n"),
            ("cpuacct.usage_percpu", "40000000 11234567 \n"),
            (
                "cpuacct.usage_all",
                "cpu user system\n0 30000000 10000000\n1 11234567 0\n",
            ),
        ],
    );
    fake.put(
        "cpuset",
        &[
            ("cpuset.cpus", "0-2,5\n"),
            ("cpuset.mems", "0\n"),
            ("cpuset.sched_load_balance", "1\n"),
            ("cpuset.sched_relax_domain_level", "-1\n"),
            ("cpuset.memory_pressure", "0\n"),
        ],
    );
    for (kind, limit) in [
        ("memory", 100),
        ("memory.memsw", 200),
        ("memory.kmem", 300),
        ("memory.kmem.tcp", 400),
    ] {
        let put = |suffix: &str, value: u64| {
            fake.put(
                "memory",
                &[(&format!("{kind}.{suffix}"), &format!("{value}\n"))],
            );
        };
        put("usage_in_bytes", limit / 10);
        put("max_usage_in_bytes", limit / 5);
        put("failcnt", limit / 100);
        put("limit_in_bytes", limit);
    }
    fake.put("memory", &[("memory.stat", "cache 7\nrss 9\n")]);
    fake.put("pids", &[("pids.current", "1\n"), ("pids.max", "20\n")]);
    fake.put(
        "blkio",
        &[
            (
                "blkio.throttle.io_serviced_recursive",
                "8:16 Read 1\n8:16 Total 1\nTotal 1\n",
            ),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "8:16 Read 4096\n8:16 Total 4096\nTotal 4096\n",
            ),
            ("blkio.throttle.io_serviced", "Total 0\n"),
        ],
    );
}

#[test]
fn v1_to_the_letter() {
    let fake = Fake::new("v1");
    fill_v1(&fake);
    let cpu = r#"{"usage":{"total":51234567,"percpu":[40000000,11234567],"percpu_kernel":[10000000,0],"percpu_user":[30000000,11234567],"kernel":20000000,"user":30000000},"throttling":{"periods":4,"throttledPeriods":2,"throttledTime":99}}"#;
    let cpuset = r#"{"cpus":[0,1,2,5],"cpu_exclusive":0,"mems":[0],"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":1,"sched_relax_domain_level":-1}"#;
    let memory = r#"{"cache":7,"usage":{"limit":100,"usage":10,"max":20,"failcnt":1},"swap":{"limit":200,"usage":20,"max":40,"failcnt":2},"kernel":{"limit":300,"usage":30,"max":60,"failcnt":3},"kernelTCP":{"limit":400,"usage":40,"max":80,"failcnt":4},"raw":{"cache":7,"rss":9}}"#;
    let blkio = r#"{"ioServiceBytesRecursive":[{"major":8,"minor":16,"op":"Read","value":4096},{"major":8,"minor":16,"op":"Total","value":4096}],"ioServicedRecursive":[{"major":8,"minor":16,"op":"Read","value":1},{"major":8,"minor":16,"op":"Total","value":1}]}"#;
    assert_eq!(
        serde_json::to_string(&fake.read(&V1).unwrap()).unwrap(),
        format!(
            r#"{{"cpu":{cpu},"cpuset":{cpuset},"memory":{memory},"pids":{{"current":1,"limit":20}},"blkio":{blkio},"hugetlb":{{}}}}"#
        )
    );
}

#[test]
fn a_v1_hierarchy_that_is_not_there_leaves_its_part_empty() {
    let fake = Fake::new("v1-absent");
    let json = fake.json(&V1);
    for part in ["cpu", "memory", "pids", "blkio"] {
        assert_eq!(json[part], json!({}), "{part}");
    }
}

#[test]
fn a_hybrid_host_has_the_rest_in_its_unified_hierarchy() {
    let fake = Fake::new("hybrid");
    fill_v1(&fake);
    fill_v2(&fake);
    let keys = [&V1[..], &[""]].concat();
    assert_eq!(fake.json(&keys), fake.json(&V1));
    let without_memory: Vec<_> = keys.iter().copied().filter(|k| *k != "memory").collect();
    let mut expected = fake.json(&V1);
    expected["memory"] = fake.json(&[""])["memory"].clone();
    assert_eq!(fake.json(&without_memory), expected);
}

#[test]
fn the_files_of_the_disks_scheduler_come_first() {
    let fake = Fake::new("blkio");
    fill_v1(&fake);
    let blkio = || fake.json(&["blkio"])["blkio"].clone();
    fake.put(
        "blkio",
        &[
            ("blkio.bfq.io_serviced_recursive", "8:0 Read 5\nTotal 5\n"),
            (
                "blkio.bfq.io_service_bytes_recursive",
                "8:0 Read 50\nTotal 50\n",
            ),
        ],
    );
    assert_eq!(
        blkio(),
        json!({
            "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 5}],
            "ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 50}],
        })
    );
    fake.put(
        "blkio",
        &[
            ("blkio.bfq.sectors_recursive", "8:0 100\n"),
            (
                "blkio.bfq.io_service_time_recursive",
                "8:0 Read 7\nTotal 7\n",
            ),
            ("blkio.bfq.io_wait_time_recursive", "8:0 Read 8\nTotal 8\n"),
            ("blkio.bfq.io_merged_recursive", "8:0 Read 9\nTotal 9\n"),
            ("blkio.bfq.io_queued_recursive", "8:0 Read 10\nTotal 10\n"),
            ("blkio.bfq.time_recursive", "8:0 11\n"),
        ],
    );
    let names: Vec<_> = blkio().as_object().unwrap().keys().cloned().collect();
    let sorted = [
        "ioMergedRecursive",
        "ioQueueRecursive",
        "ioServiceBytesRecursive",
        "ioServiceTimeRecursive",
        "ioServicedRecursive",
        "ioTimeRecursive",
        "ioWaitTimeRecursive",
        "sectorsRecursive",
    ];
    assert_eq!(names, sorted);
    assert_eq!(
        blkio()["sectorsRecursive"],
        json!([{"major": 8, "value": 100}])
    );
}

#[test]
fn huge_pages_are_named_as_the_controller_names_them() {
    assert_eq!(hugetlb::page_size("hugepages-64kB").unwrap(), "64KB");
    assert_eq!(hugetlb::page_size("hugepages-2048kB").unwrap(), "2MB");
    assert_eq!(hugetlb::page_size("hugepages-1048576kB").unwrap(), "1GB");
    assert_eq!(hugetlb::page_size("hugepages-2048"), None);

    let fake = Fake::new("hugetlb");
    let sizes = ["2MB".to_owned(), "1GB".to_owned()];
    fake.put(
        "unified",
        &[
            ("hugetlb.2MB.current", "1\n"),
            ("hugetlb.2MB.rsvd.current", "4194304\n"),
            ("hugetlb.2MB.events", "max 3\n"),
            ("hugetlb.1GB.current", "0\n"),
        ],
    );
    let json = |read: fn(&Files, &[String]) -> Result<hugetlb::ByPageSize>, dir: &str| {
        serde_json::to_value(read(&Files::new(&fake.0.join(dir)), &sizes).unwrap()).unwrap()
    };
    let expected = json!({"2MB": {"usage": 4_194_304, "failcnt": 3}, "1GB": {"failcnt": 0}});
    assert_eq!(json(hugetlb::v2, "unified"), expected);

    fake.put(
        "hugetlb",
        &[
            ("hugetlb.2MB.usage_in_bytes", "2097152\n"),
            ("hugetlb.2MB.max_usage_in_bytes", "6291456\n"),
            ("hugetlb.2MB.failcnt", "1\n"),
        ],
    );
    let expected = json!({"2MB": {"usage": 2_097_152, "max": 6_291_456, "failcnt": 1}});
    assert_eq!(json(hugetlb::v1, "hugetlb"), expected);
}

#[test]
fn what_cannot_be_read_is_an_error_that_names_the_file() {
    let fake = Fake::new("broken");
    for (name, text) in [
        ("cpu.stat", "usage_usec\n"),
        ("cpu.stat", "usage_usec 12x\n"),
        ("cpu.pressure", "some avg10=x\n"),
        ("memory.stat", "anon 18446744073709551616\n"),
        ("pids.current", "\n"),
        ("io.stat", "8:x rbytes=1\n"),
        ("io.stat", "8:0 rbytes=\n"),
    ] {
        fake.put("unified", &[(name, text)]);
        let error = fake.read(&[""]).unwrap_err().to_string();
        assert!(
            error.starts_with("unable to get container cgroup stats: "),
            "{error}"
        );
        assert!(error.ends_with(&format!("/unified/{name}")), "{error}");
        fs::remove_file(fake.0.join("unified").join(name)).unwrap();
    }
    let long = "x".repeat(5 << 20);
    fake.put("unified", &[("io.stat", &long)]);
    assert!(
        fake.read(&[""])
            .unwrap_err()
            .to_string()
            .contains("file too large")
    );
    fake.put("cpuset", &[("cpuset.cpus", "3-1\n")]);
    assert!(fake.read(&["cpuset"]).is_err());
}
