//! Random profiles: the program against the plain reading, on every call number.

use oci_spec::runtime::{Arch, LinuxSeccomp};
use serde_json::{Value, json};

use super::interpret::{Call, run, verify};
use super::reading::{I386, IPC_CALLS, Reading, SOCKET_CALLS, TABLES, X32_BIT, X86_64};
use crate::seccomp::compile_for;

const PROFILES: u64 = 20_000;

/// xorshift64*: the same profiles in each run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = TABLES.iter().map(|known| known.name).collect();
    names.extend(["send", "recv", "semop", "not_a_call", "arm_fadvise64_64"]);
    names.sort_unstable();
    names.dedup();
    names
}

fn action(dice: &mut Dice, rule: bool) -> (Value, Value) {
    let actions = [
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_TRAP",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
    ];
    let name = *dice.pick(&actions[..actions.len() - usize::from(!rule)]);
    let takes_errno = matches!(name, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
    let errno = match dice.below(3) {
        0 if takes_errno => json!(dice.below(3)),
        1 if takes_errno => json!(dice.pick(&[38, 95, 4095, 65535])),
        _ => Value::Null,
    };
    (json!(name), errno)
}

/// Values where a comparison by halves could go wrong.
fn word(dice: &mut Dice) -> u64 {
    match dice.below(6) {
        0 => dice.below(4) as u64,
        1 => 0xffff_ffff,
        2 => u64::MAX,
        3 => (dice.below(3) as u64) << 32 | dice.below(3) as u64,
        4 => 1 << dice.below(64),
        _ => dice.next(),
    }
}

fn args(dice: &mut Dice) -> Value {
    let count = match dice.below(4) {
        0 | 1 => 0,
        2 => 1,
        _ => 1 + dice.below(7),
    };
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let args = (0..count).map(|_| {
        let mut arg = json!({
            "index": dice.below(6),
            "value": word(dice),
            "op": format!("SCMP_CMP_{}", dice.pick(&operators)),
        });
        if dice.below(2) == 0 {
            arg["valueTwo"] = json!(word(dice));
        }
        arg
    });
    args.collect()
}

pub fn profile(dice: &mut Dice, names: &[&str]) -> LinuxSeccomp {
    let (default, default_errno) = action(dice, false);
    let arches = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
    let listed: Vec<_> = arches.iter().filter(|_| dice.below(3) > 0).collect();
    let rules = [0, 1, 3, 8, 12][dice.below(5)];
    // Few names, so that they meet in several rules; now and then many.
    let pool: Vec<&str> = match dice.below(20) {
        0 => names.to_vec(),
        _ => (0..=dice.below(12)).map(|_| *dice.pick(names)).collect(),
    };
    let syscalls: Vec<Value> = (0..rules)
        .map(|_| {
            let (action, errno) = action(dice, true);
            let most = pool.len().min(1 + dice.below(60));
            let named: Vec<&str> = (0..=dice.below(most)).map(|_| *dice.pick(&pool)).collect();
            let notify = action == "SCMP_ACT_NOTIFY";
            let named: Vec<&str> = named
                .into_iter()
                .filter(|name| !(notify && *name == "write"))
                .collect();
            json!({ "names": named, "action": action, "errnoRet": errno, "args": args(dice) })
        })
        .collect();
    serde_json::from_value(json!({
        "defaultAction": default,
        "defaultErrnoRet": default_errno,
        "architectures": listed,
        "listenerPath": "/agent",
        "syscalls": syscalls,
    }))
    .unwrap()
}

/// Arguments at and beside the values that the profile compares with.
fn arguments(dice: &mut Dice, profile: &LinuxSeccomp, call: &mut Call) {
    for arg in &mut call.args {
        *arg = word(dice);
    }
    let tested: Vec<_> = profile
        .syscalls()
        .iter()
        .flatten()
        .filter_map(|syscall| syscall.args().as_ref())
        .flatten()
        .collect();
    for _ in 0..6.min(tested.len()) {
        let arg = dice.pick(&tested);
        let value = match dice.below(2) {
            0 => arg.value(),
            _ => arg.value_two().unwrap_or(arg.value()),
        };
        call.args[arg.index()] = match dice.below(6) {
            0 => value.wrapping_add(1),
            1 => value.wrapping_sub(1),
            2 => value ^ (1 << dice.below(64)),
            _ => value,
        };
    }
    // On i386 the kernel hands 32 bits of each argument to the filter.
    if call.audit == I386 {
        for arg in &mut call.args {
            *arg &= u64::from(u32::MAX);
        }
    }
}

/// Every number of the three tables, those around them, and a foreign architecture's.
pub fn numbers() -> Vec<(u32, u32)> {
    let edges = [
        0x3fff_ffff,
        0x4000_0000 + 1000,
        0x7fff_ffff,
        0x8000_0000,
        0x8000_0001,
        0xbfff_ffff,
        0xc000_0000,
        0xffff_fffe,
        0xffff_ffff,
    ];
    let mut numbers: Vec<(u32, u32)> = Vec::new();
    for (audit, base) in [(X86_64, 0), (X86_64, X32_BIT), (I386, 0)] {
        numbers.extend((0..560).map(|number| (audit, base | number)));
        numbers.extend(edges.map(|number| (audit, number)));
    }
    numbers.extend([(0xc000_00b7, 0), (0xc000_00b7, 63), (0x4000_0028, 3)]);
    numbers
}

/// One profile on every number; the text says what differs.
fn check(seed: u64, names: &[&str], numbers: &[(u32, u32)]) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let profile = profile(&mut dice, names);
    let filter = compile_for(Arch::ScmpArchX86_64, &profile, "/linux/seccomp")
        .map_err(|error| format!("profile {seed}: {error}"))?;
    verify(&filter.program).map_err(|error| format!("profile {seed}: {error}"))?;
    let reading = Reading::new(&profile);
    for &(audit, number) in numbers {
        let mut call = Call::new(audit, number);
        for round in 0..6 {
            let got = run(&filter.program, &call, false);
            let wanted = reading.answer(&call);
            if got.action != wanted {
                let text = serde_json::to_string(&profile).unwrap();
                return Err(format!(
                    "profile {seed}, {call:x?}: {:#x}, not {wanted:#x}\n{text}",
                    got.action
                ));
            }
            // Arguments that nobody looks at need no second round.
            if got.search == got.steps {
                break;
            }
            arguments(&mut dice, &profile, &mut call);
            let selector = match round {
                _ if audit != I386 => continue,
                0..3 => 1 + dice.below(SOCKET_CALLS.len()) as u64,
                _ => dice.pick(&IPC_CALLS).0 | (dice.below(3) as u64) << 16,
            };
            if matches!(number, 102 | 117) {
                call.args[0] = selector;
            }
        }
    }
    Ok(())
}

#[test]
fn a_program_answers_as_a_plain_reading_of_its_profile() {
    let names = names();
    let numbers = numbers();
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get() as u64);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let (names, numbers) = (&names, &numbers);
        let work = |worker| {
            move || {
                (worker..PROFILES)
                    .step_by(workers as usize)
                    .find_map(|seed| check(seed, names, numbers).err())
            }
        };
        let running: Vec<_> = (0..workers).map(|w| scope.spawn(work(w))).collect();
        running
            .into_iter()
            .filter_map(|worker| worker.join().unwrap())
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
