//! Pressure stall information: how long tasks have waited (the kernel's accounting/psi.rst).

use serde::{Serialize, Serializer};

use super::files::{Files, number};
use super::is_zero;
use crate::error::Result;

#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct Psi {
    #[serde(skip_serializing_if = "is_zero")]
    pub some: Share,
    #[serde(skip_serializing_if = "is_zero")]
    pub full: Share,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// Percent of the last 10 seconds, and so on.
    #[serde(serialize_with = "plain")]
    pub avg10: f64,
    #[serde(serialize_with = "plain")]
    pub avg60: f64,
    #[serde(serialize_with = "plain")]
    pub avg300: f64,
    /// Microseconds.
    pub total: u64,
}

/// As Go writes a float: a whole number has no fraction.
fn plain<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 && (0.0..1e15).contains(value) {
        serializer.serialize_u64(*value as u64)
    } else {
        serializer.serialize_f64(*value)
    }
}

/// `None` where the kernel keeps no such account.
pub fn read(files: &Files, name: &str) -> Result<Option<Psi>> {
    let Some(text) = files.text(name)? else {
        return Ok(None);
    };
    let mut psi = Psi::default();
    for line in text.lines() {
        let (kind, values) = line.split_once(' ').unwrap_or((line, ""));
        let share = match kind {
            "some" => &mut psi.some,
            "full" => &mut psi.full,
            _ => continue,
        };
        *share = parse(values).ok_or_else(|| files.malformed(name, line))?;
    }
    Ok(Some(psi))
}

fn parse(values: &str) -> Option<Share> {
    let mut share = Share::default();
    let average = |value: &str| value.parse::<f64>().ok().filter(|value| value.is_finite());
    for value in values.split_whitespace() {
        let (key, value) = value.split_once('=')?;
        match key {
            "avg10" => share.avg10 = average(value)?,
            "avg60" => share.avg60 = average(value)?,
            "avg300" => share.avg300 = average(value)?,
            "total" => share.total = number(value)?,
            _ => {}
        }
    }
    Some(share)
}
