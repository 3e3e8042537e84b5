//! Reads and writes of block devices.
//!
//! On v1 the files depend on the scheduler: BFQ's, those of CFQ that older kernels have, or what
//! the throttling layer counts. The first set of files that has anything in its first file is the
//! one to read, as in runc. v2 has one file, told in v1's words.

use serde::Serialize;

use super::files::{Files, number};
use super::is_zero;
use super::psi::{self, Psi};
use crate::error::Result;

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockIo {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<Entry>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_queue_recursive: Vec<Entry>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<Entry>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<Entry>,
    /// Milliseconds of disk time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Entry {
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`, or nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

type Field = fn(&mut BlockIo) -> &mut Vec<Entry>;

const BYTES: Field = |io| &mut io.io_service_bytes_recursive;
const OPERATIONS: Field = |io| &mut io.io_serviced_recursive;
const QUEUED: Field = |io| &mut io.io_queue_recursive;
const SERVICE_TIME: Field = |io| &mut io.io_service_time_recursive;
const WAIT_TIME: Field = |io| &mut io.io_wait_time_recursive;
const MERGED: Field = |io| &mut io.io_merged_recursive;
const TIME: Field = |io| &mut io.io_time_recursive;
const SECTORS: Field = |io| &mut io.sectors_recursive;

const V1_SETS: &[&[(&str, Field)]] = &[
    // BFQ in a kernel with its debugging.
    &[
        ("blkio.bfq.sectors_recursive", SECTORS),
        ("blkio.bfq.io_service_time_recursive", SERVICE_TIME),
        ("blkio.bfq.io_wait_time_recursive", WAIT_TIME),
        ("blkio.bfq.io_merged_recursive", MERGED),
        ("blkio.bfq.io_queued_recursive", QUEUED),
        ("blkio.bfq.time_recursive", TIME),
        ("blkio.bfq.io_serviced_recursive", OPERATIONS),
        ("blkio.bfq.io_service_bytes_recursive", BYTES),
    ],
    &[
        ("blkio.bfq.io_serviced_recursive", OPERATIONS),
        ("blkio.bfq.io_service_bytes_recursive", BYTES),
    ],
    // CFQ, until 4.20.
    &[
        ("blkio.sectors_recursive", SECTORS),
        ("blkio.io_service_time_recursive", SERVICE_TIME),
        ("blkio.io_wait_time_recursive", WAIT_TIME),
        ("blkio.io_merged_recursive", MERGED),
        ("blkio.io_queued_recursive", QUEUED),
        ("blkio.time_recursive", TIME),
        ("blkio.io_serviced_recursive", OPERATIONS),
        ("blkio.io_service_bytes_recursive", BYTES),
    ],
    &[
        ("blkio.throttle.io_serviced_recursive", OPERATIONS),
        ("blkio.throttle.io_service_bytes_recursive", BYTES),
    ],
    &[
        ("blkio.throttle.io_serviced", OPERATIONS),
        ("blkio.throttle.io_service_bytes", BYTES),
    ],
];

pub fn v1(files: &Files) -> Result<BlockIo> {
    let mut io = BlockIo::default();
    for set in V1_SETS {
        for (index, (name, field)) in set.iter().enumerate() {
            match entries_v1(files, name) {
                Ok(entries) if !entries.is_empty() => *field(&mut io) = entries,
                _ if index == 0 => break,
                Ok(_) => return Ok(io),
                Err(error) => return Err(error),
            }
            if index + 1 == set.len() {
                return Ok(io);
            }
        }
    }
    Ok(io)
}

/// Lines of `major:minor op value` or `major:minor value`, and a last one with the sum of all.
fn entries_v1(files: &Files, name: &str) -> Result<Vec<Entry>> {
    let text = files.text(name)?.unwrap_or_default();
    let mut entries = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split([' ', ':']).filter(|w| !w.is_empty()).collect();
        let (op, numbers) = match words.as_slice() {
            ["Total", _] => continue,
            [major, minor, value] => ("", [major, minor, value]),
            [major, minor, op, value] => (*op, [major, minor, value]),
            _ => return Err(files.malformed(name, line)),
        };
        let [Some(major), Some(minor), Some(value)] = numbers.map(|word| number(word)) else {
            return Err(files.malformed(name, line));
        };
        entries.push(Entry {
            major,
            minor,
            op: op.to_owned(),
            value,
        });
    }
    Ok(entries)
}

/// Lines of `major:minor rbytes=1 wbytes=2 rios=3 ...`.
pub fn v2(files: &Files) -> Result<BlockIo> {
    let name = "io.stat";
    let mut io = BlockIo {
        psi: psi::read(files, "io.pressure")?,
        ..BlockIo::default()
    };
    let text = files.text(name)?.unwrap_or_default();
    for line in text.lines() {
        let (device, values) = line.split_once(' ').unwrap_or((line, ""));
        let Some((major, minor)) = device.split_once(':') else {
            continue;
        };
        let (Some(major), Some(minor)) = (number(major), number(minor)) else {
            return Err(files.malformed(name, line));
        };
        for item in values.split_whitespace() {
            let Some((key, value)) = item.split_once('=') else {
                continue;
            };
            let (field, op): (Field, _) = match key {
                "rbytes" => (BYTES, "Read"),
                "wbytes" => (BYTES, "Write"),
                "rios" => (OPERATIONS, "Read"),
                "wios" => (OPERATIONS, "Write"),
                _ => continue,
            };
            let value = number(value).ok_or_else(|| files.malformed(name, line))?;
            field(&mut io).push(Entry {
                major,
                minor,
                op: op.to_owned(),
                value,
            });
        }
    }
    Ok(io)
}
