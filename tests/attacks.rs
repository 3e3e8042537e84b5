//! Attacks by what runs inside: the container is hostile, and the runtime enters it.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use nix::sys::stat::Mode;
use serde_json::{Value, json};

use crate::support::bundle::{
    add_mount, add_user_namespace, push, set_capabilities, set_namespaces,
};
use crate::support::leaks::files;
use crate::support::{Container, Test, both_views, probe};

/// As often as the runtime enters the container while something in it lies in wait.
const ENTRIES: u32 = 20;

/// What the container printed by the end of so many entries.
fn after_entries(t: &Test, attack: &[&str], edit: impl FnOnce(&mut Value)) -> String {
    let container = t.start(&t.bundle(attack, edit));
    container.wait_for_output("ready");
    for _ in 0..ENTRIES {
        container.exec(&[], &["exit", "0"]).expect_ok();
    }
    let said = container.output();
    container.end();
    said
}

/// Enter as often; a long PATH is long searched, as the container's user.
fn enter_slowly(t: &Test, container: &Container) {
    let path = format!("PATH={}/", "/none:".repeat(10_000));
    for _ in 0..ENTRIES {
        let args = ["exec", "--env", &path, &container.id, "probe", "exit", "0"];
        t.runtime.call(&args).expect_ok();
    }
}

fn may_trace(config: &mut Value) {
    set_capabilities(config, &["CAP_SYS_PTRACE"]);
}

fn without_mount_namespace(config: &mut Value) {
    set_namespaces(config, &["pid"]);
    config["mounts"] = json!([]);
    config["root"]["readonly"] = json!(false);
    config.as_object_mut().unwrap().remove("hostname");
    let linux = config["linux"].as_object_mut().unwrap();
    linux.remove("maskedPaths");
    linux.remove("readonlyPaths");
}

/// A program of the host, as it is reached from any directory of the host.
fn outside(t: &Test) -> String {
    let program = t.dir.join("outside");
    fs::copy(probe::path(), &program).unwrap();
    format!("/../../../../../../..{}", program.display())
}

