//! Races: a name is a directory when it is looked at and a link when it is used.
//!
//! A process exchanges the two names by renameat2(RENAME_EXCHANGE) in a tight loop while
//! containers start. Both lead to a place inside the rootfs when they are resolved as they
//! should be, so that each mount must be there in the end, whoever wins.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command};

use serde_json::json;

use super::{Canary, without_mounts_at};
use crate::support::bundle::{add_mount, push};
use crate::support::console::Console;
use crate::support::leaks::files;
use crate::support::{Bundle, Container, Test, both_views, once, probe};

/// As many containers as start while the names are exchanged.
const RUNS: u32 = 60;

/// A process that exchanges the names of each pair for as long as this lives.
struct Swapper(Child);

impl Swapper {
    fn start(pairs: &[(&Path, &Path)]) -> Self {
        let names = pairs.iter().flat_map(|(a, b)| [a, b]);
        let child = Command::new(probe::path()).arg("swap").args(names).spawn();
        Self(child.unwrap())
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The mounts of a process: target and type.
fn mounts_of(pid: u32) -> Vec<(String, String)> {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let entry = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let target = left.split(' ').nth(4)?;
        Some((target.to_owned(), right.split(' ').next()?.to_owned()))
    };
    table.lines().filter_map(entry).collect()
}

/// How many mounts lie on a volume or on what its link leads to.
fn mounts_below(pid: u32, canary: &Canary) -> usize {
    let (volume, twin) = ("/volume/", canary.path(""));
    let below = |target: &String| target.starts_with(volume) || target.starts_with(&twin);
    mounts_of(pid)
        .iter()
        .filter(|(target, _)| below(target))
        .count()
}

/// A volume with a directory `a` and a link `b` to the canary.
fn volume(t: &Test, canary: &Canary) -> std::path::PathBuf {
    let volume = t.dir.join("volume");
    Canary::fill(&volume.join("a"));
    symlink(&canary.dir, volume.join("b")).unwrap();
    volume
}

/// `create` the bundle as often, hand each container that came to be to `look`, and delete it.
/// Gives how many there were.
fn create_often(t: &Test, bundle: &Bundle, runs: u32, look: impl Fn(&Container)) -> u32 {
    let mut made = 0;
    for _ in 0..runs {
        let created = t.try_create(bundle);
        if created.code() == 0 {
            made += 1;
            let container = Container::adopt(t, &bundle.id, created);
            look(&container);
            container.delete_force().expect_ok();
        }
    }
    made
}

once! {
    fn mounts_are_attached_to_what_was_opened(t) {
        // CVE-2021-30465: another container has the volume, too.
        t.only_orlop("runc 1.1 fails where a name has changed");
        let canary = Canary::new(t);
        let volume = volume(t, &canary);
        let swapper = t.start(&t.bundle(&["swap", "/volume/a", "/volume/b"], |config| {
            add_mount(config, "/volume", "bind", volume.to_str().unwrap(), &["bind"]);
        }));
        let bundle = t.bundle(&["exit", "0"], |config| {
            add_mount(config, "/volume", "bind", volume.to_str().unwrap(), &["bind"]);
            add_mount(config, "/volume/a/shm", "tmpfs", "tmpfs", &[]);
            add_mount(config, "/volume/a/pts", "tmpfs", "tmpfs", &["rprivate"]);
            add_mount(config, "/volume/a/net", "bind", "/proc/self", &["bind"]);
            add_mount(config, "/volume/a/file", "bind", "/dev/null", &["bind"]);
            add_mount(config, "/volume/a/fs/cgroup", "cgroup", "cgroup", &["ro"]);
        });
        canary.twin(&bundle);
        let made = create_often(t, &bundle, RUNS, |container| {
            assert_eq!(mounts_below(container.pid(), &canary), 5, "{:#?}", mounts_of(container.pid()));
        });
        assert_eq!(made, RUNS);
        canary.assert_untouched("after the race");
        swapper.end();
    }

    fn directories_are_made_in_what_was_opened(t) {
        // CVE-2024-45310, CVE-2020-14298.
        t.only_orlop("runc 1.1 fails where a name has changed");
        let canary = Canary::new(t);
        let volume = volume(t, &canary);
        let _swapper = Swapper::start(&[(&volume.join("a"), &volume.join("b"))]);
        let mut bundle = t.bundle(&["exit", "0"], |config| {
            add_mount(config, "/volume", "bind", volume.to_str().unwrap(), &["bind"]);
            for _ in 0..4 {
                add_mount(config, "", "tmpfs", "tmpfs", &[]);
            }
            add_mount(config, "", "bind", "/dev/null", &["bind"]);
        });
        canary.twin(&bundle);
        let first = bundle.config["mounts"].as_array().unwrap().len() - 5;
        for run in 0..RUNS / 2 {
            bundle.edit(|config| for n in 0..5 {
                config["mounts"][first + n]["destination"] = json!(format!("/volume/a/{run}-{n}/deep/er"));
            });
            let made = create_often(t, &bundle, 1, |container| {
                assert_eq!(mounts_below(container.pid(), &canary), 5, "{:#?}", mounts_of(container.pid()));
            });
            assert_eq!(made, 1);
        }
        canary.assert_untouched("after the race");
    }

    fn devices_are_made_in_what_was_opened(t) {
        t.only_orlop("runc 1.1 makes nodes on the host");
        let canary = Canary::new(t);
        let bundle = t.bundle(&["exit", "0"], |config| {
            without_mounts_at(config, "/dev");
            push(config, "/linux/devices", json!({"path": "/deep/down/kmsg", "type": "c", "major": 1, "minor": 11}));
        });
        let (dev, deep, away, off) =
            (bundle.rootfs("dev"), bundle.rootfs("deep"), bundle.rootfs("away"), bundle.rootfs("off"));
        fs::create_dir(&deep).unwrap();
        symlink(&canary.dir, &away).unwrap();
        symlink(&canary.dir, &off).unwrap();
        let _swapper = Swapper::start(&[(&dev, &away), (&deep, &off)]);
        create_often(t, &bundle, RUNS, |_| {});
        canary.assert_untouched("after the race");
    }

    fn masks_are_attached_to_what_was_opened(t) {
        t.only_orlop("runc 1.1 fails where a name has changed");
        let canary = Canary::new(t);
        let volume = volume(t, &canary);
        let _swapper = Swapper::start(&[(&volume.join("a"), &volume.join("b"))]);
        let bundle = t.bundle(&["exit", "0"], |config| {
            add_mount(config, "/volume", "bind", volume.to_str().unwrap(), &["bind"]);
            config["linux"]["maskedPaths"] = json!(["/volume/a/file", "/volume/a/shm", "/volume/a/net"]);
            config["linux"]["readonlyPaths"] = json!(["/volume/a/pts", "/volume/a/attr"]);
        });
        canary.twin(&bundle);
        let made = create_often(t, &bundle, RUNS, |container| {
            assert_eq!(mounts_below(container.pid(), &canary), 5, "{:#?}", mounts_of(container.pid()));
        });
        assert_eq!(made, RUNS);
        canary.assert_untouched("after the race");
    }

    fn the_procfs_is_mounted_on_a_directory_and_masked_where_it_is(t) {
        // CVE-2019-19921, CVE-2023-27561: two containers share what holds /proc.
        t.only_orlop("runc 1.1 masks what the name leads to");
        let canary = Canary::new(t);
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let (proc, away) = (bundle.rootfs("proc"), bundle.rootfs("away"));
        canary.twin(&bundle);
        let lone = t.create(&bundle);
        // While the table is read the names are exchanged, so each line may have either.
        let below = |mounts: &[(String, String)]| {
            mounts.iter().filter(|(target, _)| target.starts_with("/proc/") || target.starts_with("/away/")).count()
        };
        let masks = below(&mounts_of(lone.pid()));
        lone.delete_force().expect_ok();
        symlink(&canary.dir, &away).unwrap();
        let _swapper = Swapper::start(&[(&proc, &away)]);
        create_often(t, &bundle, RUNS, |container| {
            let mounts = mounts_of(container.pid());
            let on: Vec<&str> =
                mounts.iter().filter(|(target, kind)| kind == "proc" && target.matches('/').count() == 1)
                    .map(|(target, _)| target.as_str()).collect();
            assert!(on == ["/proc"] || on == ["/away"], "{mounts:#?}");
            assert_eq!(below(&mounts), masks, "{mounts:#?}");
        });
        canary.assert_untouched("after the race");
    }

    fn what_is_copied_up_is_what_was_opened(t) {
        let canary = Canary::new(t);
        fs::write(canary.dir.join("secret"), "the host").unwrap();
        let names: Vec<_> = (0..16).map(|n| format!("up/{n}")).collect();
        let read = names.iter().flat_map(|name| ["--read".to_owned(), format!("/{name}/secret")]);
        let args: Vec<_> = ["report".to_owned()].into_iter().chain(read).collect();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let bundle = t.bundle(&args, |config| add_mount(config, "/up", "tmpfs", "tmpfs", &["tmpcopyup"]));
        let mut paths = Vec::new();
        for name in &names {
            let (dir, link) = (bundle.rootfs(name), bundle.rootfs(&format!("{name}-link")));
            fs::create_dir_all(&dir).unwrap();
            symlink(&canary.dir, &link).unwrap();
            paths.extend([dir, link]);
        }
        let pairs: Vec<_> = paths.chunks(2).map(|pair| (pair[0].as_path(), pair[1].as_path())).collect();
        let _swapper = Swapper::start(&pairs);
        for _ in 0..RUNS {
            // It fails where it opens a link.
            let output = t.run(&bundle);
            assert!(!output.stdout.contains("the host"), "{output}");
        }
    }

    fn the_console_and_the_working_directory_stay_inside(t) {
        // CVE-2025-52565.
        t.only_orlop("runc 1.1 needs a ptmx in the volume");
        let canary = Canary::new(t);
        let volume = t.dir.join("dev");
        fs::create_dir(&volume).unwrap();
        let (target, link) = (volume.join("console"), volume.join("link"));
        fs::write(&target, "").unwrap();
        symlink(canary.path("file"), &link).unwrap();
        let mut bundle = t.bundle(&["exit", "0"], |config| {
            config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
            config["mounts"].as_array_mut().unwrap().insert(0, json!(
                {"destination": "/dev", "type": "bind", "source": volume, "options": ["bind"]}));
            config["process"]["terminal"] = json!(true);
            config["root"]["readonly"] = json!(false);
        });
        canary.twin(&bundle);
        let (dir, away) = (bundle.rootfs("dir"), bundle.rootfs("away"));
        fs::create_dir(&dir).unwrap();
        symlink(&canary.dir, &away).unwrap();
        let _swapper = Swapper::start(&[(&target, &link), (&dir, &away)]);
        for run in 0..RUNS / 2 {
            bundle.edit(|config| config["process"]["cwd"] = json!(format!("/dir/{run}/deep")));
            let console = Console::new(t, &format!("console-{run}"));
            let args = ["create", "--console-socket", console.path(), "--bundle", bundle.path(), &bundle.id];
            let created = t.runtime.call(&args);
            if created.code() != 0 {
                // It was made where the one name led, and looked for by the other.
                created.expect_words("chdir to cwd");
                continue;
            }
            let container = Container::adopt(t, &bundle.id, created);
            drop(console.receive());
            let mounts = mounts_of(container.pid());
            let terminals = mounts.iter().filter(|(target, kind)| kind == "devpts" && target != "/dev/pts");
            assert_eq!(terminals.count(), 1, "{mounts:#?}");
            container.delete_force().expect_ok();
        }
        canary.assert_untouched("after the race");
    }
}

both_views! {
    fn a_target_that_is_swapped_for_a_link_does_not_lead_out(t) {
        // CVE-2021-30465, CVE-2024-45310: another container exchanges names in a shared volume.
        t.only_orlop("runc 1.1 makes directories of the host");
        let outside = t.dir.join("outside");
        fs::create_dir(&outside).unwrap();
        let volume = t.dir.join("volume");
        fs::create_dir_all(volume.join("a")).unwrap();
        // From inside of the volume, and from the bundle's rootfs, it is the host's directory.
        symlink(&outside, volume.join("b")).unwrap();
        let before = files(&outside);
        let swapper = Command::new(probe::path())
            .args(["swap", volume.join("a").to_str().unwrap(), volume.join("b").to_str().unwrap()])
            .spawn();
        let mut swapper = swapper.unwrap();
        for _ in 0..RUNS / 3 {
            let bundle = t.bundle(&["exit", "0"], |config| {
                add_mount(config, "/volume", "bind", volume.to_str().unwrap(), &["bind"]);
                add_mount(config, "/volume/a/deep/er", "tmpfs", "tmpfs", &[]);
                add_mount(config, "/volume/a/file", "bind", "/dev/null", &["bind"]);
            });
            t.run(&bundle);
        }
        swapper.kill().unwrap();
        swapper.wait().unwrap();
        assert_eq!(files(&outside), before);
    }
}
