//! `process.rlimits`: names become the kernel's numbers.

use oci_spec::runtime as oci;

use super::Rlimit;
use crate::error::{Error, Result};

/// Plan the list; `at` is the JSON pointer of the process.
pub fn plan(list: &[oci::PosixRlimit], at: &str) -> Result<Vec<Rlimit>> {
    let mut limits: Vec<Rlimit> = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        let field = format!("{at}/rlimits/{index}");
        let resource = resource(entry.typ());
        let name = entry.typ().to_string();
        if limits.iter().any(|other| other.resource == resource) {
            return Err(Error::field(
                format!("{field}/type"),
                format!("duplicated rlimit {name}"),
            ));
        }
        if entry.soft() > entry.hard() {
            return Err(Error::field(
                format!("{field}/soft"),
                format!(
                    "soft {name} {} is above the hard one, {}",
                    entry.soft(),
                    entry.hard()
                ),
            ));
        }
        limits.push(Rlimit {
            field,
            name,
            resource,
            soft: entry.soft(),
            hard: entry.hard(),
        });
    }
    Ok(limits)
}

/// RLIMIT_* number, the C library's for this architecture (they differ between some).
fn resource(kind: oci::PosixRlimitType) -> u32 {
    use oci::PosixRlimitType as R;
    // The type of these constants differs between C libraries.
    #[allow(clippy::unnecessary_cast)]
    let number = match kind {
        R::RlimitCpu => libc::RLIMIT_CPU,
        R::RlimitFsize => libc::RLIMIT_FSIZE,
        R::RlimitData => libc::RLIMIT_DATA,
        R::RlimitStack => libc::RLIMIT_STACK,
        R::RlimitCore => libc::RLIMIT_CORE,
        R::RlimitRss => libc::RLIMIT_RSS,
        R::RlimitNproc => libc::RLIMIT_NPROC,
        R::RlimitNofile => libc::RLIMIT_NOFILE,
        R::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        R::RlimitAs => libc::RLIMIT_AS,
        R::RlimitLocks => libc::RLIMIT_LOCKS,
        R::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        R::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        R::RlimitNice => libc::RLIMIT_NICE,
        R::RlimitRtprio => libc::RLIMIT_RTPRIO,
        R::RlimitRttime => libc::RLIMIT_RTTIME,
    } as u32;
    number
}
