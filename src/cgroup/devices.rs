//! Device rules: what a list of allow and deny rules comes to.
//!
//! The meaning is that of the v1 devices cgroup (security/device_cgroup.c), on v2 too: a cgroup
//! either denies all but some exceptions or allows all but some, a rule for `a` starts it
//! afresh, and any other rule adds or takes away an exception. [`Table`] is the outcome of a
//! whole list. It is what v1 is told, in as few lines as it takes, and what the program for v2
//! is made of.
//!
//! The kernel silently ignores a rule that would punch a hole into a wider exception; such a
//! list promises what it does not keep, so it is refused.

use std::collections::BTreeMap;

use crate::plan::{DeviceRule, DeviceRuleKind};

/// Access bits, as the BPF context has them (BPF_DEVCG_ACC_* of linux/bpf.h).
pub const MKNOD: u8 = 1;
pub const READ: u8 = 2;
pub const WRITE: u8 = 4;
pub const ALL: u8 = MKNOD | READ | WRITE;

/// The kernel's dev_t has 12 and 20 bits.
pub const MAX_MAJOR: u32 = 0xfff;
pub const MAX_MINOR: u32 = 0xf_ffff;

/// More exceptions than this and a program for v2 could not jump over itself.
const MAX_EXCEPTIONS: usize = 8_000;

/// What an exception is about. Char sorts before block: it is asked for more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Devices {
    pub block: bool,
    /// `None` is any.
    pub major: Option<u32>,
    pub minor: Option<u32>,
}

impl Devices {
    /// Whether the kernel can have such devices at all. A program would take a number too large
    /// for dev_t for another device's, and v1 takes the largest of all, 4294967295, for any.
    pub fn exist(&self) -> bool {
        self.major.is_none_or(|major| major <= MAX_MAJOR)
            && self.minor.is_none_or(|minor| minor <= MAX_MINOR)
    }
}

/// What a list of rules comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// What holds for a device that no exception is about.
    pub allow: bool,
    /// The access that each exception allows, or denies if `allow`. Never zero.
    pub exceptions: BTreeMap<Devices, u8>,
}

/// Why a list of rules is refused: the index of the rule, and the reason.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub rule: usize,
    pub reason: String,
}

impl Table {
    /// Apply the rules in order to a cgroup that denies everything.
    pub fn new(rules: &[DeviceRule]) -> Result<Self, Refused> {
        let mut table = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            table.apply(rule).map_err(|reason| Refused {
                rule: index,
                reason,
            })?;
        }
        Ok(table)
    }

    fn apply(&mut self, rule: &DeviceRule) -> Result<(), String> {
        let block = match rule.kind {
            DeviceRuleKind::All => {
                self.allow = rule.allow;
                self.exceptions.clear();
                return Ok(());
            }
            DeviceRuleKind::Char => false,
            DeviceRuleKind::Block => true,
        };
        let devices = Devices {
            block,
            major: rule.major,
            minor: rule.minor,
        };
        let access = access(rule);
        if rule.allow == self.allow {
            return self.remove(devices, access);
        }
        *self.exceptions.entry(devices).or_default() |= access;
        if self.exceptions.len() > MAX_EXCEPTIONS {
            return Err(format!("more than {MAX_EXCEPTIONS} device rules"));
        }
        Ok(())
    }

    fn remove(&mut self, devices: Devices, access: u8) -> Result<(), String> {
        let wider = [(None, devices.minor), (devices.major, None), (None, None)];
        for (major, minor) in wider {
            let wider = Devices {
                major,
                minor,
                ..devices
            };
            let held = self.exceptions.get(&wider).copied().unwrap_or(0);
            if wider != devices && held & access != 0 {
                return Err(format!(
                    "cannot punch a hole for [{}] into the wider rule [{}]",
                    line(&devices, access),
                    line(&wider, held),
                ));
            }
        }
        if let Some(held) = self.exceptions.get_mut(&devices) {
            *held &= !access;
            if *held == 0 {
                self.exceptions.remove(&devices);
            }
        }
        Ok(())
    }

    /// The rules as v1 takes them, one a write: first for devices.allow or devices.deny what
    /// starts the cgroup afresh, then for the other file the exceptions.
    pub fn v1_lines(&self) -> Vec<String> {
        self.exceptions
            .iter()
            .filter(|(devices, _)| devices.exist())
            .map(|(devices, access)| line(devices, *access))
            .collect()
    }
}

