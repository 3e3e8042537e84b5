//! Where cgroups are made, and what is in the way of it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use serde_json::json;

use crate::support::leaks::Snapshot;
use crate::support::view::{self, hierarchies, hierarchy};
use crate::support::{Test, View, both_views, wait_until};

/// A process in a cgroup of v2. Ended and gone when it is dropped.
struct Stranger {
    child: Child,
    home: PathBuf,
}

impl Stranger {
    fn in_cgroup(dir: PathBuf) -> Self {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
        Self { child, home: dir }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        wait_until("an empty cgroup", || {
            fs::read_to_string(self.home.join("cgroup.procs")).is_ok_and(|text| text.is_empty())
        });
    }
}

/// Whether v2 has the controller that this host's tests of v2 rely on.
fn needs_hugetlb(t: &Test) {
    let root = hierarchies()
        .into_iter()
        .find(|(kind, _)| kind == "cgroup2");
    let list = root.map(|(_, root)| fs::read_to_string(root.join("cgroup.controllers")).unwrap());
    if list.is_none_or(|list| !list.contains("hugetlb")) {
        t.skip("the unified hierarchy has no hugetlb controller");
    }
}

const HUGE: &str = "4194304";

both_views! {
    fn a_nested_path_is_made_from_the_top_and_only_its_end_is_removed(t) {
        let mut bundle = t.bundle(&["exit", "0"], |_| {});
        let path = format!("/{}/outer/inner/{}", t.tag, bundle.id);
        bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(path));
        let container = t.create(&bundle);
        let made = view::cgroups(&container.id);
        assert_eq!(made.len(), hierarchies().len(), "{made:#?}");
        assert!(made.iter().all(|dir| dir.ends_with(path.trim_start_matches('/'))), "{made:#?}");
        container.delete().expect_ok();
        for (_, root) in hierarchies() {
            let outer = root.join(&t.tag).join("outer");
            // Others may have their cgroups there by now.
            fs::remove_dir(outer.join("inner")).unwrap();
            fs::remove_dir(outer).unwrap();
        }
    }

    fn a_failed_create_takes_back_the_parents_that_it_made(t) {
        t.only_orlop("runc leaves them");
        let mut bundle = t.bundle(&["exit", "0"], |config| config["process"]["args"] = json!(["/not-there"]));
        let path = format!("/{}/outer/inner/{}", t.tag, bundle.id);
        bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(path));
        let before = Snapshot::take(t);
        t.try_create(&bundle).expect_code(1);
        before.assert_unchanged(t, "after a failed create");
    }

    fn dots_in_a_path_are_refused_by_the_field(t) {
        t.only_orlop("runc cleans them away");
        for path in ["/../x", "a/../../x", ".."] {
            let bundle = t.bundle(&["exit", "0"], |config| config["linux"]["cgroupsPath"] = json!(path));
            let output = t.try_create(&bundle);
            output.expect_code(1).expect_words("(config.json: /linux/cgroupsPath)");
        }
    }

    fn huge_pages_are_limited_wherever_their_controller_is(t) {
        t.only_orlop("runc 1.1 does not look beside v1");
        needs_hugetlb(t);
        let container = t.create(&t.bundle(&["exit", "0"], |config| {
            config["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4_194_304}]);
        }));
        let root = hierarchies().into_iter().find(|(kind, _)| kind == "cgroup2").unwrap().1;
        let dir = root.join(&t.tag).join(&container.id);
        for file in ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"] {
            assert_eq!(fs::read_to_string(dir.join(file)).unwrap().trim(), HUGE, "{file}");
        }
        // So it is for a process that joins.
        let pid = container.pid();
        let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(table.lines().any(|line| line == format!("0::/{}/{}", t.tag, container.id)), "{table}");
        container.delete().expect_ok();
    }

    fn a_controller_that_is_not_handed_down_is_named_with_the_field(t) {
        t.only_orlop("runc says only that a file is not there");
        needs_hugetlb(t);
        let root = hierarchies().into_iter().find(|(kind, _)| kind == "cgroup2").unwrap().1;
        // A cgroup with a process cannot hand its controllers down.
        let stranger = Stranger::in_cgroup(root.join(&t.tag));
        let before = Snapshot::take(t);
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4_194_304}]);
        });
        let output = t.try_create(&bundle);
        before.assert_unchanged(t, "after a failed create");
        drop(stranger);
        output
            .expect_code(1)
            .expect_words("(config.json: /linux/resources/hugepageLimits/0)")
            .expect_words("does not hand the hugetlb controller down: it has processes of its own");
    }

    fn a_cgroup_that_can_only_hold_threads_is_refused(t) {
        t.only_orlop("runc 1.1 says in other words that it cannot be entered");
        if t.view == View::V1 {
            t.skip("cgroup v1 has threads everywhere");
        }
        let threads = hierarchy("").unwrap().join(&t.tag).join("threads");
        fs::create_dir(&threads).unwrap();
        fs::write(threads.join("cgroup.type"), "threaded").unwrap();
        let before = Snapshot::take(t);
        let mut bundle = t.bundle(&["exit", "0"], |_| {});
        let path = format!("/{}/threads/{}", t.tag, bundle.id);
        bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(path));
        let output = t.try_create(&bundle);
        before.assert_unchanged(t, "after a cgroup that cannot be entered");
        bundle.edit(|config| {
            config["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4_194_304}]);
        });
        let with_limit = t.try_create(&bundle);
        fs::remove_dir(&threads).unwrap();
        let words = "with domain controllers -- it is in an invalid state";
        output.expect_code(1).expect_words("cannot enter cgroupv2").expect_words(words);
        with_limit.expect_code(1).expect_words(words).expect_words("/linux/resources/hugepageLimits/0");
    }
}
