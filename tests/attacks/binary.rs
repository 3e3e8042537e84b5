//! The runtime's own program, which the container can reach (CVE-2019-5736).

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use super::tracing::{enter_slowly, may_trace};
use crate::support::bundle::{push, set_capabilities, set_namespaces};
use crate::support::runtime::Running;
use crate::support::{Bundle, Container, Test, both_views, once, wait_until};

/// Device and inode.
fn identity(path: impl AsRef<Path>) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// A pipe in the image at which a runtime that takes it for its log waits; and the libraries
/// that the runtime needs, where it needs any.
fn add_pipe(t: &Test, bundle: &Bundle) -> PathBuf {
    let needed = Command::new("ldd")
        .arg(&t.runtime.program)
        .output()
        .unwrap();
    let needed = String::from_utf8_lossy(&needed.stdout).into_owned();
    for library in needed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        bundle.add_file(library, "");
        fs::copy(library, bundle.rootfs(library)).unwrap();
    }
    let pipe = bundle.rootfs("pipe");
    mkfifo(&pipe, Mode::from_bits_truncate(0o666)).unwrap();
    pipe
}

/// The spy has the program in its hands: let it go on to its end, and see what comes of it.
fn assert_not_writable(spy: &Container, pipe: &Path) {
    spy.wait_for_output("held");
    let reader = File::options().read(true).write(true).open(pipe).unwrap();
    spy.wait_for_output("opened for writing");
    drop(reader);
    let said = spy.output();
    assert!(
        said.contains("made writable: E") && said.contains("writing: EROFS"),
        "{said}"
    );
}

/// A runtime that is not root, and waits at its log.
fn waiting_as_a_user(t: &Test) -> (Running, PathBuf) {
    let program = t.dir.join(t.runtime.program.file_name().unwrap());
    fs::copy(&t.runtime.program, &program).unwrap();
    fs::set_permissions(&t.dir, fs::Permissions::from_mode(0o755)).unwrap();
    let pipe = t.dir.join("pipe");
    let _ = mkfifo(&pipe, Mode::empty());
    fs::set_permissions(&pipe, fs::Permissions::from_mode(0o666)).unwrap();
    let mut command = Command::new(&program);
    command.arg("--log").arg(pipe).args(["run", "x"]);
    command
        .env_clear()
        .env("TMPDIR", "/dev/shm")
        .uid(61_234)
        .gid(61_234);
    (t.runtime.spawn(command), program)
}

