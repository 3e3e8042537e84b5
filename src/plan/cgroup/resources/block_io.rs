//! `blockIO`: weights by the bfq or iocost policy, whichever the kernel has, and throttling.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};

use super::{Place, Version, Writes, convert, only_v1, refuse};
use crate::error::Result;
use crate::plan::Missing;

/// The throttles of the config: field, file of v1, key of v2's io.max.
const THROTTLES: [(&str, &str, &str); 4] = [
    (
        "throttleReadBpsDevice",
        "blkio.throttle.read_bps_device",
        "rbps",
    ),
    (
        "throttleWriteBpsDevice",
        "blkio.throttle.write_bps_device",
        "wbps",
    ),
    (
        "throttleReadIOPSDevice",
        "blkio.throttle.read_iops_device",
        "riops",
    ),
    (
        "throttleWriteIOPSDevice",
        "blkio.throttle.write_iops_device",
        "wiops",
    ),
];

pub fn writes(writes: &mut Writes, block_io: &LinuxBlockIo) -> Result<()> {
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        push_weight(writes, "/blockIO/weight", "", weight)?;
    }
    if let Some(weight) = block_io.leaf_weight().filter(|weight| *weight != 0) {
        push_leaf_weight(
            writes,
            "/blockIO/leafWeight",
            "blkio.leaf_weight",
            weight.to_string(),
        )?;
    }
    for (index, entry) in block_io.weight_device().iter().flatten().enumerate() {
        weight_device(writes, &format!("/blockIO/weightDevice/{index}"), entry)?;
    }
    let lists = [
        block_io.throttle_read_bps_device(),
        block_io.throttle_write_bps_device(),
        block_io.throttle_read_iops_device(),
        block_io.throttle_write_iops_device(),
    ];
    for ((name, file, key), list) in THROTTLES.into_iter().zip(lists) {
        for (index, entry) in list.iter().flatten().enumerate() {
            throttle(
                writes,
                &format!("/blockIO/{name}/{index}"),
                entry,
                (file, key),
            )?;
        }
    }
    Ok(())
}

fn place(writes: &Writes, field: &str) -> Result<Place> {
    writes.place("blkio", "io", field)
}

fn weight_device(writes: &mut Writes, field: &str, entry: &LinuxWeightDevice) -> Result<()> {
    let device = device(entry.major(), entry.minor(), field)?;
    if let Some(weight) = entry.weight().filter(|weight| *weight != 0) {
        push_weight(writes, field, &device, weight)?;
    }
    if let Some(weight) = entry.leaf_weight().filter(|weight| *weight != 0) {
        let value = format!("{device} {weight}");
        push_leaf_weight(writes, field, "blkio.leaf_weight_device", value)?;
    }
    Ok(())
}

/// A weight of one device, or of all when `device` is empty.
fn push_weight(writes: &mut Writes, field: &str, device: &str, weight: u16) -> Result<()> {
    let place = place(writes, field)?;
    let value = |weight: u64| match device {
        "" => weight.to_string(),
        device => format!("{device} {weight}"),
    };
    let given = value(weight.into());
    let (first, second, second_value) = match (place.version, device) {
        // blkio.weight is of the cfq scheduler, gone since Linux 5.0.
        (Version::V1, "") => ("blkio.weight", "blkio.bfq.weight", given.clone()),
        (Version::V1, _) => (
            "blkio.weight_device",
            "blkio.bfq.weight_device",
            given.clone(),
        ),
        (Version::V2, _) => (
            "io.bfq.weight",
            "io.weight",
            value(convert::io_weight(weight)),
        ),
    };
    let missing = Missing::Instead {
        file: second.to_owned(),
        value: second_value,
    };
    writes.push_or(&place, field, first, given, missing);
    Ok(())
}

fn push_leaf_weight(writes: &mut Writes, field: &str, file: &str, value: String) -> Result<()> {
    let place = place(writes, field)?;
    if place.version == Version::V2 {
        return only_v1(field, "leaf weight");
    }
    writes.push(&place, field, file, value);
    Ok(())
}

fn throttle(
    writes: &mut Writes,
    field: &str,
    entry: &LinuxThrottleDevice,
    (file, key): (&str, &str),
) -> Result<()> {
    let device = device(entry.major(), entry.minor(), field)?;
    let place = place(writes, field)?;
    match (place.version, entry.rate()) {
        (Version::V1, rate) => writes.push(&place, field, file, format!("{device} {rate}")),
        // What v1 means by 0.
        (Version::V2, 0) => writes.push(&place, field, "io.max", format!("{device} {key}=max")),
        (Version::V2, rate) => {
            writes.push(&place, field, "io.max", format!("{device} {key}={rate}"));
        }
    }
    Ok(())
}

fn device(major: i64, minor: i64, field: &str) -> Result<String> {
    for (number, name) in [(major, "major"), (minor, "minor")] {
        if u32::try_from(number).is_err() {
            let problem = format!("{number} is not a device number");
            return refuse(&format!("{field}/{name}"), problem);
        }
    }
    Ok(format!("{major}:{minor}"))
}
