//! Lines of a `schemata` file, `RESOURCE:ID=VALUE;ID=VALUE`, compared (the kernel's
//! Documentation/filesystems/resctrl.rst).

/// The first part of a wanted line that a group's `schemata` file does not have, if there is
/// one. Resources and caches that the line does not name may be as they are. `granularity` is
/// what the kernel rounds shares of the memory bandwidth up to.
pub fn missing(line: &str, file: &str, granularity: Option<u64>) -> Option<String> {
    let (resource, wanted) = split(line)?;
    let actual = file
        .lines()
        .filter_map(split)
        .find(|(name, _)| *name == resource);
    let actual: Vec<_> = actual
        .map(|(_, list)| pairs(list))
        .into_iter()
        .flatten()
        .collect();
    pairs(wanted).find_map(|(id, value)| {
        let same = |(other, found): &(&str, &str)| {
            *other == id && is_same(resource, value, found, granularity)
        };
        let found = actual.iter().any(same);
        (!found).then(|| format!("{resource}:{id}={value}"))
    })
}

fn split(line: &str) -> Option<(&str, &str)> {
    let (resource, list) = line.split_once(':')?;
    Some((resource.trim(), list))
}

fn pairs(list: &str) -> impl Iterator<Item = (&str, &str)> {
    list.split(';')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| {
            let (id, value) = pair.split_once('=').unwrap_or((pair, ""));
            (id.trim(), value.trim())
        })
}

/// The kernel pads numbers with blanks or zeros, and rounds bandwidth.
fn is_same(resource: &str, wanted: &str, found: &str, granularity: Option<u64>) -> bool {
    if bare(wanted) == bare(found) {
        return true;
    }
    let rounded = |value: &str| Some(value.parse::<u64>().ok()?.next_multiple_of(granularity?));
    resource == "MB" && rounded(wanted).is_some_and(|value| found.parse() == Ok(value))
}

fn bare(number: &str) -> String {
    let number = number.to_ascii_lowercase();
    let number = number.strip_prefix("0x").unwrap_or(&number);
    number.trim_start_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "    L3:0=007f0;1=0001f\n    MB:0= 20;1=  70\n";

    #[test]
    fn numbers_are_compared_and_not_their_digits() {
        for line in [
            "L3:0=7f0;1=1f",
            "L3:1=0x1F",
            "L3:0=7F0;",
            "MB:0=20;1=70",
            "MB: 1 = 70",
            "MB:0=13",
            "MB:1=00061",
        ] {
            assert_eq!(missing(line, FILE, Some(10)), None, "{line}");
        }
    }

    #[test]
    fn what_differs_is_named() {
        for (line, part) in [
            ("L3:0=7f0;1=f", "L3:1=f"),
            ("L3:2=1f", "L3:2=1f"),
            ("L2:0=f", "L2:0=f"),
            ("MB:0=30", "MB:0=30"),
            ("MB:0", "MB:0="),
            ("L3:0=7f00", "L3:0=7f00"),
        ] {
            assert_eq!(
                missing(line, FILE, Some(10)).as_deref(),
                Some(part),
                "{line}"
            );
        }
        assert_eq!(missing("MB:0=13", FILE, None).as_deref(), Some("MB:0=13"));
        // Zero would be a division by it.
        assert!(missing("MB:0=13", "MB:0=20", Some(1)).is_some());
    }
}
