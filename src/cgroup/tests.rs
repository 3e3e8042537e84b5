//! Against this machine's cgroups, as root: each test in a parent cgroup of its own. On a v2
//! host the same tests run there.

mod judged;

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::json;

use super::*;
use crate::host::Host;

/// A cgroup for one test; its parents go with it.
struct Place {
    parent: String,
    plan: crate::plan::Cgroup,
}

impl Place {
    /// None, with a line that says so, without root.
    fn new(name: &str, resources: serde_json::Value) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: {name} needs root");
            return None;
        }
        let parent = format!("orlop-test-{}-{name}", std::process::id());
        let linux = json!({"cgroupsPath": format!("/{parent}/in/box"), "resources": resources});
        let linux = serde_json::from_value(linux).unwrap();
        let plan = crate::plan::cgroup::plan(
            Some(&linux),
            "box",
            Path::new("/b"),
            &Default::default(),
            &Host::new(),
            &mut Vec::new(),
        )
        .unwrap();
        Some(Self { parent, plan })
    }

    fn create(&self) -> Result<Cgroup> {
        Cgroup::create(&self.plan)
    }

    /// What is left below the mounts, which should be nothing.
    fn leftovers(&self) -> Vec<PathBuf> {
        let parents = self
            .plan
            .dirs
            .iter()
            .map(|dir| dir.mount.join(&self.parent));
        parents.filter(|path| path.exists()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A test that failed half-way leaves no process, frozen or not.
        let own = |dir: &crate::plan::CgroupDir| {
            let keys = dir.controllers.iter().cloned();
            keys.map(|key| (key, dir.dir.clone())).collect::<Vec<_>>()
        };
        let own = Cgroup::open(&self.plan.dirs.iter().flat_map(own).collect());
        let _ = own.kill_all(libc::SIGKILL);
        let _ = own.thaw();
        let paths = self.plan.dirs.iter().map(|dir| {
            let parent = dir.mount.join(&self.parent);
            (parent.display().to_string(), parent)
        });
        let parents = Cgroup::open(&paths.collect());
        let _ = parents.remove();
    }
}

/// A shell in the cgroup. It is started by a thread that has entered the v1 hierarchies, and
/// writes itself into the unified one.
fn shell(cgroup: &Cgroup, script: &str) -> Child {
    let unified = cgroup.unified_dir().map_or(String::new(), |dir| {
        format!("echo 0 >{}/cgroup.procs; ", dir.display())
    });
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{unified}echo; {script}")]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let start = || {
        cgroup.enter().unwrap();
        command.spawn().unwrap()
    };
    let mut child = std::thread::scope(|scope| scope.spawn(start).join()).unwrap();
    let ready = child.stdout.as_mut().unwrap().read_exact(&mut [0]);
    ready.unwrap();
    child
}

