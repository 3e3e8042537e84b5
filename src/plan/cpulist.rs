//! Lists of numbers as the kernel writes them: `0-3,7` (cpuset(7), "List format").

/// No kernel has more CPUs or nodes; a list that names more is a slip or an attack on our
/// memory.
const LIMIT: u32 = 1 << 16;

/// The numbers of `text`, sorted, each once. The error is what is wrong with it, without the
/// name of the field. An empty text is an empty list.
pub fn parse(text: &str) -> Result<Vec<u32>, String> {
    let mut numbers = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first, text)?, number(last, text)?);
        if first > last {
            return Err(format!("range {part:?} of list {text:?} runs backwards"));
        }
        numbers.extend(first..=last);
        // Ranges may repeat each other; keep what they cost bounded.
        if numbers.len() > LIMIT as usize {
            numbers.sort_unstable();
            numbers.dedup();
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

fn number(digits: &str, list: &str) -> Result<u32, String> {
    match digits.trim().parse::<u32>() {
        // parse() takes a sign, the kernel does not.
        Ok(number) if number < LIMIT && !digits.trim().starts_with('+') => Ok(number),
        Ok(_) => Err(format!("{digits:?} in list {list:?} is too large")),
        Err(_) => Err(format!("{digits:?} in list {list:?} is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_numbers_are_joined() {
        assert_eq!(parse("0-3,7,2").unwrap(), [0, 1, 2, 3, 7]);
        assert_eq!(parse("5").unwrap(), [5]);
        assert_eq!(parse("1025,0").unwrap(), [0, 1025]);
        assert_eq!(parse("").unwrap(), [0u32; 0]);
    }

    #[test]
    fn bad_lists_are_refused() {
        for bad in [
            "a",
            "3-1",
            "1-",
            "-1",
            "1--2",
            "+1",
            "0-4294967295",
            "65536",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
