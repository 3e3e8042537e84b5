//! `checkpoint` and `restore`, with the real criu: the one that ORLOP_TEST_CRIU names
//! (`integration/criu.sh` sets one up), or the one in PATH.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::bundle::add_mount;
use crate::support::console::Console;
use crate::support::{Bundle, Test, View, both_views, once};

/// A container whose standard streams are pipes of ours or /dev/null, as criu cannot save a file
/// that lies outside.
struct Saved<'t> {
    t: &'t Test,
    path: String,
    bundle: Bundle,
}

impl<'t> Saved<'t> {
    /// The bundle counts, a line a number.
    fn new(t: &'t Test, edit: impl FnOnce(&mut Value)) -> Self {
        let path = path_with_criu(t);
        let bundle = t.bundle(&["count"], edit);
        let saved = Self { t, path, bundle };
        if !saved.cgroups().is_empty() {
            t.only_orlop("runc 1.1 does not know the cgroups mode that this view needs");
        }
        saved
    }

    fn images(&self) -> PathBuf {
        self.t.dir.join("images")
    }

    /// Call the runtime; its message when it fails.
    fn call(&self, args: &[&str], stdout: Stdio) -> (Option<ChildStdout>, Result<(), String>) {
        let log = self.t.dir.join("log");
        let _ = fs::remove_file(&log);
        let runtime = self.t.runtime.with_flags(&["--log", log.to_str().unwrap()]);
        let mut command: Command = runtime.command(args);
        command.env("PATH", &self.path);
        command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take();
        let done = match child.wait().unwrap() {
            status if status.success() => Ok(()),
            status => Err(format!(
                "{args:?}: {status}: {}",
                fs::read_to_string(&log).unwrap_or_default()
            )),
        };
        (stdout, done)
    }

    fn expect(&self, args: &[&str]) {
        self.call(args, Stdio::null()).1.unwrap();
    }

    fn run(&self) -> Numbers {
        let args = [
            "run",
            "--detach",
            "--bundle",
            self.bundle.path(),
            &self.bundle.id,
        ];
        let (stdout, done) = self.call(&args, Stdio::piped());
        done.unwrap();
        Numbers(BufReader::new(stdout.unwrap()))
    }

    /// In the view of v2 on a hybrid host, the container is not in cgroups of its own on v1, but
    /// in those that other tests have theirs below, which criu would save, too.
    fn cgroups(&self) -> &'static [&'static str] {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        match self.t.view {
            View::V2 if own.lines().any(|line| !line.starts_with("0::")) => {
                &["--manage-cgroups-mode", "ignore"]
            }
            _ => &[],
        }
    }

    fn checkpoint(&self, flags: &[&str]) -> Result<(), String> {
        let images = self.images();
        let mut args = vec!["checkpoint", "--image-path", images.to_str().unwrap()];
        args.extend(flags);
        args.extend(self.cgroups());
        args.push(&self.bundle.id);
        self.call(&args, Stdio::null()).1
    }

    fn restore(&self, flags: &[&str]) -> Result<Numbers, String> {
        let images = self.images();
        let mut args = vec!["restore", "--detach", "--bundle", self.bundle.path()];
        args.extend(["--image-path", images.to_str().unwrap()]);
        args.extend(flags);
        args.extend(self.cgroups());
        args.push(&self.bundle.id);
        let (stdout, done) = self.call(&args, Stdio::piped());
        done.map(|()| Numbers(BufReader::new(stdout.unwrap())))
    }

    fn state(&self) -> Value {
        let output = self.t.runtime.call(&["state", &self.bundle.id]);
        output.expect_ok();
        serde_json::from_str(&output.stdout).unwrap()
    }

    fn is_gone(&self) {
        let output = self.t.runtime.call(&["state", &self.bundle.id]);
        output.expect_error("container does not exist");
    }

    fn exec(&self, probe: &[&str]) -> crate::support::Output {
        let mut args = vec!["exec", &self.bundle.id, "/probe"];
        args.extend(probe);
        self.t.runtime.call(&args)
    }

    fn delete(&self) {
        self.expect(&["delete", "--force", &self.bundle.id]);
    }
}

/// What a counting container says.
struct Numbers(BufReader<ChildStdout>);

impl Numbers {
    fn next(&mut self) -> u64 {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim()
            .parse()
            .unwrap_or_else(|_| panic!("not a number: {line:?}"))
    }