/// The status of a child that must end soon.
fn end_of(child: &mut Child) -> std::process::ExitStatus {
    for _ in 0..500 {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("process {} did not end", child.id());
}

fn value(cgroup: &Cgroup, controller: &str, file: &str) -> String {
    let dir = cgroup.v1_dir(controller).unwrap();
    file::read(&dir.join(file)).unwrap().trim().to_owned()
}

fn is_v1(cgroup: &Cgroup) -> bool {
    cgroup.v1_dir("memory").is_some()
}

#[test]
fn limits_are_what_the_kernel_says() {
    let on_v1 = Layout::probe().unwrap().v1_with("memory").is_some();
    let resources = match on_v1 {
        true => json!({
            "memory": {"limit": 50 << 20, "swap": 60 << 20, "reservation": 20 << 20, "swappiness": 7},
            "cpu": {"shares": 300, "quota": 20_000, "period": 50_000, "burst": 1000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 33},
        }),
        false => json!({}),
    };
    let Some(place) = Place::new("limits", resources) else {
        return;
    };
    let cgroup = place.create().unwrap();
    if on_v1 {
        for (controller, file, expected) in [
            ("memory", "memory.limit_in_bytes", "52428800"),
            ("memory", "memory.memsw.limit_in_bytes", "62914560"),
            ("memory", "memory.soft_limit_in_bytes", "20971520"),
            ("memory", "memory.swappiness", "7"),
            ("cpu", "cpu.shares", "300"),
            ("cpu", "cpu.cfs_quota_us", "20000"),
            ("cpu", "cpu.cfs_period_us", "50000"),
            ("cpu", "cpu.cfs_burst_us", "1000"),
            ("cpuset", "cpuset.cpus", "0"),
            ("cpuset", "cpuset.mems", "0"),
            ("pids", "pids.max", "33"),
        ] {
            assert_eq!(value(&cgroup, controller, file), expected, "{file}");
        }
    }
    cgroup.remove().unwrap();
}

#[test]
fn limits_that_bound_each_other_are_raised_and_lowered() {
    if Layout::probe().unwrap().v1_with("memory").is_none() {
        eprintln!("SKIPPED: no memory controller on v1");
        return;
    }
    for (step, mib) in [("first", 50), ("raised", 100), ("lowered", 20)] {
        let memory = json!({"limit": mib << 20, "swap": (mib + 10) << 20});
        let cpu = json!({"quota": mib * 1000, "burst": mib * 900});
        let resources = json!({"memory": memory, "cpu": cpu});
        // The same cgroup each time: it is there already, and empty.
        let Some(place) = Place::new("bounds", resources) else {
            return;
        };
        let cgroup = place.create().unwrap();
        let limit = value(&cgroup, "memory", "memory.limit_in_bytes");
        assert_eq!(limit, (mib << 20).to_string(), "{step}");
        let burst = value(&cgroup, "cpu", "cpu.cfs_burst_us");
        assert_eq!(burst, (mib * 900).to_string(), "{step}");
        if step != "lowered" {
            std::mem::forget(place);
        }
    }
}

#[test]
fn huge_pages_are_limited_where_only_the_unified_hierarchy_can() {
    let layout = Layout::probe().unwrap();
    if !layout
        .v2
        .is_some_and(|v2| v2.controllers.iter().any(|c| c == "hugetlb"))
    {
        eprintln!("SKIPPED: no hugetlb controller in the unified hierarchy");
        return;
    }
    let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]});
    let Some(place) = Place::new("hugetlb", limits) else {
        return;
    };
    let cgroup = place.create().unwrap();
    assert_eq!(value(&cgroup, "", "hugetlb.2MB.max"), "4194304");
    assert_eq!(value(&cgroup, "", "hugetlb.2MB.rsvd.max"), "4194304");
    cgroup.remove().unwrap();
}

#[test]
fn a_step_that_fails_leaves_nothing() {
    let resources = match Layout::probe().unwrap().v1.is_empty() {
        false => json!({"cpu": {"cpus": "999-1000"}}),
        true => json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}),
    };
    let Some(place) = Place::new("undo", resources) else {
        return;
    };
    let error = place.create().unwrap_err();
    assert!(error.to_string().contains("/linux/resources/"), "{error}");
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn a_cgroup_in_use_is_refused() {
    let Some(place) = Place::new("used", json!({})) else {
        return;
    };
    let cgroup = place.create().unwrap();
    let mut child = shell(&cgroup, "read x");
    let error = place.create().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("container's cgroup is not empty: 1 process(es) found"),
        "{error}"
    );
    assert!(
        cgroup.main_dir().unwrap().exists(),
        "another's cgroup was removed"
    );
    drop(child.stdin.take());
    child.wait().unwrap();

    // Empty, it is taken as it is.
    drop(place.create().unwrap());
    cgroup.freeze().unwrap();
    let error = place.create().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("container's cgroup unexpectedly frozen"),
        "{error}"
    );
    cgroup.remove().unwrap();
}

#[test]
fn state_json_leads_back_to_the_cgroup() {
    let Some(place) = Place::new("paths", json!({})) else {
        return;
    };
    let cgroup = place.create().unwrap();
    let paths = cgroup.paths();
    assert!(paths.values().all(|path| path.ends_with("in/box")));
    if is_v1(&cgroup) {
        assert!(
            ["memory", "devices", "freezer", "name=systemd"]
                .iter()
                .all(|k| paths.contains_key(*k))
        );
    } else {
        assert_eq!(paths.keys().collect::<Vec<_>>(), [""]);
    }
    let mut child = shell(&cgroup, "read x");
    let again = Cgroup::open(&paths);
    assert_eq!(
        again.pids().unwrap(),
        [nix::unistd::Pid::from_raw(child.id() as i32)]
    );
    drop(child.stdin.take());
    child.wait().unwrap();
    again.remove().unwrap();
    assert!(!cgroup.main_dir().unwrap().exists());
}

