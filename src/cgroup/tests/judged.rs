//! Ten thousand random rule lists, told to the kernel and judged by it: the loaded program on v2,
//! the lists on v1. (As many are judged by an interpreter of the same program, beside it.)
//!
//! There is no test run for programs of this type, so a process in the cgroup asks: mknod(2) for
//! making, access(2) for reading and writing, which comes to the same check as open(2) and needs
//! no driver.

use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{AccessFlags, Pid, access, unlink};
use serde_json::json;

use super::Place;
use crate::cgroup::devices::tests::rule;
use crate::cgroup::devices::{MKNOD, READ, Table, WRITE};
use crate::cgroup::program::tests::{Access, Random, model};
use crate::cgroup::program::{BLOCK, CHAR};
use crate::cgroup::{Cgroup, limits, open_dir, program};
use crate::plan::DeviceRule;
use crate::sys::{clone, process};

const LISTS: usize = 10_000;
const NUMBERS: [(u32, u32); 6] = [(1, 3), (1, 0), (5, 3), (5, 0xf_ffff), (4095, 3), (999, 7)];
/// One of each kind and number, four accesses.
const QUESTIONS: usize = 2 * NUMBERS.len() * 4;

/// What is asked, in the order of the answers.
fn questions() -> Vec<Access> {
    let mut all = Vec::with_capacity(QUESTIONS);
    for kind in [CHAR, BLOCK] {
        for (major, minor) in NUMBERS {
            for access in [MKNOD, READ, WRITE, READ | WRITE] {
                all.push(Access {
                    kind,
                    access,
                    major,
                    minor,
                });
            }
        }
    }
    all
}

fn kind(asked: Access) -> SFlag {
    match asked.kind {
        BLOCK => SFlag::S_IFBLK,
        _ => SFlag::S_IFCHR,
    }
}

fn path(dir: &Path, name: &str) -> CString {
    CString::new(format!("{}/{name}", dir.display())).unwrap()
}

/// A process in the cgroup that answers all questions for each byte that it is sent.
struct Witness {
    pid: Pid,
    line: UnixStream,
}

impl Witness {
    /// `None` when the test itself may not make devices.
    fn start(cgroup: &Cgroup, unified: Option<BorrowedFd>, dir: &Path) -> Option<Self> {
        let questions = questions();
        let name = |asked: &Access| format!("{}-{}-{}", asked.kind, asked.major, asked.minor);
        let nodes: Vec<CString> = questions.iter().map(|q| path(dir, &name(q))).collect();
        for (asked, node) in questions.iter().zip(&nodes).step_by(4) {
            let device = makedev(asked.major.into(), asked.minor.into());
            match mknod(node.as_c_str(), kind(*asked), Mode::S_IRUSR, device) {
                Err(Errno::EPERM) => return None,
                made => made.unwrap(),
            }
        }
        let new = path(dir, "new");
        let (line, mut theirs) = UnixStream::pair().unwrap();
        // The child is a copy of a process with threads: it must not ask for memory.
        let witness = || -> std::convert::Infallible {
            let mut answers = [0; QUESTIONS];
            while theirs.read(&mut [0]).is_ok_and(|n| n == 1) {
                for (at, (asked, node)) in questions.iter().zip(&nodes).enumerate() {
                    let done = match asked.access {
                        MKNOD => {
                            let device = makedev(asked.major.into(), asked.minor.into());
                            let made = mknod(new.as_c_str(), kind(*asked), Mode::empty(), device);
                            let _ = unlink(new.as_c_str());
                            made
                        }
                        READ => access(node.as_c_str(), AccessFlags::R_OK),
                        WRITE => access(node.as_c_str(), AccessFlags::W_OK),
                        _ => access(node.as_c_str(), AccessFlags::R_OK | AccessFlags::W_OK),
                    };
                    answers[at] = match done {
                        Ok(()) => 1,
                        Err(Errno::EPERM) => 0,
                        Err(_) => 2,
                    };
                }
                if theirs.write_all(&answers).is_err() {
                    break;
                }
            }
            process::exit_now(0)
        };
        // A thread that has entered the v1 hierarchies has children there.
        let start = || {
            cgroup.enter().unwrap();
            clone::clone3(0, unified, witness).unwrap()
        };
        let (pid, _) = std::thread::scope(|scope| scope.spawn(start).join()).unwrap();
        Some(Self { pid, line })
    }

    fn answers(&mut self) -> [u8; QUESTIONS] {
        let mut answers = [0; QUESTIONS];
        self.line.write_all(&[0]).unwrap();
        self.line.read_exact(&mut answers).unwrap();
        answers
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.line.shutdown(std::net::Shutdown::Both);
        let _ = waitpid(self.pid, None);
    }
}

