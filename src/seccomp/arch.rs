//! System call tables: which ABIs a profile can name, and which number a call has in each.
//!
//! An ABI is what the specification calls an architecture: a table of numbers under one
//! AUDIT_ARCH_* value. x86_64 and x32 share a value and differ in bit 30 of the number, so
//! here they are two ABIs with two spans of numbers. The tables come from the crate
//! `syscalls`; what it lacks (x32, the calls private to arm) is written as a difference to
//! one that it has.

use std::ops::RangeInclusive;

use oci_spec::runtime::Arch;

use super::{multiplex, names};

/// `__X32_SYSCALL_BIT` of asm/unistd.h.
const X32_BIT: u32 = 0x4000_0000;

/// One table of system calls.
pub struct Abi {
    pub arch: Arch,
    /// The name that the specification gives it.
    pub name: &'static str,
    /// AUDIT_ARCH_* value, `seccomp_data.arch`.
    pub audit: u32,
    /// Arguments have 32 bits: the kernel hands them to the filter with a high word of zero.
    pub narrow: bool,
    pub big_endian: bool,
    /// The numbers that belong to this ABI, with x32's bit.
    pub span: RangeInclusive<u32>,
    /// Numbers at which the table has entries.
    tables: &'static [RangeInclusive<u32>],
    lookup: fn(u32) -> Option<&'static str>,
}

impl Abi {
    /// The name of the call with this number.
    pub fn call(&self, number: u32) -> Option<&'static str> {
        let mut tables = self.tables.iter();
        tables
            .any(|table| table.contains(&number))
            .then(|| self.entry(number))?
    }

    /// Every call with its number, in the order of the numbers.
    pub fn calls(&self) -> impl Iterator<Item = (u32, &'static str)> {
        self.tables
            .iter()
            .cloned()
            .flatten()
            .filter_map(|number| Some((number, self.entry(number)?)))
    }

    fn entry(&self, number: u32) -> Option<&'static str> {
        // The crate has its names from Rust identifiers; one is `r#break`.
        let name = (self.lookup)(number)?;
        Some(name.strip_prefix("r#").unwrap_or(name))
    }

    /// Calls that stand apart from the table, far above it.
    pub fn private(&self, number: u32) -> bool {
        self.arch == Arch::ScmpArchArm && number >= ARM_PRIVATE
    }

    /// On s390 a number that the kernel does not know reaches the filter as 0, the number of a
    /// call that is long gone.
    pub fn zero_is_unknown(&self) -> bool {
        matches!(self.arch, Arch::ScmpArchS390 | Arch::ScmpArchS390x)
    }

    /// Old ABIs reach the socket and System V calls through one number with a selector as
    /// well; see the module `multiplex`.
    pub fn multiplexed(&self) -> bool {
        matches!(
            self.arch,
            Arch::ScmpArchX86
                | Arch::ScmpArchS390
                | Arch::ScmpArchS390x
                | Arch::ScmpArchPpc
                | Arch::ScmpArchPpc64
                | Arch::ScmpArchPpc64le
                | Arch::ScmpArchMips
                | Arch::ScmpArchMipsel
        )
    }
}

/// The ABI of a profile's `architectures` entry; `None` for one that we have no table for.
pub fn find(arch: Arch) -> Option<&'static Abi> {
    let arch = match arch {
        Arch::ScmpArchNative => NATIVE,
        other => other,
    };
    ABIS.iter().find(|abi| abi.arch == arch)
}

/// Every ABI that we have a table of.
pub fn all() -> impl Iterator<Item = &'static Abi> {
    ABIS.iter()
}

