//! More privileges than the config gives.

use serde_json::json;

use crate::support::{Probe, both_views, once};

both_views! {
    fn a_number_that_the_image_has_for_a_name_is_a_number(t) {
        // CVE-2016-3697: the image's users are not asked who 1000 is.
        let bundle = t.bundle(&["sleep"], |config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        });
        bundle.add_file("etc/passwd", "1000:x:0:0::/:/probe\nroot:x:1000:1000::/:/probe\n");
        bundle.add_file("etc/group", "1000:x:0:1000\nroot:x:1000:\n");
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        for flags in [&[][..], &["--user", "1000:1000"]] {
            let report = Probe::parse(&container.exec(flags, &["report"]));
            assert_eq!(report["uid"], json!([1000, 1000, 1000, 1000]));
            assert_eq!(report["gid"], json!([1000, 1000, 1000, 1000]));
            assert_eq!(report["groups"], json!([]));
        }
        container.end();
    }
}

once! {
    fn the_user_of_exec_is_a_number_or_an_error(t) {
        // CVE-2026-30892, and names of the image's.
        t.only_orlop("runc 1.1 takes some of these for a number");
        let bundle = t.bundle(&["sleep"], |_| {});
        bundle.add_file("etc/passwd", "user:x:0:0::/:/probe\n");
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        for user in ["user", "root", "-1", "+1", "1:", ":1", "1x", "0x1", " 1", "1 ", "1:2:3", "4294967295",
            "4294967296", "18446744073709551616"] {
            let output = container.exec(&[&format!("--user={user}")], &["report"]);
            assert_eq!((output.code(), output.stdout.as_str()), (255, ""), "{user:?}: {output}");
        }
        container.end();
    }
}
