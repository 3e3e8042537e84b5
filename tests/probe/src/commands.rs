//! The small commands of the probe, one function each.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{self, SigHandler, Signal};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{self, ForkResult, Pid};
use serde_json::{Value, json};

use crate::{attack, files, kernel, load, notify, report, sys, tty};

type Outcome = Result<i32, String>;

/// Run the command that argv names; its exit status.
pub fn dispatch(argv: &[String]) -> Outcome {
    let rest = argv.get(2..).unwrap_or_default();
    let words: Vec<&str> = argv.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["report", ..] => print(&report::report(argv, rest)?),
        ["exit", status] => Ok(number(status)?),
        ["echo", ..] => say(&rest.join(" ")),
        ["kill-self", name] => kill_self(name),
        ["sleep"] => sleep(),
        ["spin"] => spin(),
        ["count"] => count(None),
        ["count", lock] => count(Some(lock)),
        ["ignore-term"] => ignore_term(),
        ["exit-on-term", status] => exit_on_term(number(status)?),
        ["spawn"] => spawn(),
        ["cat"] => io::copy(&mut io::stdin(), &mut io::stdout())
            .map(|_| 0)
            .map_err(|e| e.to_string()),
        ["read", path] => say(fs::read_to_string(path)
            .map_err(|e| named(path, &e))?
            .trim_end()),
        ["write", path, text] => fs::write(path, text)
            .map(|()| 0)
            .map_err(|e| named(path, &e)),
        ["climb", path] => climb(path),
        ["open", path] => open(path),
        ["mknod", path, kind, major, minor] => {
            make_device(path, kind, number(major)?, number(minor)?)
        }
        ["syscall", ..] => syscalls(rest),
        ["mkdir", path] => mkdir(path),
        ["hook", out, ..] => hook(argv, out, &rest[1..]),
        ["init", program, ..] => init(program, &rest[1..]),
        ["grab", whats @ ..] => attack::grab(whats),
        ["swap", names @ ..] => attack::swap(names),
        ["trace"] => attack::trace(),
        ["over", from, to] => attack::over(from, to),
        ["overwrite"] => attack::overwrite(),
        ["remount", target] => remount(target),
        ["without", names, _, ..] => kernel::without(names, &rest[1..]),
        ["tty", words @ ..] => tty::tty(words),
        ["notify", words @ ..] => notify::notify(words),
        ["doors", open, shut] => load::doors(open, shut),
        ["churn", megabytes] => load::churn(number(megabytes)?),
        ["eat", megabytes] => eat(number(megabytes)?),
        _ => {
            eprintln!("probe: no such command: {words:?}");
            Ok(2)
        }
    }
}

/// Leave a chroot(2) upwards, from a working directory above its root, and read a file there.
fn climb(path: &str) -> Outcome {
    let climbed = || -> io::Result<String> {
        std::os::unix::fs::chroot("/dev")?;
        for _ in 0..64 {
            std::env::set_current_dir("..")?;
        }
        std::os::unix::fs::chroot(".")?;
        fs::read_to_string(path)
    };
    say(&climbed().map_err(|e| named(path, &e))?)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}

fn named(what: &str, error: &io::Error) -> String {
    format!("{what}: {}", files::errno_name(error))
}

fn say(text: &str) -> Outcome {
    writeln!(io::stdout(), "{text}")
        .map(|()| 0)
        .map_err(|e| e.to_string())
}

fn print(value: &Value) -> Outcome {
    say(&format!("{value:#}"))
}

/// Try to take the flags of a mount away: says what came of it for each.
fn remount(target: &str) -> Outcome {
    let target = std::ffi::CString::new(target).map_err(|e| e.to_string())?;
    let strict = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    for (name, kept) in [("ro", strict), ("suid", libc::MS_RDONLY)] {
        let flags = libc::MS_REMOUNT | libc::MS_BIND | kept;
        let none = std::ptr::null();
        // SAFETY: the target is a string; this kind of mount takes neither source nor data.
        let rc = unsafe { libc::mount(none, target.as_ptr(), none, flags, none.cast()) };
        let outcome = match Errno::result(rc) {
            Ok(_) => "done".to_owned(),
            Err(errno) => format!("{errno:?}"),
        };
        say(&format!("{name} {outcome}"))?;
    }
    Ok(0)
}

/// End by a signal, given by name or number.
fn kill_self(name: &str) -> Outcome {
    let signal: Signal = name
        .parse()
        .map_err(|_| format!("no such signal: {name}"))?;
    signal::raise(signal).map_err(|e| e.to_string())?;
    Ok(0)
}