/// The ABI that this binary is built for. The kernel's own programs use it, so it is part of
/// every filter, named or not, as in libseccomp.
pub const NATIVE: Arch = if cfg!(target_arch = "x86_64") {
    Arch::ScmpArchX86_64
} else if cfg!(target_arch = "aarch64") {
    Arch::ScmpArchAarch64
} else if cfg!(target_arch = "arm") {
    Arch::ScmpArchArm
} else if cfg!(target_arch = "x86") {
    Arch::ScmpArchX86
} else if cfg!(target_arch = "riscv64") {
    Arch::ScmpArchRiscv64
} else if cfg!(target_arch = "loongarch64") {
    Arch::ScmpArchLoongarch64
} else if cfg!(target_arch = "s390x") {
    Arch::ScmpArchS390x
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    Arch::ScmpArchPpc64le
} else if cfg!(target_arch = "powerpc64") {
    Arch::ScmpArchPpc64
} else if cfg!(all(target_arch = "mips64", target_endian = "little")) {
    Arch::ScmpArchMipsel64
} else {
    Arch::ScmpArchMips64
};

/// Is this the name of a call anywhere? A name that is not is a slip, or newer than we are.
pub fn known(name: &str) -> bool {
    // The quick answer first: every libc's profile has `send` and `recv`.
    multiplex::selectable(name) || all().any(|abi| abi.calls().any(|(_, known)| known == name))
}

/// linux/audit.h: an AUDIT_ARCH_* value is an ELF machine number with these bits.
const WIDE: u32 = 0x8000_0000;
const LITTLE: u32 = 0x4000_0000;

/// The usual case: numbers below 600 (the newest is 469), and the specification's value of the
/// architecture is the kernel's.
const fn abi(arch: Arch, name: &'static str, lookup: Lookup) -> Abi {
    let audit = arch as u32;
    Abi {
        arch,
        name,
        audit,
        narrow: audit & WIDE == 0,
        big_endian: audit & LITTLE == 0,
        span: 0..=u32::MAX,
        tables: &[0..=599],
        lookup,
    }
}

type Lookup = fn(u32) -> Option<&'static str>;

/// The mips tables begin at a thousand of their own each.
const O32: &[RangeInclusive<u32>] = &[4000..=4599];
const N64: &[RangeInclusive<u32>] = &[5000..=5599];
const N32: &[RangeInclusive<u32>] = &[6000..=6599];

static ABIS: &[Abi] = &[
    Abi {
        span: 0..=X32_BIT - 1,
        ..abi(Arch::ScmpArchX86_64, "x86_64", names::x86_64)
    },
    abi(Arch::ScmpArchX86, "x86", names::x86),
    Abi {
        audit: Arch::ScmpArchX86_64 as u32,
        narrow: false,
        span: X32_BIT..=u32::MAX,
        tables: &[X32_BIT..=X32_BIT + 599],
        ..abi(Arch::ScmpArchX32, "x32", |number| x32(number - X32_BIT))
    },
    abi(Arch::ScmpArchAarch64, "aarch64", names::aarch64),
    Abi {
        tables: &[0..=599, ARM_PRIVATE..=ARM_PRIVATE + 6],
        ..abi(Arch::ScmpArchArm, "arm", arm_call)
    },
    abi(Arch::ScmpArchRiscv64, "riscv64", names::riscv64),
    abi(Arch::ScmpArchLoongarch64, "loongarch64", names::loongarch64),
    abi(Arch::ScmpArchPpc64le, "ppc64le", names::powerpc64),
    abi(Arch::ScmpArchPpc64, "ppc64", names::powerpc64),
    abi(Arch::ScmpArchPpc, "ppc", names::powerpc),
    abi(Arch::ScmpArchS390x, "s390x", names::s390x),
    abi(Arch::ScmpArchS390, "s390", s390_call),
    Abi {
        tables: N64,
        ..abi(Arch::ScmpArchMips64, "mips64", n64)
    },
    Abi {
        tables: N64,
        ..abi(Arch::ScmpArchMipsel64, "mipsel64", n64)
    },
    Abi {
        tables: N32,
        ..abi(Arch::ScmpArchMips64n32, "mips64n32", n32)
    },
    Abi {
        tables: N32,
        ..abi(Arch::ScmpArchMipsel64n32, "mipsel64n32", n32)
    },
    Abi {
        tables: O32,
        ..abi(Arch::ScmpArchMips, "mips", names::mips)
    },
    Abi {
        tables: O32,
        ..abi(Arch::ScmpArchMipsel, "mipsel", names::mips)
    },
];

