//! Docker's default profile, the one that most containers of the world run under.

use std::time::{Duration, Instant};

use oci_spec::runtime::{Arch, LinuxSeccomp};

use super::interpret::{Call, always_allowed, run, verify};
use super::random::numbers;
use super::reading::{I386, Known, Reading, TABLES};
use crate::seccomp::disasm::disassemble;
use crate::seccomp::{Filter, compile_for};

/// As Docker 29 writes it into config.json on x86_64 for a container with default capabilities.
pub fn docker() -> LinuxSeccomp {
    serde_json::from_str(include_str!("../../../tests/data/seccomp/docker.json")).unwrap()
}

fn compiled() -> Filter {
    compile_for(Arch::ScmpArchX86_64, &docker(), "/linux/seccomp").unwrap()
}

#[test]
fn it_answers_as_it_reads() {
    let (profile, filter) = (docker(), compiled());
    verify(&filter.program).unwrap();
    let reading = Reading::new(&profile);
    for (audit, number) in numbers() {
        // 0 to 40 covers what `socket` compares with, the rest personality and clone.
        for value in (0..=41).chain([0x20000, 0x20008, 0xffff_ffff, 0x7e02_0000, 1 << 32]) {
            let mut call = Call::new(audit, number);
            call.args[0] = if audit == I386 {
                value & 0xffff_ffff
            } else {
                value
            };
            assert_eq!(
                run(&filter.program, &call, false).action,
                reading.answer(&call),
                "{call:x?}"
            );
        }
    }
}

#[test]
fn it_is_small_and_its_paths_are_short() {
    let filter = compiled();
    let mut longest = (0, "");
    let mut cached = 0;
    for &Known {
        audit,
        number,
        name,
    } in TABLES.iter()
    {
        let outcome = run(&filter.program, &Call::new(audit, number), false);
        longest = longest.max((outcome.search, name));
        cached += usize::from(always_allowed(&filter.program, audit, number));
    }
    println!(
        "{} instructions, at most {} steps before arguments ({}), {cached} calls cached",
        filter.program.len(),
        longest.0,
        longest.1
    );
    assert!(longest.0 <= 25, "{longest:?}");
    assert!(filter.program.len() < 400, "{}", filter.program.len());
    // Nearly all that it names is allowed whatever the arguments, on each of the three ABIs.
    assert!(cached > 900, "{cached}");
}

#[test]
fn nothing_in_it_is_skipped_but_what_we_do_not_know() {
    assert_eq!(compiled().skipped, Vec::<String>::new());
}

#[test]
fn it_can_be_read_by_people() {
    let text = disassemble(&compiled().program).join("\n");
    println!("{text}");
    assert!(text.contains("x86_64"), "{text}");
    assert!(text.contains("ret   ERRNO 38 (ENOSYS)"), "{text}");
    assert!(text.contains("load  arg0 low"), "{text}");
    assert!(text.contains("personality (135)"), "{text}");
}

#[test]
#[ignore = "a measurement, for release builds: cargo test --release -- --ignored docker"]
fn it_compiles_in_less_than_300_us() {
    let profile = docker();
    let mut times: Vec<_> = (0..500)
        .map(|_| {
            let start = Instant::now();
            let filter = compile_for(Arch::ScmpArchX86_64, &profile, "").unwrap();
            assert!(!filter.program.is_empty());
            start.elapsed()
        })
        .collect();
    times.sort();
    let median = times[times.len() / 2];
    println!("compiled in {median:?} (median), {:?} (best)", times[0]);
    assert!(median < Duration::from_micros(300), "{median:?}");
}