fn access(rule: &DeviceRule) -> u8 {
    let bit = |set, bit| if set { bit } else { 0 };
    bit(rule.read, READ) | bit(rule.write, WRITE) | bit(rule.mknod, MKNOD)
}

/// `c 1:3 rwm`
fn line(devices: &Devices, access: u8) -> String {
    let kind = if devices.block { 'b' } else { 'c' };
    let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let mut line = format!(
        "{kind} {}:{} ",
        number(devices.major),
        number(devices.minor)
    );
    for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
        if access & bit != 0 {
            line.push(letter);
        }
    }
    line
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// `deny a`, `allow c 1:3 rwm`
    pub fn rule(text: &str) -> DeviceRule {
        let words: Vec<&str> = text.split([' ', ':']).collect();
        let number = |at: usize| words.get(at).and_then(|n| n.parse().ok());
        let access = words.get(4).copied().unwrap_or("rwm");
        DeviceRule {
            allow: words[0] == "allow",
            kind: match words[1] {
                "a" => DeviceRuleKind::All,
                "c" => DeviceRuleKind::Char,
                _ => DeviceRuleKind::Block,
            },
            major: number(2),
            minor: number(3),
            read: access.contains('r'),
            write: access.contains('w'),
            mknod: access.contains('m'),
        }
    }

    fn table(rules: &[&str]) -> Result<Table, Refused> {
        Table::new(&rules.iter().map(|r| rule(r)).collect::<Vec<_>>())
    }

    #[test]
    fn exceptions_to_a_denial_are_merged_and_taken_away() {
        let table = table(&[
            "allow b *:* m",
            "deny a",
            "allow c 1:3 rw",
            "allow c 1:3 m",
            "allow c 5:* rwm",
            "deny c 5:* w",
            "allow b 8:0 r",
            "deny b 8:0 rw",
        ])
        .unwrap();
        assert!(!table.allow);
        assert_eq!(table.v1_lines(), ["c 1:3 rwm", "c 5:* rm"]);
    }

    #[test]
    fn a_number_that_no_device_has_is_not_told_to_v1() {
        let table = table(&["allow c 4294967295:3 rwm", "allow c 4095:1048575 r"]).unwrap();
        assert_eq!(table.v1_lines(), ["c 4095:1048575 r"]);
    }

    #[test]
    fn a_hole_in_a_wider_rule_is_refused() {
        let refused = table(&["allow c 1:* rwm", "deny c 1:3 w"]).unwrap_err();
        assert_eq!(refused.rule, 1);
        assert_eq!(
            refused.reason,
            "cannot punch a hole for [c 1:3 w] into the wider rule [c 1:* rwm]"
        );
        // No overlap in access, or no wider rule: nothing is promised and broken.
        assert!(table(&["allow c *:* m", "deny c 1:3 rw"]).is_ok());
        assert!(table(&["allow c *:3 rwm", "deny c *:3 w"]).is_ok());
        assert!(table(&["allow a", "deny c *:7 r", "allow c 1:7 rw"]).is_err());
    }

    #[test]
    fn a_list_that_no_program_could_hold_is_refused() {
        let rules: Vec<DeviceRule> = (0..=MAX_EXCEPTIONS)
            .map(|minor| rule(&format!("allow c 240:{minor} r")))
            .collect();
        assert_eq!(Table::new(&rules).unwrap_err().rule, MAX_EXCEPTIONS);
    }
}