    fn reach(&mut self, number: u64) {
        while self.next() < number {}
    }

    /// The last one, once nobody writes any more.
    fn last(mut self) -> u64 {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest.lines().last().unwrap().parse().unwrap()
    }
}

/// PATH with a criu that works here; skips the test otherwise.
fn path_with_criu(t: &Test) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = match std::env::var_os("ORLOP_TEST_CRIU") {
        Some(criu) => {
            let dir = Path::new(&criu).parent().unwrap().to_owned();
            format!("{}:{path}", dir.display())
        }
        None => path,
    };
    let check = Command::new("criu")
        .arg("check")
        .env("PATH", &path)
        .output();
    match check {
        Err(error) => t.skip(&format!(
            "no criu: {error}; integration/criu.sh sets one up"
        )),
        Ok(done) if !done.status.success() => {
            let why = String::from_utf8_lossy(&done.stderr);
            t.skip(&format!(
                "criu check: {}",
                why.lines().last().unwrap_or_default()
            ))
        }
        Ok(_) => path,
    }
}

both_views! {
    fn a_container_goes_on_where_it_was(t) {
        let saved = Saved::new(t, |_| {});
        let mut before = saved.run();
        before.reach(3);
        saved.checkpoint(&[]).unwrap();
        saved.is_gone();
        let last = before.last();
        let mode = fs::metadata(saved.images()).unwrap().permissions().mode();
        if !t.runtime.is_reference {
            assert_eq!(mode & 0o777, 0o700);
        }
        let pid_file = t.dir.join("pid");
        let mut after = saved.restore(&["--pid-file", pid_file.to_str().unwrap()]).unwrap();
        // Its stdout is ours now, and its memory what it was.
        let next = after.next();
        assert!(next == last + 1 || next == last, "{next} after {last}");
        let state = saved.state();
        assert_eq!(state["status"], "running");
        assert_eq!(fs::read_to_string(pid_file).unwrap(), state["pid"].to_string());
        let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).unwrap();
        let mut ours = cgroups.lines();
        let unified = |line: &&str| line.starts_with("0::");
        match t.view {
            View::V1 => assert!(ours.filter(|l| !unified(l)).all(|l| l.contains(&t.tag)), "{cgroups}"),
            View::V2 => assert!(ours.find(unified).unwrap().contains(&t.tag), "{cgroups}"),
        }
        saved.exec(&["exit", "7"]).expect_code(7);
        saved.delete();
    }

    fn it_is_saved_again_after_a_restore(t) {
        let saved = Saved::new(t, |_| {});
        saved.run().reach(2);
        for _ in 0..2 {
            saved.checkpoint(&[]).unwrap();
            let mut numbers = saved.restore(&[]).unwrap();
            numbers.next();
        }
        saved.delete();
    }

    fn it_is_left_running_if_asked(t) {
        let saved = Saved::new(t, |_| {});
        let mut numbers = saved.run();
        numbers.reach(2);
        let pid = saved.state()["pid"].clone();
        saved.checkpoint(&["--leave-running"]).unwrap();
        assert_eq!(saved.state()["status"], "running");
        assert_eq!(saved.state()["pid"], pid);
        let now = numbers.next();
        numbers.reach(now + 5);
        saved.delete();
    }

    fn memory_is_saved_ahead(t) {
        let saved = Saved::new(t, |_| {});
        let mut numbers = saved.run();
        numbers.reach(2);
        let parent = t.dir.join("parent");
        let criu = Command::new("criu").args(["check", "--feature", "mem_dirty_track"])
            .env("PATH", &saved.path).output().unwrap();
        if !criu.status.success() {
            saved.delete();
            t.skip("this kernel does not track changes of memory (CONFIG_MEM_SOFT_DIRTY)");
        }
        saved.expect(&["checkpoint", "--pre-dump", "--image-path", parent.to_str().unwrap(), &saved.bundle.id]);
        assert_eq!(saved.state()["status"], "running");
        let now = numbers.next();
        numbers.reach(now + 2);
        saved.checkpoint(&["--parent-path", "../parent"]).unwrap();
        assert!(fs::read_link(saved.images().join("parent")).is_ok());
        let last = numbers.last();
        let next = saved.restore(&[]).unwrap().next();
        assert!(next == last + 1 || next == last, "{next} after {last}");
        saved.delete();
    }

    fn binds_show_the_host_again(t) {
        let shared = t.shared_dir("shared");
        let saved = Saved::new(t, |config| {
            add_mount(config, "/link/data", "bind", &shared, &["bind", "ro"]);
            add_mount(config, "/dev/data", "bind", &shared, &["bind"]);
            add_mount(config, "/one", "bind", &format!("{shared}/file"), &["bind"]);
        });
        std::os::unix::fs::symlink("/tmp", saved.bundle.rootfs("link")).unwrap();
        saved.run().reach(2);
        saved.checkpoint(&[]).unwrap();
        fs::write(format!("{shared}/file"), "changed").unwrap();
        saved.restore(&[]).unwrap().next();
        for path in ["/tmp/data/file", "/dev/data/file", "/one"] {
            assert_eq!(saved.exec(&["read", path]).stdout.trim(), "changed", "{path}");
        }
        saved.exec(&["write", "/tmp/data/file", "x"]).expect_words("EROFS");
        saved.exec(&["write", "/dev/data/file", "y"]).expect_ok();
        saved.delete();
    }

    fn a_target_that_the_rootfs_lacks_is_made(t) {
        let shared = t.shared_dir("shared");
        let saved = Saved::new(t, |config| add_mount(config, "/a/b", "bind", &shared, &["bind"]));
        saved.run().reach(2);
        saved.checkpoint(&[]).unwrap();
        fs::remove_dir_all(saved.bundle.rootfs("a")).unwrap();
        saved.restore(&[]).unwrap().next();
        assert_eq!(saved.exec(&["read", "/a/b/file"]).stdout.trim(), "from the host");
        saved.delete();
    }

    fn a_joined_network_namespace_is_joined_again(t) {
        let mut owner = Command::new("unshare").args(["--net", "sleep", "1000"]).spawn().unwrap();
        let path = format!("/proc/{}/ns/net", owner.id());
        let inode = |path: &str| fs::metadata(path).map_or(0, |meta| meta.ino());
        crate::support::wait_until("a namespace", || inode(&path) != inode("/proc/self/ns/net"));
        let saved = Saved::new(t, |config| {
            let list = config["linux"]["namespaces"].as_array_mut().unwrap();
            let network = list.iter_mut().find(|entry| entry["type"] == "network").unwrap();
            network["path"] = json!(path);
        });
        saved.run().reach(2);
        saved.checkpoint(&[]).unwrap();
        saved.restore(&[]).unwrap().next();
        let pid = saved.state()["pid"].clone();
        assert_eq!(inode(&format!("/proc/{pid}/ns/net")), inode(&path));
        saved.delete();
        owner.kill().unwrap();
        owner.wait().unwrap();
    }

    fn the_terminal_goes_to_another_socket(t) {
        let saved = Saved::new(t, |config| config["process"]["terminal"] = json!(true));
        let console = Console::new(t, "first");
        saved.expect(&["run", "--detach", "--console-socket", console.path(), "--bundle",
            saved.bundle.path(), &saved.bundle.id]);
        let (first, _) = console.receive();
        let mut lines = BufReader::new(fs::File::from(first));
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        saved.checkpoint(&[]).unwrap();
        let console = Console::new(t, "second");
        let images = saved.images();
        saved.expect(&["restore", "--detach", "--console-socket", console.path(), "--bundle",
            saved.bundle.path(), "--image-path", images.to_str().unwrap(), &saved.bundle.id]);
        let (second, _) = console.receive();
        line.clear();
        BufReader::new(fs::File::from(second)).read_line(&mut line).unwrap();
        assert!(line.trim().parse::<u64>().is_ok(), "{line:?}");
        saved.delete();
    }

    fn limits_hold_again(t) {
        let saved = Saved::new(t, |config| {
            if t.view == View::V1 {
                config["linux"]["resources"]["pids"] = json!({"limit": 20});
            }
        });
        saved.run().reach(2);
        saved.checkpoint(&[]).unwrap();
        saved.restore(&[]).unwrap().next();
        let made = saved.exec(&["mknod", "/dev/x", "b", "7", "0"]).stdout;
        assert!(made.contains("\"mknod\": \"EPERM\""), "{made}");
        saved.delete();
    }
}