#[test]
fn the_frozen_stand_still_and_the_thawed_go_on() {
    let Some(place) = Place::new("freeze", json!({})) else {
        return;
    };
    let cgroup = place.create().unwrap();
    let mut child = shell(&cgroup, "while read x; do echo $x; done");
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut answer = [0; 2];
    to.write_all(b"1\n").unwrap();
    from.read_exact(&mut answer).unwrap();

    assert!(!cgroup.is_frozen().unwrap());
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen().unwrap());
    to.write_all(b"2\n").unwrap();
    let silence = nix::poll::poll(
        &mut [nix::poll::PollFd::new(
            from.as_fd(),
            nix::poll::PollFlags::POLLIN,
        )],
        50_u8,
    );
    assert_eq!(silence, Ok(0), "a frozen process answered");
    cgroup.thaw().unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    from.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"2\n");

    // SIGKILL reaches a frozen container, and its cgroup can be removed at once.
    cgroup.freeze().unwrap();
    cgroup.kill_all(libc::SIGKILL).unwrap();
    assert_eq!(end_of(&mut child).signal(), Some(Signal::SIGKILL as i32));
    assert!(!cgroup.is_frozen().unwrap());
    cgroup.remove().unwrap();
}

#[test]
fn nobody_escapes_a_signal_to_all() {
    let Some(place) = Place::new("kill", json!({})) else {
        return;
    };
    let cgroup = place.create().unwrap();
    let mut child = shell(
        &cgroup,
        "(while :; do sleep 100 & done) 2>&1 & sleep 100 & echo; wait",
    );
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    assert!(cgroup.pids().unwrap().len() > 1);
    cgroup.kill_all(libc::SIGKILL).unwrap();
    child.wait().unwrap();
    // The orphans are reaped by whoever adopts them; remove waits for that.
    cgroup.remove().unwrap();
    assert!(!cgroup.main_dir().unwrap().exists());
}

#[test]
fn exec_follows_init_where_the_cgroup_takes_no_processes() {
    let Some(place) = Place::new("exec", json!({})) else {
        return;
    };
    let cgroup = place.create().unwrap();
    let init = nix::unistd::Pid::this();
    assert_eq!(cgroup.for_exec(&[]).unwrap().paths(), cgroup.paths());
    let instead = |errno| {
        let error = Error::sys("clone", errno);
        cgroup.instead(&error, init).unwrap().is_some()
    };
    let v2 = Layout::probe().unwrap().is_v2_only();
    assert_eq!([Errno::EBUSY, Errno::ENOENT].map(instead), [v2, v2]);
    assert!(!instead(Errno::EACCES));
    cgroup.remove().unwrap();
}

#[test]
fn children_go_with_the_cgroup() {
    let Some(place) = Place::new("nested", json!({})) else {
        return;
    };
    let cgroup = place.create().unwrap();
    for path in cgroup.paths().values() {
        std::fs::create_dir_all(path.join("a/b")).unwrap();
    }
    cgroup.remove().unwrap();
    assert!(cgroup.paths().values().all(|path| !path.exists()));
    cgroup.remove().unwrap();
}

#[test]
fn devices_are_refused_but_for_the_allowed() {
    let rules = json!({"devices": [
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
    ]});
    let Some(place) = Place::new("devices", rules) else {
        return;
    };
    let cgroup = place.create().unwrap();
    // 1:11 is /dev/kmsg: allowed for reading. 1:1 is /dev/mem: not allowed, but made.
    let script = "cd $(mktemp -d) || exit 9
        mknod kmsg c 1 11 && mknod mem c 1 1 && mknod null c 1 3 || exit 8
        try() { if eval \"$1\" 2>/dev/null; then echo \"$1 yes\"; else echo \"$1 no\"; fi; }
        try 'true <kmsg'; try 'true >kmsg'; try 'true <mem'; try 'true >null'; try 'true <>null'
        rm -r \"$PWD\"";
    let output = shell(&cgroup, script).wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "true <kmsg yes\ntrue >kmsg no\ntrue <mem no\ntrue >null yes\ntrue <>null yes\n"
    );
    cgroup.remove().unwrap();
}

#[test]
fn a_device_program_is_replaced_by_one_alone() {
    let Some(place) = Place::new("replace", json!({})) else {
        return;
    };
    let Some(unified) = place.plan.dirs.iter().find(|d| d.controllers == [""]) else {
        eprintln!("SKIPPED: no unified hierarchy");
        return;
    };
    let cgroup = place.create().unwrap();
    let fd = open_dir(&unified.dir).unwrap();
    let attached = || crate::sys::bpf::attached(fd.as_fd()).unwrap().len();
    let before = attached();
    let rules = [
        devices::tests::rule("allow a"),
        devices::tests::rule("deny c 1:8 rwm"),
    ];
    let table = devices::Table::new(&rules).unwrap();
    program::replace(fd.as_fd(), &table).unwrap();
    program::replace(fd.as_fd(), &table).unwrap();
    assert_eq!(attached(), 1);
    assert!(before <= 1);
    if before == 0 {
        // A hybrid host: v1 has the rules, so what this program denies it denies alone.
        let script = "head -c1 /dev/zero >/dev/null && ! head -c1 /dev/random 2>&1 >/dev/null";
        assert!(shell(&cgroup, script).wait().unwrap().success());
    }
    cgroup.remove().unwrap();
}

