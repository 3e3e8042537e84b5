//! Durations as Go writes them: `300ms`, `1.5h`, `1m30s`.

/// Nanoseconds of each unit; both letters that look like a mu are taken.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The syntax of Go's time.ParseDuration; nanoseconds, which may be negative. `None` for what is
/// no duration, or a longer one than Go can hold (some 292 years).
pub fn parse(text: &str) -> Option<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if text == "0" {
        return Some(0);
    }
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit());
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        total = total.checked_add(part(whole, fraction, unit)?)?;
        rest = after;
    }
    let nanos = i64::try_from(total).ok()?;
    Some(if negative { -nanos } else { nanos })
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

fn part(whole: &str, fraction: &str, unit: &str) -> Option<u64> {
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().ok()?,
    };
    // Digits too small to count for a nanosecond of the longest unit are passed over.
    let digits = fraction.get(..fraction.len().min(15))?;
    let below: u128 = match digits {
        "" => 0,
        digits => digits.parse().ok()?,
    };
    let below = below * u128::from(*nanos) / 10u128.pow(digits.len() as u32);
    whole
        .checked_mul(*nanos)?
        .checked_add(u64::try_from(below).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("+5s", 5_000_000_000),
            ("-5s", -5_000_000_000),
            ("100ms", 100_000_000),
            ("1.5h", 5_400_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("3\u{b5}s", 3_000),
            ("3\u{3bc}s", 3_000),
            ("0.3333333333333333333h", 1_199_999_999_999),
            ("2562047h", 9_223_369_200_000_000_000),
        ] {
            assert_eq!(parse(text), Some(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            ".s",
            ".",
            "-",
            "+",
            "5x",
            "5 s",
            " 5s",
            "5s ",
            "--5s",
            "1.2.3s",
            "abc",
            "5S",
            "9223372036854775808ns",
            "2562048h",
            "1e3s",
            "5sm",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