/// Wait for ever; says `ready` once it waits. As pid 1 no signal but those from outside ends it.
pub fn sleep() -> Outcome {
    say("ready")?;
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Count for ever, a line a number; with a lock (flock(2)) on this file, which is made.
fn count(lock: Option<&str>) -> Outcome {
    let file = lock.map(|path| fs::File::create(path).map_err(|e| named(path, &e)));
    let _held = match file.transpose()? {
        Some(file) => Some(
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.to_string())?,
        ),
        None => None,
    };
    let mut number = 0u64;
    loop {
        number += 1;
        // Nobody may be there to read, while it is saved.
        let _ = writeln!(io::stdout(), "{number}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Use the CPU for ever.
fn spin() -> Outcome {
    loop {
        std::hint::spin_loop();
    }
}

fn ignore_term() -> Outcome {
    // SAFETY: setting a disposition to ignore installs no code of ours.
    unsafe { signal::signal(Signal::SIGTERM, SigHandler::SigIgn) }.map_err(|e| e.to_string())?;
    sleep()
}

static EXIT_STATUS: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);

extern "C" fn exit_now(_: i32) {
    // SAFETY: _exit is async-signal-safe.
    unsafe { libc::_exit(EXIT_STATUS.load(std::sync::atomic::Ordering::Relaxed)) }
}

/// SIGRTMIN+3 as glibc counts, and so every program that sends it; musl counts from 35.
const REAL_TIME_3: i32 = 34 + 3;

/// Wait; exit with `status` at SIGTERM, SIGINT, SIGHUP, SIGUSR1 and real-time signal 3.
fn exit_on_term(status: i32) -> Outcome {
    EXIT_STATUS.store(status, std::sync::atomic::Ordering::Relaxed);
    for number in [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGURG,
        REAL_TIME_3,
    ] {
        // SAFETY: the handler only calls _exit, which is async-signal-safe.
        unsafe { libc::signal(number, exit_now as extern "C" fn(i32) as libc::sighandler_t) };
    }
    sleep()
}

/// A child and its parent, both waiting for ever.
fn spawn() -> Outcome {
    // SAFETY: the probe has one thread, so the child may do anything.
    match unsafe { unistd::fork() }.map_err(|e| e.to_string())? {
        ForkResult::Child => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        ForkResult::Parent { .. } => sleep(),
    }
}

/// Open for reading and say `ok` or the errno.
fn open(path: &str) -> Outcome {
    let result = fs::File::open(path).map(|_| "ok".to_owned());
    say(&result.unwrap_or_else(|e| files::errno_name(&e)))
}

/// Make a device node and open it; says for each step `ok` or the errno.
fn make_device(path: &str, kind: &str, major: u64, minor: u64) -> Outcome {
    let kind = if kind == "b" {
        SFlag::S_IFBLK
    } else {
        SFlag::S_IFCHR
    };
    let made = mknod(
        path,
        kind,
        Mode::from_bits_truncate(0o666),
        makedev(major, minor),
    );
    let name =
        |result: Result<(), Errno>| result.map_or_else(|e| format!("{e:?}"), |()| "ok".to_owned());
    let opened = fs::File::open(path).map_or_else(|e| files::errno_name(&e), |_| "ok".to_owned());
    let _ = fs::remove_file(path);
    print(&json!({"mknod": name(made), "open": opened}))
}

/// mkdirat(2), and where the fd leads that it gave, if it gave one, as an agent makes it.
fn mkdir(path: &str) -> Outcome {
    let made = sys::mkdir(path).map(|fd| match fd {
        0 => "made".to_owned(),
        fd => format!("{:?}", fs::read_link(format!("/proc/self/fd/{fd}"))),
    });
    say(&made.unwrap_or_else(|e| files::errno_name(&e)))
}

/// Try harmless system calls by name; an object of name to `ok` or errno.
fn syscalls(calls: &[String]) -> Outcome {
    let outcome = |name: &String| {
        let result = sys::try_syscall(name);
        json!(result.map_or_else(|e| files::errno_name(&e), |_| "ok".to_owned()))
    };
    print(
        &calls
            .iter()
            .map(|name| (name.clone(), outcome(name)))
            .collect(),
    )
}

/// Serve as a hook: append what it was given and what it sees to `out`, one JSON line.
/// Then the words of `rest`: `exit N`, or `hang`.
fn hook(argv: &[String], out: &str, rest: &[String]) -> Outcome {
    let mut stdin = String::new();
    io::stdin()
        .read_to_string(&mut stdin)
        .map_err(|e| e.to_string())?;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let seen = json!({
        "argv": argv,
        "env": report::environment(),
        "cwd": std::env::current_dir().map_or(Value::Null, |dir| json!(dir)),
        "pid": std::process::id(),
        "namespaces": report::namespaces(),
        "root": files::names("/"),
        "uid": sys::ids().0[1],
        "fds": files::descriptors(),
        "ignored": report::field(&status, "SigIgn"),
        "seccomp": report::field(&status, "Seccomp"),
        "state": serde_json::from_str::<Value>(&stdin).unwrap_or_else(|_| json!(stdin)),
    });
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(out)
        .map_err(|e| named(out, &e))?;
    writeln!(file, "{seen}").map_err(|e| e.to_string())?;
    match rest {
        [word, status] if word == "exit" => {
            eprintln!("the hook fails as told");
            number(status)
        }
        [word] if word == "hang" => sleep(),
        _ => Ok(0),
    }
}

/// Be pid 1 of a test: run a program, reap what is left to it, exit with its status.
fn init(program: &str, args: &[String]) -> Outcome {
    let child = Command::new(program)
        .args(args)
        .spawn()
        .map_err(|e| named(program, &e))?;
    let child = Pid::from_raw(i32::try_from(child.id()).map_err(|e| e.to_string())?);
    loop {
        match waitpid(None, Some(WaitPidFlag::empty())) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => return Ok(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(128 + signal as i32);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Touch so many MiB of memory and say `ok`.
fn eat(megabytes: usize) -> Outcome {
    let mut memory = vec![0u8; megabytes << 20];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    let sum: usize = memory.iter().map(|byte| usize::from(*byte)).sum();
    let there = Path::new("/").exists() && sum > 0;
    say(if there { "ok" } else { "nothing" })
}