#[test]
fn the_directory_for_clone_is_the_unified_one() {
    let Some(place) = Place::new("fd", json!({})) else {
        return;
    };
    let mut cgroup = place.create().unwrap();
    let unified = cgroup.unified_dir().map(Path::to_owned);
    let link = cgroup
        .take_v2_fd()
        .unwrap()
        .map(|fd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap());
    assert_eq!(link, unified);
    cgroup.remove().unwrap();
}

#[test]
fn a_death_for_want_of_memory_is_seen() {
    if Layout::probe().unwrap().v1_with("memory").is_none() {
        eprintln!("SKIPPED: no memory controller on v1");
        return;
    }
    let memory = json!({"memory": {"limit": 8 << 20, "swap": 8 << 20}});
    let Some(place) = Place::new("oom", memory) else {
        return;
    };
    let cgroup = place.create().unwrap();
    assert!(shell(&cgroup, "true").wait().unwrap().success());
    assert!(!cgroup.oom_killed());
    let status = shell(&cgroup, "exec tail /dev/zero").wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
    assert!(cgroup.oom_killed());
    cgroup.remove().unwrap();
}

/// A plan for a place where nobody may make a directory, root included.
fn forbidden(optional: bool, keys: &[&str]) -> crate::plan::Cgroup {
    let controllers: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let field = "/linux/resources/pids/limit".to_owned();
    crate::plan::Cgroup {
        path: "/box".into(),
        dirs: vec![crate::plan::CgroupDir {
            controllers: controllers.clone(),
            mount: "/sys/kernel".into(),
            dir: "/sys/kernel/orlop-test".into(),
        }],
        enable: Vec::new(),
        writes: vec![crate::plan::CgroupWrite {
            field,
            controller: controllers[0].clone(),
            file: "pids.max".to_owned(),
            value: "1".to_owned(),
            missing: crate::plan::Missing::Refuse,
        }],
        devices: vec![devices::tests::rule("deny a")],
        resources: None,
        optional,
        rootless: true,
        unit: None,
        owner: None,
    }
}

#[test]
fn without_permission_no_limits_work_and_limits_say_why_not() {
    let mut plan = forbidden(true, &["pids"]);
    let error = Cgroup::create(&plan).unwrap_err().to_string();
    let words = "cannot set pids limit: container could not join or create cgroup";
    assert!(error.starts_with(words), "{error}");

    plan.writes.clear();
    let cgroup = Cgroup::create(&plan).unwrap();
    assert!(cgroup.paths().is_empty());
    cgroup.enter().unwrap();
    cgroup.remove().unwrap();
    assert_eq!(cgroup.pids().unwrap(), []);

    let error = Cgroup::create(&forbidden(true, &[""]))
        .unwrap_err()
        .to_string();
    let words =
        "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
    assert!(error.contains(words), "{error}");

    // A cgroup that was asked for must be had.
    let mut plan = forbidden(false, &["pids"]);
    plan.writes.clear();
    let error = Cgroup::create(&plan).unwrap_err().to_string();
    assert!(
        error.starts_with("unable to apply cgroup configuration: mkdir"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_frozen_is_thawed() {
    // Directories that play a cgroup: the kernel's own freeze whatever they are told to.
    let dir = std::env::temp_dir().join(format!("orlop-freezer-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();

    // Nothing says whether it is frozen.
    std::fs::write(dir.join("cgroup.freeze"), "0").unwrap();
    let v2 = Cgroup::open(&[(UNIFIED.to_owned(), dir.clone())].into());
    assert!(v2.freeze().is_err());
    assert_eq!(read("cgroup.freeze"), "0");

    // It never becomes FROZEN: what is written there leaves a rest.
    std::fs::write(dir.join("freezer.state"), "FREEZING").unwrap();
    let v1 = Cgroup::open(&[("freezer".to_owned(), dir.clone())].into());
    let error = v1.freeze().unwrap_err().to_string();
    assert!(error.starts_with("unable to freeze"), "{error}");
    assert!(read("freezer.state").starts_with("THAWED"));
    std::fs::remove_dir_all(&dir).unwrap();
}
