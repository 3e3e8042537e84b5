//! What criu writes to its log when it fails: lines with `Error`, of which the last ones say why.

use std::io::Read;
use std::path::Path;

/// More than the log of any failure needs; of a longer one the beginning is not looked at.
const LIMIT: u64 = 16 << 20;
/// So many lines are told.
const LINES: usize = 3;

/// The last lines of the log that tell of an error, joined; `None` where there is none.
pub fn errors(path: &Path) -> Option<String> {
    use std::io::{Seek, SeekFrom};
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LIMIT)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).ok()?;
    last_errors(&String::from_utf8_lossy(&bytes))
}

fn last_errors(text: &str) -> Option<String> {
    let errors: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("Error"))
        .map(without_time)
        .collect();
    let last = errors.get(errors.len().saturating_sub(LINES)..)?;
    (!last.is_empty()).then(|| last.join("; "))
}

/// A line begins with `(00.012345) `, and often with the pid of a restored process.
fn without_time(line: &str) -> &str {
    match line.split_once(") ") {
        Some((time, rest)) if time.starts_with('(') => rest.trim_start(),
        _ => line.trim_start(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_errors_are_told() {
        let text = "(00.000001) Version: 4.1\n\
            (00.000002) Error (a.c:1): one\n\
            (00.000003) Error (a.c:2): two\n\
            (00.000004)      1: Error (b.c:3): three\n\
            (00.000005) Unlock network\n\
            (00.000006) Error (c.c:4): four\n";
        assert_eq!(
            last_errors(text).unwrap(),
            "Error (a.c:2): two; 1: Error (b.c:3): three; Error (c.c:4): four"
        );
        assert_eq!(last_errors("(00.000001) fine\n"), None);
        assert_eq!(last_errors(""), None);
    }
}