/// x32 shares x86_64's numbers, but for the calls whose structures differ: those have numbers
/// of their own from 512 on, and their old places are empty.
fn x32(number: u32) -> Option<&'static str> {
    const FIRST: u32 = 512;
    /// By place from `FIRST` on, the numbers that the same calls have on x86_64.
    const OWN: [u32; 36] = [
        13, 15, 16, 19, 20, 45, 46, 47, 59, 101, 127, 128, 129, 131, 222, 244, 246, 247, 273, 274,
        278, 279, 295, 296, 297, 299, 307, 310, 311, 54, 55, 206, 209, 322, 327, 328,
    ];
    /// Calls of x86_64 that x32 never had, from uselib to uprobe.
    const ABSENT: [u32; 13] = [
        134, 156, 174, 177, 178, 180, 205, 211, 214, 215, 236, 335, 336,
    ];
    if number >= FIRST {
        return names::x86_64(*OWN.get((number - FIRST) as usize)?);
    }
    if OWN.contains(&number) || ABSENT.contains(&number) {
        return None;
    }
    names::x86_64(number)
}

/// `__ARM_NR_BASE`: calls that only arm has, far above the table.
const ARM_PRIVATE: u32 = 0x000f_0000;

fn arm_call(number: u32) -> Option<&'static str> {
    if number < ARM_PRIVATE {
        return names::arm(number);
    }
    match number - ARM_PRIVATE {
        1 => Some("breakpoint"),
        2 => Some("cacheflush"),
        3 => Some("usr26"),
        4 => Some("usr32"),
        5 => Some("set_tls"),
        6 => Some("get_tls"),
        _ => None,
    }
}

fn n64(number: u32) -> Option<&'static str> {
    match number {
        // Missing in the crate's table.
        5450 => Some("set_mempolicy_home_node"),
        _ => names::mips64(number),
    }
}

/// n32 is n64 with a few 64-bit calls of 32-bit machines put in between, and the calls with
/// a 64-bit time that all such machines got at 403.
fn n32(number: u32) -> Option<&'static str> {
    match number - 6000 {
        212 => Some("fcntl64"),
        217 => Some("statfs64"),
        218 => Some("fstatfs64"),
        219 => Some("sendfile64"),
        299 => Some("getdents64"),
        place @ (0..=211 | 424..) => n64(5000 + place),
        place @ 213..=216 => n64(5000 + place - 1),
        place @ (220..=298 | 313..=402) => n64(5000 + place - 4),
        place @ 300..=312 => n64(5000 + place - 5),
        place => time64(place),
    }
}

/// 403 to 423, the same numbers on every 32-bit ABI since Linux 5.1.
fn time64(number: u32) -> Option<&'static str> {
    names::x86(number).filter(|name| name.contains("64"))
}

