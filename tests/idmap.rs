//! Id-mapped mounts: the owners that a container sees, and those that its files get on the host.
//!
//! A line of a map says which id on the disk (`containerID`) is which id of the kernel
//! (`hostID`) for who looks through the mount.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount, umount};
use nix::sys::utsname::uname;
use serde_json::{Value, json};

use crate::support::bundle::{add_mount, add_user_namespace, push, set_capabilities};
use crate::support::{Bundle, Probe, Test, both_views};

const NONE: Option<&str> = None;
/// The host's id of 0 in the containers that have a user namespace.
const FIRST: u32 = 200_000;

type Lines<'a> = &'a [(u32, u32, u32)];

/// What every test here needs.
fn begin(t: &Test) {
    t.only_orlop("runc 1.1 knows no id-mapped mounts");
    let release = uname().unwrap().release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    if (numbers.next(), numbers.next()) < (Some(6), Some(3)) {
        t.skip(&format!("Linux {release} maps no ids on a tmpfs, 6.3 does"));
    }
}

/// A directory of the test's own, with a file in it, both owned by these ids.
fn volume(t: &Test, name: &str, uid: u32, gid: u32) -> String {
    let dir = t.dir.join(name);
    fs::create_dir(&dir).unwrap();
    let file = dir.join("file");
    fs::write(&file, "from the host").unwrap();
    chown(&dir, Some(uid), Some(gid)).unwrap();
    chown(&file, Some(uid), Some(gid)).unwrap();
    dir.to_str().unwrap().to_owned()
}

fn lines(lines: Lines) -> Value {
    lines
        .iter()
        .map(|(id, host, size)| json!({"containerID": id, "hostID": host, "size": size}))
        .collect()
}

/// A bind with id maps of its own, users and groups alike.
fn add_mapped(config: &mut Value, destination: &str, source: &str, options: &[&str], map: Lines) {
    add_mount(config, destination, "bind", source, options);
    let entry = config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
    entry["uidMappings"] = lines(map);
    entry["gidMappings"] = lines(map);
}

/// A bundle whose mounts find their targets: root in a user namespace may not make them in a
/// rootfs that is not its own.
fn bundle(t: &Test, args: &[&str], edit: impl FnOnce(&mut Value)) -> Bundle {
    let bundle = t.bundle(args, edit);
    make_targets(&bundle);
    bundle
}

fn make_targets(bundle: &Bundle) {
    for entry in bundle.config["mounts"].as_array().unwrap() {
        let text = |name: &str| entry[name].as_str().unwrap();
        if entry["type"] == "bind" && Path::new(text("source")).is_file() {
            bundle.add_file(text("destination"), "");
        } else {
            fs::create_dir_all(bundle.rootfs(text("destination"))).unwrap();
        }
    }
}

/// Run a bundle that looks at `paths`.
fn look(t: &Test, paths: &[&str], edit: impl FnOnce(&mut Value)) -> Probe {
    let mut args = vec!["report"];
    for path in paths {
        args.extend(["--stat", path]);
    }
    t.report(&bundle(t, &args, edit))
}

#[track_caller]
fn seen(report: &Probe, path: &str, uid: u32, gid: u32) {
    let stat = &report["stat"][path];
    assert_eq!(
        (&stat["uid"], &stat["gid"]),
        (&json!(uid), &json!(gid)),
        "{path}: {stat}"
    );
}

/// Have a container write a file; who owns it on the host.
fn made(t: &Test, inside: &str, on_host: &str, edit: impl FnOnce(&mut Value)) -> (u32, u32) {
    t.run(&bundle(t, &["write", inside, "text"], edit))
        .expect_ok();
    let meta = fs::metadata(on_host).unwrap();
    fs::remove_file(on_host).unwrap();
    (meta.uid(), meta.gid())
}

/// The path of something in a bundle's rootfs, as a source.
fn source_inside(bundle: &Bundle, inside: &str) -> String {
    bundle.rootfs(inside).to_str().unwrap().to_owned()
}