once! {
    fn the_program_as_entry_point_cannot_be_written_to(t) {
        t.only_orlop("the reference is sealed by other means");
        let spy = t.start(&t.bundle(&["overwrite"], may_trace));
        spy.wait_for_output("ready");
        let bundle = t.bundle(&[], |config| {
            set_namespaces(config, &["mount", "uts", "ipc", "network"]);
            let path = format!("/proc/{}/ns/pid", spy.pid());
            push(config, "/linux/namespaces", json!({"type": "pid", "path": path}));
            config["process"]["args"] = json!(["/proc/self/exe", "--log", "/pipe", "list"]);
        });
        let pipe = add_pipe(t, &bundle);
        let container = t.start(&bundle);
        assert_not_writable(&spy, &pipe);
        container.wait_for_status("stopped");
        container.delete().expect_ok();
        spy.end();
    }

    fn the_program_as_interpreter_cannot_be_written_to(t) {
        t.only_orlop("the reference is sealed by other means");
        let bundle = t.bundle(&["overwrite"], may_trace);
        let pipe = add_pipe(t, &bundle);
        bundle.add_file("script", "#!/proc/self/exe --log=/pipe\n");
        fs::set_permissions(bundle.rootfs("script"), fs::Permissions::from_mode(0o755)).unwrap();
        let spy = t.start(&bundle);
        spy.wait_for_output("ready");
        t.runtime.call(&["exec", "--detach", &spy.id, "/script"]).expect_ok();
        assert_not_writable(&spy, &pipe);
        spy.end();
    }

    fn the_program_through_exec_cannot_be_written_to(t) {
        // With every capability: neither can its mount be made writable again.
        t.only_orlop("the reference is sealed by other means");
        let all = ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_CHROOT"];
        let bundle = t.bundle(&["overwrite"], |config| set_capabilities(config, &all));
        let pipe = add_pipe(t, &bundle);
        let spy = t.start(&bundle);
        spy.wait_for_output("ready");
        let args = ["exec", "--detach", &spy.id, "/proc/self/exe", "--log", "/pipe", "list"];
        t.runtime.call(&args).expect_ok();
        assert_not_writable(&spy, &pipe);
        spy.end();
    }

    fn nobody_holds_the_sealed_program_open(t) {
        // By such an fd the mount could be made writable again.
        t.only_orlop("the reference seals itself in another way");
        let bundle = t.bundle(&["sleep"], |_| {});
        let running = t.runtime.spawn(t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]));
        wait_until("ready", || running.stdout().contains("ready"));
        let program = identity(&t.runtime.program);
        assert_eq!(identity(format!("/proc/{}/exe", running.pid())), program, "another program");
        for entry in fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap() {
            let path = entry.unwrap().path();
            assert_ne!(identity(&path), program, "{} is the program", path.display());
        }
        running.signal(Signal::SIGKILL);
        running.wait();
        t.runtime.call(&["delete", "--force", &bundle.id]).expect_ok();
    }

    fn without_privileges_the_program_is_a_sealed_copy(t) {
        t.only_orlop("the reference is sealed by other means");
        let (running, program) = waiting_as_a_user(t);
        let exe = format!("/proc/{}/exe", running.pid());
        wait_until("the copy", || identity(&exe).is_some_and(|found| Some(found) != identity(&program)));
        let link = fs::read_link(&exe).unwrap();
        assert!(link.to_string_lossy().starts_with("/memfd:orlop"), "{}", link.display());
        running.signal(Signal::SIGKILL);
        running.wait();
    }

    fn where_a_sealed_copy_may_not_run_the_program_is_one_without_a_name(t) {
        t.only_orlop("the reference is sealed by other means");
        // Of this pid namespace alone.
        if fs::write("/proc/sys/vm/memfd_noexec", "2").is_err() {
            t.skip("this kernel has no vm.memfd_noexec");
        }
        let (running, program) = waiting_as_a_user(t);
        let exe = format!("/proc/{}/exe", running.pid());
        wait_until("the copy", || identity(&exe).is_some_and(|found| Some(found) != identity(&program)));
        assert_eq!(fs::metadata(&exe).unwrap().nlink(), 0);
        running.signal(Signal::SIGKILL);
        running.wait();
    }

    fn a_seal_is_believed_when_it_is_seen_and_not_when_it_is_told(t) {
        t.only_orlop("the variable is ours");
        let mut command = t.runtime.command(&["run", "x"]);
        command.env("_ORLOP_SEALED", "1");
        t.runtime.finish(command).expect_error("is not sealed");
    }
}

both_views! {
    fn the_runtimes_program_cannot_be_written_to_by_who_holds_it(t) {
        // CVE-2019-5736: held while it runs, opened for writing when it does not any more.
        t.only_orlop("the attack gets no hold of runc 1.1's program");
        let container = t.start(&t.bundle(&["overwrite"], may_trace));
        container.wait_for_output("ready");
        enter_slowly(t, &container);
        container.wait_for_output("opened for writing");
        let said = container.output();
        assert!(!said.contains("writing: ok"), "{said}");
        assert!(said.contains("writing: EROFS"), "{said}");
        container.end();
    }

    fn the_runtime_cannot_be_written_to_through_its_exe_link(t) {
        // Not even by the host's root, when nothing runs it any more.
        t.only_orlop("runc 1.1 is checked by its own tests");
        let container = t.create(&t.bundle(&["exit", "0"], |_| {}));
        let held = File::open(format!("/proc/{}/exe", container.pid())).unwrap();
        container.delete_force().expect_ok();
        let path = format!("/proc/self/fd/{}", held.as_raw_fd());
        let mut errno = None;
        // Other tests run the same file.
        wait_until("nothing runs it", || {
            errno = File::options().write(true).open(&path).err().and_then(|error| error.raw_os_error());
            errno != Some(libc::ETXTBSY)
        });
        assert_eq!(errno, Some(libc::EROFS));
    }
}