/// 31-bit s390: s390x with the old calls for 16-bit ids, and other names in their new places.
fn s390_call(number: u32) -> Option<&'static str> {
    let name = match number {
        13 => "time",
        16 => "lchown",
        23 => "setuid",
        24 => "getuid",
        25 => "stime",
        46 => "setgid",
        47 => "getgid",
        49 => "geteuid",
        50 => "getegid",
        70 => "setreuid",
        71 => "setregid",
        76 => "getrlimit",
        80 => "getgroups",
        81 => "setgroups",
        95 => "fchown",
        101 => "ioperm",
        138 => "setfsuid",
        139 => "setfsgid",
        140 => "_llseek",
        142 => "_newselect",
        164 => "setresuid",
        165 => "getresuid",
        170 => "setresgid",
        171 => "getresgid",
        182 => "chown",
        191 => "ugetrlimit",
        192 => "mmap2",
        193 => "truncate64",
        194 => "ftruncate64",
        195 => "stat64",
        196 => "lstat64",
        197 => "fstat64",
        198 => "lchown32",
        199 => "getuid32",
        200 => "getgid32",
        201 => "geteuid32",
        202 => "getegid32",
        203 => "setreuid32",
        204 => "setregid32",
        205 => "getgroups32",
        206 => "setgroups32",
        207 => "fchown32",
        208 => "setresuid32",
        209 => "getresuid32",
        210 => "setresgid32",
        211 => "getresgid32",
        212 => "chown32",
        213 => "setuid32",
        214 => "setgid32",
        215 => "setfsuid32",
        216 => "setfsgid32",
        221 => "fcntl64",
        223 => "sendfile64",
        264 => "fadvise64_64",
        293 => "fstatat64",
        392 => return None,
        403..=423 => return time64(number),
        _ => return names::s390x(number),
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(arch: Arch, name: &str) -> Vec<u32> {
        let calls = find(arch).unwrap().calls();
        calls
            .filter(|call| call.1 == name)
            .map(|call| call.0)
            .collect()
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_native_table_is_the_c_library_s() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("execve", libc::SYS_execve),
            ("umount2", libc::SYS_umount2),
            ("newfstatat", libc::SYS_newfstatat),
            ("openat2", libc::SYS_openat2),
            ("fchmodat2", libc::SYS_fchmodat2),
        ] {
            assert_eq!(numbers(NATIVE, name), [number as u32], "{name}");
        }
        assert_eq!(
            find(NATIVE).unwrap().calls().max().unwrap().1,
            "file_setattr"
        );
    }

    /// Numbers from the kernel's headers, at the seams of the tables that are ours.
    #[test]
    fn the_tables_that_are_differences_fit_together() {
        for (arch, name, number) in [
            (Arch::ScmpArchX86, "break", 17),
            (Arch::ScmpArchX86, "clock_gettime64", 403),
            (Arch::ScmpArchX32, "read", X32_BIT),
            (Arch::ScmpArchX32, "execve", X32_BIT + 520),
            (Arch::ScmpArchX32, "pwritev2", X32_BIT + 547),
            (Arch::ScmpArchArm, "set_tls", 0xf0005),
            (Arch::ScmpArchMips64, "set_mempolicy_home_node", 5450),
            (Arch::ScmpArchMips64n32, "set_tid_address", 6213),
            (Arch::ScmpArchMips64n32, "epoll_ctl", 6208),
            (Arch::ScmpArchMips64n32, "timer_create", 6220),
            (Arch::ScmpArchMips64n32, "getdents64", 6299),
            (Arch::ScmpArchMips64n32, "fanotify_init", 6300),
            (Arch::ScmpArchMips64n32, "sched_setattr", 6313),
            (Arch::ScmpArchMips64n32, "futex_time64", 6422),
            (Arch::ScmpArchMips64n32, "openat2", 6437),
            (Arch::ScmpArchS390x, "lchown", 198),
            (Arch::ScmpArchS390, "lchown", 16),
            (Arch::ScmpArchS390, "lchown32", 198),
            (Arch::ScmpArchS390, "semtimedop_time64", 420),
            (Arch::ScmpArchS390, "openat2", 437),
        ] {
            assert_eq!(numbers(arch, name), [number], "{arch} {name}");
        }
        for (arch, name) in [
            (Arch::ScmpArchX32, "uselib"),
            (Arch::ScmpArchX86_64, "socketcall"),
            (Arch::ScmpArchS390, "semtimedop"),
            (Arch::ScmpArchS390, "newfstatat"),
        ] {
            assert!(numbers(arch, name).is_empty(), "{arch} {name}");
        }
    }

    #[test]
    fn a_name_has_one_number_on_each_abi() {
        for abi in all() {
            let mut names: Vec<_> = abi.calls().map(|call| call.1).collect();
            let count = names.len();
            assert!(count > 300, "{}", abi.name);
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}", abi.name);
            assert!(abi.calls().all(|(number, _)| abi.span.contains(&number)));
        }
    }

    #[test]
    fn a_call_of_any_machine_is_known() {
        assert!(known("s390_sthyi") && known("recv") && known("breakpoint"));
        assert!(!known("no_such_call"));
    }
}