both_views! {
    fn without_a_user_namespace_the_ids_are_those_of_the_map(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 2000);
        for (name, uid, gid) in [("range", 5009, 6001), ("beyond", 5010, 6002)] {
            fs::write(format!("{dir}/{name}"), "").unwrap();
            chown(format!("{dir}/{name}"), Some(uid), Some(gid)).unwrap();
        }
        let edit = |config: &mut Value| {
            add_mapped(config, "/m", &dir, &["bind", "idmap"], &[]);
            let entry = config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
            entry["uidMappings"] = lines(&[(1000, 0, 1), (5000, 7000, 10)]);
            entry["gidMappings"] = lines(&[(2000, 0, 1), (6000, 8000, 2)]);
        };
        let report = look(t, &["/m", "/m/file", "/m/range", "/m/beyond"], edit);
        seen(&report, "/m", 0, 0);
        seen(&report, "/m/file", 0, 0);
        seen(&report, "/m/range", 7009, 8001);
        seen(&report, "/m/beyond", 65534, 65534);
        assert_eq!(made(t, "/m/new", &format!("{dir}/new"), edit), (1000, 2000));
        let user = |config: &mut Value| {
            edit(config);
            config["process"]["user"] = json!({"uid": 7003, "gid": 8000});
        };
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(made(t, "/m/new", &format!("{dir}/new"), user), (5003, 6000));
    }

    fn an_id_that_is_not_mapped_makes_no_file(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 1000);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let bundle = t.bundle(&["write", "/m/new", "text"], |config| {
            config["process"]["user"] = json!({"uid": 5, "gid": 5});
            add_mapped(config, "/m", &dir, &["bind", "idmap"], &[(1000, 0, 1)]);
        });
        t.run(&bundle).expect_words("EOVERFLOW");
        assert!(!Path::new(&dir).join("new").exists());
    }

    fn in_a_user_namespace_the_map_may_be_the_containers(t) {
        begin(t);
        let dir = volume(t, "volume", 0, 3);
        for option in ["idmap", "ridmap"] {
            let edit = |config: &mut Value| {
                add_user_namespace(config, FIRST);
                add_mount(config, "/m", "bind", &dir, &["bind", option]);
                add_mount(config, "/plain", "bind", &dir, &["bind"]);
            };
            let report = look(t, &["/m/file", "/plain/file"], edit);
            seen(&report, "/m/file", 0, 3);
            seen(&report, "/plain/file", 65534, 65534);
            assert_eq!(made(t, "/m/new", &format!("{dir}/new"), edit), (0, 0), "{option}");
        }
    }

    fn in_a_user_namespace_the_map_may_be_the_mounts_own(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 1007);
        // The ids of the kernel, of which the container's 0 is the first.
        for (map, uid, gid, owner) in [
            (&[(1000, FIRST, 10)][..], 0, 7, 1000),
            (&[(1000, FIRST + 50, 1), (1007, FIRST + 60, 1), (0, FIRST, 1)], 50, 60, 0),
            // Equal to that of the container.
            (&[(0, FIRST, 65536)], 1000, 1007, 0),
        ] {
            let edit = |config: &mut Value| {
                add_user_namespace(config, FIRST);
                add_mapped(config, "/m", &dir, &["bind", "idmap"], map);
            };
            seen(&look(t, &["/m/file"], edit), "/m/file", uid, gid);
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
            assert_eq!(made(t, "/m/new", &format!("{dir}/new"), edit), (owner, owner), "{map:?}");
        }
    }

    fn in_a_joined_user_namespace_the_maps_are_its_own_or_the_mounts(t) {
        begin(t);
        let dir = volume(t, "volume", 4, 5);
        let other = t.sleeper(|config| add_user_namespace(config, FIRST));
        let path = format!("/proc/{}/ns/user", other.pid());
        let edit = |config: &mut Value| {
            push(config, "/linux/namespaces", json!({"type": "user", "path": path}));
            add_mount(config, "/theirs", "bind", &dir, &["bind", "idmap"]);
            add_mapped(config, "/own", &dir, &["bind", "idmap"], &[(4, FIRST, 2)]);
            add_mount(config, "/plain", "bind", &dir, &["bind"]);
        };
        let report = look(t, &["/theirs/file", "/own/file", "/plain/file"], edit);
        seen(&report, "/theirs/file", 4, 5);
        seen(&report, "/own/file", 0, 1);
        seen(&report, "/plain/file", 65534, 65534);
        assert_eq!(made(t, "/own/new", &format!("{dir}/new"), edit), (4, 4));
        other.end();
    }

    fn one_source_has_other_ids_at_each_mount(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 1000);
        let edit = |config: &mut Value| {
            add_mapped(config, "/a", &dir, &["bind", "idmap"], &[(1000, 0, 1)]);
            add_mapped(config, "/b", &dir, &["bind", "idmap"], &[(1000, 77, 1)]);
            add_mount(config, "/c", "bind", &dir, &["bind"]);
            add_mapped(config, "/d", &dir, &["bind", "idmap"], &[(1000, 0, 1)]);
        };
        let report = look(t, &["/a/file", "/b/file", "/c/file", "/d/file"], edit);
        for (path, id) in [("/a/file", 0), ("/b/file", 77), ("/c/file", 1000), ("/d/file", 0)] {
            seen(&report, path, id, id);
        }
        assert_eq!(made(t, "/d/new", &format!("{dir}/new"), edit), (1000, 1000));
    }

    fn ridmap_maps_the_mounts_below_too_and_idmap_does_not(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 1000);
        let below = format!("{dir}/below");
        fs::create_dir(&below).unwrap();
        mount(Some("x"), below.as_str(), Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        fs::write(format!("{below}/file"), "").unwrap();
        chown(format!("{below}/file"), Some(1000), Some(1000)).unwrap();
        for (options, id) in [(&["rbind", "ridmap"][..], 0), (&["rbind", "idmap"], 1000), (&["rbind"], 1000)] {
            for in_user_namespace in [false, true] {
                let report = look(t, &["/m/file", "/m/below/file"], |config| {
                    let first = if in_user_namespace { FIRST } else { 0 };
                    if in_user_namespace {
                        add_user_namespace(config, FIRST);
                    }
                    add_mapped(config, "/m", &dir, options, &[(1000, first, 1)]);
                });
                let id = if in_user_namespace && id != 0 { 65534 } else { id };
                seen(&report, "/m/file", 0, 0);
                seen(&report, "/m/below/file", id, id);
            }
        }
        umount(below.as_str()).unwrap();
    }

    fn the_short_form_of_crun_is_understood(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 2001);
        let report = look(t, &["/m/file", "/r/file"], |config| {
            add_user_namespace(config, FIRST);
            let own = format!("idmap=uids=1000-{FIRST}-1#0-{}-5;gids=2000-{FIRST}-2", FIRST + 9);
            add_mount(config, "/m", "bind", &dir, &["bind", &own]);
            add_mount(config, "/r", "bind", &dir, &["bind", "ridmap=uids=@1000-3-1;gids=@2000-8-2"]);
        });
        seen(&report, "/m/file", 0, 1);
        seen(&report, "/r/file", 3, 9);
    }

    fn a_single_file_is_mapped(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 1000);
        for users in [false, true] {
            let report = look(t, &["/etc/conf"], |config| {
                if users {
                    add_user_namespace(config, FIRST);
                }
                let first = if users { FIRST } else { 0 };
                add_mapped(config, "/etc/conf", &format!("{dir}/file"), &["bind", "idmap", "ro"], &[(1000, first, 1)]);
            });
            seen(&report, "/etc/conf", 0, 0);
            assert!(report.options("/etc/conf").contains("ro"));
        }
    }

    fn the_other_options_hold_beside_the_mapping(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 1000);
        let below = format!("{dir}/below");
        fs::create_dir(&below).unwrap();
        mount(Some("x"), below.as_str(), Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        for users in [false, true] {
            let first = if users { FIRST } else { 0 };
            let with = |options: &'static [&str]| {
                let dir = &dir;
                move |config: &mut Value| {
                    if users {
                        add_user_namespace(config, FIRST);
                    }
                    add_mapped(config, "/m", dir, options, &[(1000, first, 1)]);
                }
            };
            // The access times of the host's mounts are locked in a user namespace.
            let atime = if users { "relatime" } else { "noatime" };
            let options: &[&str] = if users {
                &["rbind", "idmap", "ro", "nosuid", "nodev", "noexec", "rprivate"]
            } else {
                &["rbind", "idmap", "ro", "nosuid", "nodev", "noexec", "noatime", "rprivate"]
            };
            let report = look(t, &["/m/file"], with(options));
            seen(&report, "/m/file", 0, 0);
            for flag in ["ro", "nosuid", "nodev", "noexec", atime] {
                assert!(report.options("/m").contains(flag), "{flag}: {:?}", report.options("/m"));
            }
            assert!(report.options("/m/below").contains("rw"));
            assert_eq!(report.mount("/m")["propagation"], json!([]));
            let report = look(t, &["/m/file"], with(&["rbind", "ridmap", "rro", "rshared"]));
            seen(&report, "/m/file", 0, 0);
            assert!(report.options("/m").contains("ro") && report.options("/m/below").contains("ro"));
            assert!(report.mount("/m")["propagation"].to_string().contains("shared"));
            t.run(&bundle(t, &["write", "/m/new", "x"], with(&["bind", "ro", "idmap"]))).expect_words("EROFS");
        }
        umount(below.as_str()).unwrap();
    }

    fn flags_of_the_source_are_kept(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 1000);
        mount(Some(dir.as_str()), dir.as_str(), NONE, MsFlags::MS_BIND, NONE).unwrap();
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
        mount(NONE, dir.as_str(), NONE, flags, NONE).unwrap();
        for users in [false, true] {
            let report = look(t, &["/m/file"], |config| {
                if users {
                    add_user_namespace(config, FIRST);
                }
                let first = if users { FIRST } else { 0 };
                add_mapped(config, "/m", &dir, &["bind", "idmap"], &[(1000, first, 1)]);
            });
            seen(&report, "/m/file", 0, 0);
            let options = report.options("/m");
            assert!(options.contains("ro") && options.contains("nosuid"), "{options:?}");
        }
        umount(dir.as_str()).unwrap();
    }

    fn a_source_on_an_earlier_mount_is_mapped(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 1000);
        for users in [false, true] {
            let mut bundle = t.bundle(&["report", "--stat", "/m/file", "--stat", "/link/file"], |_| {});
            // On the host something else lies there.
            bundle.add_file("early/file", "of the rootfs");
            symlink("/early", bundle.rootfs("to-early")).unwrap();
            let [early, link] = ["/early", "/to-early"].map(|path| source_inside(&bundle, path));
            bundle.edit(|config| {
                let first = if users { FIRST } else { 0 };
                if users {
                    add_user_namespace(config, FIRST);
                }
                add_mount(config, "/early", "bind", &dir, &["bind"]);
                add_mapped(config, "/m", &early, &["bind", "idmap"], &[(1000, first + 1, 1)]);
                add_mapped(config, "/link", &link, &["bind", "idmap"], &[(1000, first + 2, 1)]);
            });
            make_targets(&bundle);
            let report = t.report(&bundle);
            seen(&report, "/m/file", 1, 1);
            seen(&report, "/link/file", 2, 2);
        }
    }

    fn a_tmpfs_of_the_container_is_a_source_with_mapped_ids(t) {
        begin(t);
        for users in [false, true] {
            let mut bundle = t.bundle(&["report", "--stat", "/m/file", "--read", "/m/file"], |_| {});
            bundle.add_file("filled/deep/file", "copied");
            let first = if users { FIRST } else { 0 };
            for path in ["filled/deep/file", "filled/deep"] {
                chown(bundle.rootfs(path), Some(first), Some(first)).unwrap();
            }
            let source = source_inside(&bundle, "/filled/deep");
            bundle.edit(|config| {
                if users {
                    add_user_namespace(config, FIRST);
                }
                add_mount(config, "/filled", "tmpfs", "tmpfs", &["tmpcopyup"]);
                // Its ids on the disk are those of the user namespace that it was mounted in.
                add_mapped(config, "/m", &source, &["bind", "idmap"], &[(0, first + 5, 1)]);
            });
            make_targets(&bundle);
            let report = t.report(&bundle);
            assert_eq!(report["read"]["/m/file"], "copied");
            seen(&report, "/m/file", 5, 5);
        }
    }

    fn a_filesystem_that_takes_no_part_is_refused_by_the_mounts_field(t) {
        begin(t);
        for users in [false, true] {
            let bundle = bundle(t, &["exit", "0"], |config| {
                let first = if users { FIRST } else { 0 };
                if users {
                    add_user_namespace(config, FIRST);
                }
                add_mapped(config, "/m", "/proc/sys", &["bind", "idmap"], &[(0, first, 1)]);
            });
            let place = bundle.config["mounts"].as_array().unwrap().len() - 1;
            t.run(&bundle)
                .expect_error("error mounting \"/proc/sys\" to rootfs at \"/m\": map the ids of the mount: invalid argument")
                .expect_words(&format!("/mounts/{place})"))
                .expect_words("does this kernel map ids on the source's filesystem?");
        }
    }

    fn ridmap_is_refused_when_something_below_takes_no_part_and_idmap_is_not(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 1000);
        let below = format!("{dir}/below");
        fs::create_dir(&below).unwrap();
        mount(Some("proc"), below.as_str(), Some("proc"), MsFlags::empty(), NONE).unwrap();
        let with = |options: &'static [&str]| {
            t.bundle(&["exit", "0"], |config| add_mapped(config, "/m", &dir, options, &[(1000, 0, 1)]))
        };
        t.run(&with(&["rbind", "ridmap"])).expect_error("mounted below it");
        t.run(&with(&["rbind", "idmap"])).expect_ok();
        umount(below.as_str()).unwrap();
    }

    fn a_source_that_is_mapped_already_keeps_its_map(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 1000);
        let mut bundle = t.bundle(&["report", "--stat", "/again/file"], |_| {});
        let early = source_inside(&bundle, "/early");
        bundle.edit(|config| {
            add_mapped(config, "/early", &dir, &["bind", "idmap"], &[(1000, 3, 1)]);
            add_mount(config, "/again", "bind", &early, &["bind"]);
        });
        seen(&t.report(&bundle), "/again/file", 3, 3);
        bundle.edit(|config| add_mapped(config, "/third", &early, &["bind", "idmap"], &[(3, 4, 1)]));
        t.run(&bundle).expect_error("are the source's ids mapped already");
    }

    fn what_is_no_bind_or_has_no_map_is_refused(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 1000);
        let refused = |words: &str, edit: &dyn Fn(&mut Value)| {
            t.run(&t.bundle(&["exit", "0"], edit)).expect_error(words);
        };
        refused("id-mapped mounts are only supported for bind-mounts", &|config| {
            add_mount(config, "/m", "tmpfs", "tmpfs", &["idmap"]);
        });
        refused("id-mapped mounts must have both uid and gid mappings specified", &|config| {
            add_mount(config, "/m", "bind", &dir, &["bind", "idmap"]);
        });
        refused("id-mapped mounts must have both uid and gid mappings specified", &|config| {
            add_mapped(config, "/m", &dir, &["bind", "idmap"], &[(0, 0, 1)]);
            config["mounts"].as_array_mut().unwrap().last_mut().unwrap()["gidMappings"] = json!([]);
        });
        refused("/uidMappings/1", &|config| {
            add_mapped(config, "/m", &dir, &["bind", "idmap"], &[(0, 0, 2), (1, 9, 1)]);
        });
        refused("no such file or directory", &|config| {
            add_mapped(config, "/m", "/nowhere/at/all", &["bind", "idmap"], &[(0, 0, 1)]);
        });
    }

    fn a_mapped_volume_is_the_users_in_every_respect(t) {
        begin(t);
        // A directory that on the disk belongs to an ordinary user, who is root inside: what root
        // may do by its capabilities, it may do here.
        let dir = volume(t, "volume", 1000, 1000);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        let edit = |config: &mut Value| {
            add_user_namespace(config, FIRST);
            set_capabilities(config, &["CAP_DAC_OVERRIDE"]);
            config["process"]["user"] = json!({"uid": 9, "gid": 9});
            add_mapped(config, "/m", &dir, &["bind", "idmap"], &[(1000, FIRST, 1), (9, FIRST + 9, 1)]);
        };
        assert_eq!(made(t, "/m/new", &format!("{dir}/new"), edit), (9, 9));
    }

    fn the_containers_map_is_had_without_the_right_to_look_at_init(t) {
        begin(t);
        let dir = volume(t, "volume", 0, 3);
        let bundle = bundle(t, &["report", "--stat", "/m/file"], |config| {
            add_user_namespace(config, FIRST);
            add_mount(config, "/m", "bind", &dir, &["bind", "idmap"]);
        });
        let run = t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]);
        let mut less = Command::new("setpriv");
        less.args(["--bounding-set", "-sys_ptrace"]).arg(run.get_program()).args(run.get_args());
        let report = Probe::parse(&t.runtime.finish(less));
        seen(&report, "/m/file", 0, 3);
    }

    fn the_root_of_a_user_namespace_maps_what_is_its_own(t) {
        begin(t);
        // Another container's user namespace stands for that of an engine without the host's root.
        let outer = t.sleeper(|config| add_user_namespace(config, FIRST));
        for users in [false, true] {
            let home = t.dir.join(format!("home-{users}"));
            fs::create_dir(&home).unwrap();
            let volume = home.join("volume");
            let first = if users { 500 } else { 0 };
            let bundle = bundle(t, &["report", "--stat", "/m/file", "--stat", "/plain/file"], |config| {
                config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
                config["mounts"].as_array_mut().unwrap().retain(|m| m["type"] != "cgroup" && m["type"] != "sysfs");
                if users {
                    add_user_namespace(config, first);
                    for kind in ["uidMappings", "gidMappings"] {
                        config["linux"][kind][0]["size"] = json!(1000);
                    }
                }
                add_mapped(config, "/m", volume.to_str().unwrap(), &["bind", "idmap"], &[(40, first + 7, 1)]);
                add_mount(config, "/plain", "bind", volume.to_str().unwrap(), &["bind"]);
            });
            // Only a filesystem of that user namespace is its root's to map.
            let script = format!(
                "mount -t tmpfs home {home} && mkdir {home}/volume {home}/state && echo > {home}/volume/file &&
                chown 40:40 {home}/volume/file && exec {runtime} --root {home}/state run --bundle {bundle} {id}",
                home = home.display(), runtime = t.runtime.program().display(), bundle = bundle.path(), id = bundle.id);
            let mut inner = Command::new("nsenter");
            inner.arg(format!("--user=/proc/{}/ns/user", outer.pid())).args(["--setuid", "0", "--setgid", "0"]);
            inner.args(["unshare", "--mount", "sh", "-c", &script]);
            let report = Probe::parse(&t.runtime.finish(inner));
            seen(&report, "/m/file", 7, 7);
            let plain = if users { 65534 } else { 40 };
            seen(&report, "/plain/file", plain, plain);
        }
        outer.end();
    }

    fn a_kernel_that_maps_no_mounts_is_named_as_the_reason(t) {
        begin(t);
        let dir = volume(t, "volume", 1000, 1000);
        // Linux 5.2 to 5.11, and before.
        for calls in ["mount_setattr", "mount_setattr,open_tree,move_mount"] {
            for users in [false, true] {
                let bundle = bundle(t, &["exit", "0"], |config| {
                    if users {
                        add_user_namespace(config, FIRST);
                    }
                    add_mapped(config, "/m", &dir, &["bind", "idmap"], &[(1000, 0, 1)]);
                });
                let place = bundle.config["mounts"].as_array().unwrap().len() - 1;
                let old = t.runtime.without(calls);
                old.call(&["run", "--bundle", bundle.path(), &bundle.id])
                    .expect_error("rootfs at \"/m\": map the ids of the mount: function not implemented")
                    .expect_words(&format!("/mounts/{place}) (id-mapped mounts need Linux 5.12)"));
            }
        }
    }
}