once! {
    fn file_locks_are_held_again(t) {
        let saved = Saved::new(t, |config| {
            config["process"]["args"] = json!(["/probe", "count", "/tmp/lock"]);
            config["root"]["readonly"] = json!(false);
        });
        saved.run().reach(2);
        assert!(saved.checkpoint(&[]).is_err());
        saved.checkpoint(&["--file-locks"]).unwrap();
        saved.restore(&["--file-locks"]).unwrap().next();
        let locks = fs::read_to_string("/proc/locks").unwrap();
        let pid = saved.state()["pid"].to_string();
        assert!(locks.lines().any(|line| line.contains("FLOCK") && line.contains(&format!(" {pid} "))), "{locks}");
        saved.delete();
    }

    fn hooks_of_the_runtime_run_again(t) {
        let out = t.dir.join("hooked");
        let hook = json!([{"path": crate::support::probe::path(), "args": ["probe", "hook", out]}]);
        let saved = Saved::new(t, |config| {
            config["hooks"] = json!({"createRuntime": hook, "poststop": hook});
        });
        let seen = || fs::read_to_string(&out).unwrap_or_default().lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["state"]["status"].clone())
            .collect::<Vec<_>>();
        saved.run().reach(2);
        saved.checkpoint(&[]).unwrap();
        assert_eq!(seen(), ["creating", "stopped"]);
        saved.restore(&[]).unwrap().next();
        if !t.runtime.is_reference {
            assert_eq!(seen(), ["creating", "stopped", "creating"]);
        }
        saved.delete();
    }

    fn a_restore_in_the_foreground_ends_with_the_container(t) {
        let saved = Saved::new(t, |config| config["root"]["readonly"] = json!(false));
        saved.run().reach(2);
        saved.checkpoint(&[]).unwrap();
        let images = saved.images();
        let mut args = vec!["restore", "--bundle", saved.bundle.path()];
        args.extend(["--image-path", images.to_str().unwrap()]);
        args.extend(saved.cgroups());
        args.push(&saved.bundle.id);
        let mut command = t.runtime.command(&args);
        command.env("PATH", &saved.path).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        Numbers(BufReader::new(child.stdout.take().unwrap())).next();
        t.runtime.call(&["kill", &saved.bundle.id, "KILL"]).expect_ok();
        assert_eq!(child.wait().unwrap().code(), Some(137));
        saved.is_gone();
    }

    fn only_what_runs_is_saved(t) {
        let saved = Saved::new(t, |_| {});
        let container = t.create(&saved.bundle);
        let error = saved.checkpoint(&[]).unwrap_err();
        assert!(error.contains("Container cannot be checkpointed in created state"), "{error}");
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        let error = saved.checkpoint(&[]).unwrap_err();
        assert!(error.contains("Container cannot be checkpointed in stopped state"), "{error}");
        assert!(!saved.images().exists());
        container.delete().expect_ok();
    }

    fn a_restore_that_fails_leaves_nothing(t) {
        let saved = Saved::new(t, |_| {});
        fs::create_dir(saved.images()).unwrap();
        fs::write(saved.images().join("descriptors.json"), "[]").unwrap();
        let error = saved.restore(&[]).err().unwrap();
        assert!(error.contains("criu failed: type RESTORE"), "{error}");
        if !t.runtime.is_reference {
            assert!(error.contains("restore.log") && error.contains("Error ("), "{error}");
        }
        saved.is_gone();
        // And the next one is not in its way.
        fs::remove_dir_all(saved.images()).unwrap();
        saved.run().reach(2);
        saved.delete();
    }

    fn a_dump_that_fails_leaves_the_container_running(t) {
        let saved = Saved::new(t, |config| {
            config["process"]["args"] = json!(["/probe", "count", "/tmp/lock"]);
            config["root"]["readonly"] = json!(false);
        });
        let mut numbers = saved.run();
        numbers.reach(2);
        let error = saved.checkpoint(&[]).unwrap_err();
        assert!(error.contains("criu failed: type "), "{error}");
        if !t.runtime.is_reference {
            assert!(error.contains("dump.log") && error.contains("Error ("), "{error}");
        }
        assert_eq!(saved.state()["status"], "running");
        let now = numbers.next();
        numbers.reach(now + 2);
        saved.delete();
    }

    fn a_machine_without_criu_is_told_so(t) {
        t.only_orlop("runc's words are Go's");
        let container = t.sleeper(|_| {});
        let mut command = t.runtime.command(&["checkpoint", "--image-path", "/nowhere", &container.id]);
        command.env("PATH", "/nowhere");
        t.runtime.finish(command).expect_error("criu: executable file not found in $PATH");
        container.end();
    }
}