both_views! {
    fn who_may_trace_does_not_see_the_host_by_a_process_of_exec(t) {
        // The process must not be seen before it has left the host's mounts.
        t.only_orlop("needs no comparison");
        let secret = t.dir.join("secret");
        fs::write(&secret, "the host").unwrap();
        let what = format!("root{}", secret.display());
        let said = after_entries(t, &["grab", &what], may_trace);
        assert!(!said.contains("grabbed"), "{said}");
    }

    fn who_may_trace_gets_no_working_directory_of_the_host(t) {
        t.only_orlop("needs no comparison");
        let bundle = t.bundle(&["grab", "cwd/secret"], may_trace);
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        fs::write(t.dir.join("secret"), "the host").unwrap();
        for _ in 0..ENTRIES {
            let mut command = t.runtime.command(&["exec", &bundle.id, "/probe", "exit", "0"]);
            command.current_dir(&t.dir);
            t.runtime.finish(command).expect_ok();
        }
        assert!(!container.output().contains("grabbed"), "{}", container.output());
        container.end();
    }

    fn a_process_of_exec_is_not_readable_before_it_is_the_users(t) {
        // CVE-2016-9962: it has the container's user and capabilities by then, so only that it
        // is not dumpable keeps others out.
        let container = t.start(&t.bundle(&["overwrite"], |_| {}));
        container.wait_for_output("ready");
        enter_slowly(t, &container);
        // After execve it is the probe, which is the container's own.
        assert!(!container.output().contains("held"), "{}", container.output());
        container.end();
    }

    fn the_runtimes_program_cannot_be_written_to_by_who_holds_it(t) {
        // CVE-2019-5736: held while it runs, opened for writing when it does not any more.
        let container = t.start(&t.bundle(&["overwrite"], may_trace));
        container.wait_for_output("ready");
        enter_slowly(t, &container);
        container.wait_for_output("opened for writing");
        let said = container.output();
        assert!(!said.contains("writing: ok"), "{said}");
        if !t.runtime.is_reference {
            assert!(said.contains("writing: EROFS"), "{said}");
        }
        container.end();
    }

    fn who_shares_the_pid_namespace_cannot_look_into_a_new_user_namespace(t) {
        // Root of the host's user namespace owns the new one, whatever capabilities it lacks;
        // that init is not dumpable is all that keeps it out.
        t.only_orlop("runc 1.1 does not join a pid namespace from a new user namespace");
        let secret = t.dir.join("secret");
        fs::write(&secret, "the host").unwrap();
        let spy = t.start(&t.bundle(&["grab", &format!("root{}", secret.display())], |_| {}));
        spy.wait_for_output("ready");
        for _ in 0..ENTRIES {
            let bundle = t.bundle(&["exit", "0"], |config| {
                let path = format!("/proc/{}/ns/pid", spy.pid());
                set_namespaces(config, &["mount", "uts", "ipc", "network"]);
                push(config, "/linux/namespaces", json!({"type": "pid", "path": path}));
                add_user_namespace(config, 0);
                // A procfs of the pid namespace that is joined is not the new one's to mount.
                let mounts = config["mounts"].as_array_mut().unwrap();
                mounts.retain(|m| m["type"] != "proc");
            });
            t.run(&bundle);
        }
        assert!(!spy.output().contains("grabbed"), "{}", spy.output());
        spy.end();
    }

    fn exec_without_a_mount_namespace_stays_in_the_rootfs(t) {
        t.only_orlop("runc 1.1 needs a procfs in the rootfs");
        let bundle = t.bundle(&["sleep"], without_mount_namespace);
        bundle.add_file("mark", "inside");
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        assert_eq!(container.exec(&[], &["read", "/mark"]).expect_ok().stdout, "inside\n");
        container.end();
    }

    fn a_mount_namespace_that_is_joined_keeps_its_root(t) {
        // It may be the host's, whose every process a pivot_root would take along.
        t.only_orlop("runc 1.1 changes the root of all that live there");
        let bundle = t.bundle(&["sleep"], |config| {
            without_mount_namespace(config);
            let path = format!("/proc/{}/ns/mnt", std::process::id());
            push(config, "/linux/namespaces", json!({"type": "mount", "path": path}));
            config["hooks"] = json!({"createContainer": [
                {"path": probe::path(), "args": ["probe", "write", "hooked", "yes"]},
            ]});
        });
        bundle.add_file("mark", "inside");
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        assert!(t.dir.exists(), "the root is another one");
        assert_eq!(container.exec(&[], &["read", "/mark"]).expect_ok().stdout, "inside\n");
        assert!(bundle.rootfs("hooked").exists(), "createContainer runs in the rootfs");
        container.end();
    }

    fn an_fd_that_nobody_handed_over_is_not_preserved(t) {
        // The number would be that of a directory that the runtime opened.
        t.only_orlop("runc 1.1 looks whether it has any fd of the number");
        let container = t.sleeper(|_| {});
        for count in ["1", "2", "5"] {
            let output = container.exec(&["--preserve-fds", count], &["exit", "0"]);
            output.expect_code(255).expect_words("unable to stat preserved-fd 0");
            let bundle = t.bundle(&["exit", "0"], |_| {});
            let args = ["run", "--preserve-fds", count, "--bundle", bundle.path(), &bundle.id];
            t.runtime.call(&args).expect_error("unable to stat preserved-fd 0");
        }
        container.end();
    }

    fn a_working_directory_is_not_made_by_a_link_of_proc(t) {
        t.only_orlop("runc 1.1 makes it");
        let victim = t.dir.join("victim");
        let bundle = t.bundle(&["exit", "0"], |config| {
            set_namespaces(config, &["mount", "uts", "ipc", "network"]);
            config["root"]["readonly"] = json!(false);
            config["process"]["cwd"] = json!(format!("/proc/1/root{}", victim.display()));
        });
        assert_ne!(t.run(&bundle).code(), 0);
        assert!(!victim.exists(), "a directory was made on the host");
    }

    fn the_log_is_not_written_to_what_has_its_number(t) {
        // Init closes the log; a hook in it must not make it write to the start socket.
        t.only_orlop("its log is its own");
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["hooks"] = json!({"startContainer": [
                {"path": "/probe", "args": ["probe", "exit", "0"]},
            ]});
        });
        let log = t.dir.join("log");
        let log = log.to_str().unwrap();
        let args = ["--debug", "--log", log, "create", "--bundle", bundle.path(), &bundle.id];
        let created = t.runtime.call(&args);
        created.expect_ok();
        let container = Container::adopt(t, &bundle.id, created);
        container.start().expect_ok();
        container.delete_force().expect_ok();
    }

    fn a_container_that_was_made_can_be_deleted_however_long_its_config_is(t) {
        // What cannot be read back must not be written, and not be taken for nothing.
        t.only_orlop("it is the state of orlop");
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["annotations"] = json!({"long": "x".repeat(15 << 20)});
        });
        let container = t.create(&bundle);
        let state = t.runtime.root.join(&bundle.id).join("state.json");
        let text = fs::read(&state).unwrap();
        fs::write(&state, &text[..text.len() / 2]).unwrap();
        container.delete_force().expect_code(1);
        fs::write(&state, text).unwrap();
        container.delete().expect_ok();
    }

    fn no_fd_number_is_a_hook(t) {
        // CVE-2024-21626, by the path of a hook that init runs.
        let outside = outside(t);
        for number in 3..16 {
            let path = format!("/proc/self/fd/{number}{outside}");
            let bundle = t.bundle(&["exit", "0"], |config| {
                config["hooks"] = json!({"startContainer": [
                    {"path": path, "args": ["probe", "exit", "0"]},
                ]});
            });
            assert_ne!(t.run(&bundle).code(), 0, "fd {number} leads to a program");
        }
    }

    fn no_fd_number_is_a_program_of_exec(t) {
        let outside = outside(t);
        let container = t.sleeper(|_| {});
        for number in 3..16 {
            let path = format!("/proc/self/fd/{number}{outside}");
            let output = t.runtime.call(&["exec", &container.id, &path, "echo", "it ran"]);
            assert_eq!(output.stdout, "", "fd {number} leads to a program");
        }
        container.end();
    }

    fn the_users_of_the_image_may_be_a_pipe(t) {
        t.only_orlop("runc 1.1 waits for somebody to write into it");
        let bundle = t.bundle(&["exit", "0"], |_| {});
        fs::create_dir(bundle.rootfs("etc")).unwrap();
        nix::unistd::mkfifo(&bundle.rootfs("etc/passwd"), Mode::S_IRWXU).unwrap();
        t.run(&bundle).expect_ok();
    }

    fn the_users_of_the_image_may_be_without_end(t) {
        t.only_orlop("runc 1.1 reads it all and fails");
        let bundle = t.bundle(&["exit", "0"], |_| {});
        bundle.add_file("etc/passwd", "x");
        let file = fs::File::options().write(true).open(bundle.rootfs("etc/passwd")).unwrap();
        file.set_len(1 << 40).unwrap();
        t.run(&bundle).expect_ok();
        fs::remove_file(bundle.rootfs("etc/passwd")).unwrap();
        symlink("/dev/zero", bundle.rootfs("etc/passwd")).unwrap();
        t.run(&bundle).expect_ok();
    }

    fn a_target_that_is_swapped_for_a_link_does_not_lead_out(t) {
        // CVE-2021-30465, CVE-2024-45310: another container exchanges names in a shared volume.
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
        for _ in 0..ENTRIES {
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

    fn a_cgroup_path_does_not_climb(t) {
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["cgroupsPath"] = json!(format!("/{}/../../climbed", t.tag));
        });
        if !t.runtime.is_reference {
            t.try_create(&bundle).expect_error("/linux/cgroupsPath");
        }
        let container = t.sleeper(|_| {});
        let output = container.exec(&["--cgroup", "../.."], &["exit", "0"]);
        output.expect_code(255).expect_words("sub cgroup path");
        container.end();
    }
}
