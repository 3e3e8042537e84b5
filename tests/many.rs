//! Many containers with limits, one after another and at the same time: nothing stays behind.
//!
//! A few by default. `make test-many` sets ORLOP_TEST_MANY to `1000,100`: how many in a row,
//! and how many at once.

use std::env;

use serde_json::{Value, json};

use crate::support::leaks::Snapshot;
use crate::support::view::hierarchies;
use crate::support::{Bundle, Test, View, both_views, wait_until};

fn numbers() -> (usize, usize) {
    let text = env::var("ORLOP_TEST_MANY").unwrap_or_else(|_| "12,8".to_owned());
    let (row, at_once) = text.split_once(',').expect("ORLOP_TEST_MANY=ROW,AT_ONCE");
    (row.parse().unwrap(), at_once.parse().unwrap())
}

/// What the view's controllers can limit. Without a cgroupsPath, so that one bundle does for
/// containers of many names.
fn limited(t: &Test, args: &[&str]) -> Bundle {
    let limits: Value = match t.view {
        View::V1 => {
            json!({"memory": {"limit": 64 << 20}, "cpu": {"shares": 512}, "pids": {"limit": 20}})
        }
        View::V2 => {
            let list =
                std::fs::read_to_string(hierarchies()[0].1.join("cgroup.controllers")).unwrap();
            match list.contains("hugetlb") {
                true => json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}),
                false => json!({}),
            }
        }
    };
    t.bundle(args, |config| {
        config["linux"]
            .as_object_mut()
            .unwrap()
            .remove("cgroupsPath");
        for (key, value) in limits.as_object().unwrap() {
            config["linux"]["resources"][key] = value.clone();
        }
    })
}

both_views! {
    fn containers_in_a_row_leave_nothing(t) {
        let bundle = limited(t, &["exit", "7"]);
        let before = Snapshot::take(t);
        for _ in 0..numbers().0 {
            t.run(&bundle).expect_code(7);
        }
        before.assert_unchanged(t, "after containers in a row");
    }

    fn containers_at_the_same_time_leave_nothing(t) {
        let bundle = limited(t, &["sleep"]);
        let before = Snapshot::take(t);
        let ids: Vec<String> = (0..numbers().1).map(|n| format!("{}-{n}", bundle.id)).collect();
        // Each verb for all, before the next.
        let all = |args: &[&str]| {
            let call = |id: &String| t.runtime.command(&[args, &[id]].concat());
            let running: Vec<_> = ids.iter().map(|id| t.runtime.spawn(call(id))).collect();
            running.into_iter().for_each(|call| {
                call.wait().expect_ok();
            });
        };
        all(&["create", "--bundle", bundle.path()]);
        all(&["start"]);
        let list = t.runtime.call(&["list", "--quiet"]);
        assert_eq!(list.expect_ok().stdout.lines().count(), ids.len());
        for id in &ids {
            t.runtime.call(&["kill", id, "KILL"]).expect_ok();
        }
        for id in &ids {
            wait_until("a stopped container", || {
                t.runtime.call(&["state", id]).stdout.contains("\"stopped\"")
            });
        }
        all(&["delete"]);
        before.assert_unchanged(t, "after containers at the same time");
    }
}
