//! A mount namespace that is shared: with the caller, or with whoever is found by a path.

use std::fs;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::support::bundle::{add_mount, push, set_capabilities};
use crate::support::console::{Console, read_all};
use crate::support::{Container, Test, both_views, wait_until};

/// Whoever lives in a mount namespace of its own, up to the end of the test.
struct Neighbour(Child);

impl Neighbour {
    fn new() -> Self {
        let child = Command::new("unshare")
            .args(["--mount", "sleep", "1000"])
            .spawn();
        let neighbour = Self(child.unwrap());
        wait_until("the namespace is there", || {
            namespace_of(&neighbour.pid()) != namespace_of("self")
        });
        neighbour
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn namespace_of(pid: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    link.to_string_lossy().into_owned()
}

fn mount_table_of(pid: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap()
}

/// Share the mount namespace of `pid`: the caller's, if it is `self`.
fn share(config: &mut Value, pid: &str) {
    config["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .retain(|n| n["type"] != "mount");
    if pid != "self" {
        let path = format!("/proc/{pid}/ns/mnt");
        push(
            config,
            "/linux/namespaces",
            json!({"type": "mount", "path": path}),
        );
    }
}

/// A directory of the host with one file in it.
fn source(t: &Test) -> String {
    let dir = t.dir.join("source");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("file"), "of the host\n").unwrap();
    dir.to_str().unwrap().to_owned()
}

both_views! {
    fn the_container_has_its_mounts_and_the_namespace_none(t) {
        t.only_orlop("runc 1.1 mounts them in the namespace, and leaves them there");
        let neighbour = Neighbour::new();
        let source = source(t);
        for pid in ["self", &neighbour.pid()] {
            let before = mount_table_of(pid);
            let args = ["report", "--read", "/tmp/file", "--path", "/secret", "--path", "/tmp", "--path", "/kept"];
            let bundle = t.bundle(&args, |config| {
                share(config, pid);
                add_mount(config, "/tmp", "bind", &source, &["bind", "ro"]);
                config["root"]["readonly"] = json!(false);
                push(config, "/linux/maskedPaths", json!("/secret"));
                push(config, "/linux/readonlyPaths", json!("/kept"));
                push(config, "/linux/devices", json!({"path": "/dev/own", "type": "c", "major": 1, "minor": 3}));
            });
            bundle.add_file("secret", "known to nobody");
            bundle.add_file("kept/file", "as it is");
            let report = t.report(&bundle);
            assert_eq!(report["namespaces"]["mnt"], json!(namespace_of(pid)));
            assert_eq!(report["read"]["/tmp/file"], "of the host");
            assert_eq!(report["paths"]["/tmp"]["create"], "EROFS");
            assert_eq!(report["paths"]["/secret"]["read"], 0);
            assert_eq!(report["paths"]["/kept"]["create"], "EROFS");
            assert!(report["dev"].to_string().contains("own"), "{:#}", report["dev"]);
            assert_eq!(mount_table_of(pid), before);
        }
    }

    fn exec_is_where_init_is(t) {
        t.only_orlop("runc 1.1 mounts in the namespace that is shared");
        let neighbour = Neighbour::new();
        let source = source(t);
        for pid in ["self", &neighbour.pid()] {
            let bundle = t.bundle(&["sleep"], |config| {
                share(config, pid);
                add_mount(config, "/tmp", "bind", &source, &["bind"]);
            });
            let before = mount_table_of(pid);
            let container = t.create(&bundle);
            assert_eq!(mount_table_of(pid), before, "while it is created");
            assert_eq!(container.exec(&[], &["read", "/tmp/file"]).expect_ok().stdout, "of the host\n");
            container.start().expect_ok();
            container.wait_for_output("ready");
            assert_eq!(namespace_of(&container.pid().to_string()), namespace_of(pid));
            assert_eq!(container.exec(&[], &["read", "/tmp/file"]).expect_ok().stdout, "of the host\n");
            assert_eq!(mount_table_of(pid), before, "while it runs");
            container.end();
        }
    }

    fn a_terminal_is_the_console(t) {
        t.only_orlop("runc 1.1 mounts in the namespace that is shared");
        let console = Console::new(t, "console");
        let bundle = t.bundle(&["report", "--stat", "/dev/console"], |config| {
            share(config, "self");
            config["process"]["terminal"] = json!(true);
        });
        let args = ["create", "--console-socket", console.path(), "--bundle", bundle.path(), &bundle.id];
        let created = t.runtime.call(&args);
        created.expect_ok();
        let container = Container::adopt(t, &bundle.id, created);
        let (master, _) = console.receive();
        container.start().expect_ok();
        let report: Value = serde_json::from_str(&read_all(master)).unwrap();
        assert!(report["fds"]["1"].to_string().contains("/dev/pts/"), "{:#}", report["fds"]);
        let device = report["stat"]["/dev/console"]["device"].to_string();
        assert!(device.contains("136:"), "not a pty: {device}");
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn who_climbs_out_of_a_chroot_is_not_on_the_host(t) {
        // Nobody knows a root that is a mount of its own by `..`; a chroot(2) into a directory
        // of the host would be left so.
        t.only_orlop("runc 1.1 mounts in the namespace that is shared");
        let secret = t.dir.join("secret");
        fs::write(&secret, "the host").unwrap();
        let bundle = t.bundle(&["climb", secret.to_str().unwrap()], |config| {
            share(config, "self");
            set_capabilities(config, &["CAP_SYS_CHROOT"]);
        });
        t.run(&bundle).expect_words("ENOENT");
    }
}