/// Tell the kernel many lists by `set`, and compare its verdicts with the model's.
fn compare(witness: &mut Witness, seed: u64, set: impl Fn(&Table)) {
    let mut random = Random(seed);
    let (mut lists, mut allowed, mut denied) = (0, 0, 0);
    while lists < LISTS {
        let length = random.below(14);
        let rules: Vec<DeviceRule> = (0..length).map(|_| random.rule()).collect();
        let Ok(table) = Table::new(&rules) else {
            continue;
        };
        lists += 1;
        set(&table);
        for (asked, answer) in questions().iter().zip(witness.answers()) {
            let expected = model(&rules, *asked);
            assert_eq!(answer, u8::from(expected), "{asked:?}: {rules:#?}");
            *(if expected { &mut allowed } else { &mut denied }) += 1;
        }
    }
    // The comparison is worth something only if both verdicts were common.
    assert!(allowed > 2_000 && denied > 2_000, "{allowed} and {denied}");
}

#[test]
fn the_kernel_judges_as_the_rules_say() {
    let Some(place) = Place::new("judge", json!({})) else {
        return;
    };
    let cgroup = place.create().unwrap();
    let unified = cgroup.unified_dir().map(|dir| open_dir(dir).unwrap());
    let unified = unified.as_ref().map(AsFd::as_fd);
    let dir = std::env::temp_dir().join(format!("orlop-judge-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let everything = Table::new(&[rule("allow a")]).unwrap();
    match Witness::start(&cgroup, unified, &dir) {
        None => eprintln!("SKIPPED: no right to make devices"),
        Some(mut witness) => {
            if let Some(v1) = cgroup.v1_dir("devices") {
                compare(&mut witness, 0x0bad_cafe_0dd5_eed5, |table| {
                    limits::set_devices_v1(v1, table).unwrap();
                });
                // What is denied now is denied by the program alone.
                limits::set_devices_v1(v1, &everything).unwrap();
            }
            if let Some(unified) = unified {
                compare(&mut witness, 0x5eed_0fde_71ce_5eed, |table| {
                    program::replace(unified, table).unwrap();
                });
            }
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
    cgroup.remove().unwrap();
}

/// A process in the cgroup that opens the two devices again and again, until the line ends. Its
/// status: 0 when the first could be opened each time and the second never.
fn doors(
    cgroup: &Cgroup,
    unified: BorrowedFd,
    open: &CString,
    shut: &CString,
) -> (Pid, UnixStream) {
    let (line, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let looks = || -> std::convert::Infallible {
        let both = AccessFlags::R_OK | AccessFlags::W_OK;
        let mut rounds = 0_u64;
        while !theirs.read(&mut [0]).is_ok_and(|n| n == 0) {
            if access(open.as_c_str(), both) != Ok(()) {
                process::exit_now(1);
            }
            if access(shut.as_c_str(), both) != Err(Errno::EPERM) {
                process::exit_now(2);
            }
            rounds += 1;
        }
        process::exit_now(if rounds < 1_000 { 3 } else { 0 })
    };
    let start = || {
        cgroup.enter().unwrap();
        clone::clone3(0, Some(unified), looks).unwrap()
    };
    let (pid, _) = std::thread::scope(|scope| scope.spawn(start).join()).unwrap();
    (pid, line)
}

#[test]
fn programs_are_replaced_without_a_gap() {
    let Some(place) = Place::new("gap", json!({})) else {
        return;
    };
    let cgroup = place.create().unwrap();
    let Some(unified) = cgroup.unified_dir().map(|dir| open_dir(dir).unwrap()) else {
        eprintln!("SKIPPED: no unified hierarchy");
        return cgroup.remove().unwrap();
    };
    let dir = std::env::temp_dir().join(format!("orlop-gap-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let nodes = [("null", 3), ("shut", 11)].map(|(name, minor)| {
        let node = path(&dir, name);
        let made = mknod(
            node.as_c_str(),
            SFlag::S_IFCHR,
            Mode::S_IRUSR,
            makedev(1, minor),
        );
        (node, made)
    });
    let [(null, Ok(())), (shut, Ok(()))] = &nodes else {
        eprintln!("SKIPPED: no right to make devices");
        std::fs::remove_dir_all(&dir).unwrap();
        return cgroup.remove().unwrap();
    };
    if let Some(v1) = cgroup.v1_dir("devices") {
        limits::set_devices_v1(v1, &Table::new(&[rule("allow a")]).unwrap()).unwrap();
    }
    let lists = [
        vec![rule("deny a"), rule("allow c 1:3 rwm")],
        vec![rule("allow a"), rule("deny c 1:11 rwm")],
    ];
    let tables = lists.map(|list| Table::new(&list).unwrap());
    program::replace(unified.as_fd(), &tables[0]).unwrap();
    let (pid, line) = doors(&cgroup, unified.as_fd(), null, shut);
    for round in 0..1_000 {
        if round % 10 == 0 {
            // There may be several, of which each must allow.
            program::attach(unified.as_fd(), &tables[0]).unwrap();
        }
        program::replace(unified.as_fd(), &tables[round % 2]).unwrap();
    }
    // The child has a copy of our end.
    line.shutdown(std::net::Shutdown::Both).unwrap();
    let ended = waitpid(pid, None).unwrap();
    assert_eq!(
        ended,
        WaitStatus::Exited(pid, 0),
        "1: a denial, 2: an opening"
    );
    std::fs::remove_dir_all(&dir).unwrap();
    cgroup.remove().unwrap();
}
