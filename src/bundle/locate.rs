//! The JSON pointer of a place in a JSON text.
//!
//! serde_json says in which line and column a value did not fit. Reading the text once more up
//! to there tells which value that is. (A deserialiser that keeps the path as it goes would
//! have to be compiled once more for every type of the config.)

use crate::plan::escape;

/// An object or array that is open at the place.
enum Open {
    /// With the key whose value is being read.
    Object(Option<String>),
    /// With the index of the element that is being read.
    Array(usize),
}

/// The pointer of the value of which `error` speaks; `text` is well-formed JSON.
///
/// The error's place is where the value ends or, when it is of a wrong type, where it is due.
/// Only a value that should be one of several words, and is no string, is a syntax error to
/// serde_json, whose place is the value's first byte.
pub fn pointer(text: &[u8], error: &serde_json::Error) -> String {
    let end = offset(text, error.line(), error.column());
    at(&text[..end - usize::from(error.is_syntax() && end > 0)])
}

/// The number of bytes up to `line` and `column`, which count from 1, columns in bytes.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let start = (1..line).fold(0, |start, _| {
        let rest = text.get(start..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n');
        start + length.map_or(rest.len(), |length| length + 1)
    });
    (start + column).min(text.len())
}

/// The pointer of the value that ends with `text`, or is due after it.
fn at(text: &[u8]) -> String {
    open_at(text)
        .iter()
        .fold(String::new(), |pointer, open| match open {
            Open::Object(Some(key)) => format!("{pointer}/{}", escape(key)),
            Open::Object(None) => pointer,
            Open::Array(index) => format!("{pointer}/{index}"),
        })
}

/// What is open after `text`, from the outside in.
fn open_at(text: &[u8]) -> Vec<Open> {
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'{' => open.push(Open::Object(None)),
            b'[' => open.push(Open::Array(0)),
            b'}' | b']' => {
                open.pop();
            }
            b',' => match open.last_mut() {
                Some(Open::Object(key)) => *key = None,
                Some(Open::Array(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let length = string_length(&text[at..]);
                if let Some(Open::Object(key @ None)) = open.last_mut() {
                    *key = serde_json::from_slice(&text[at - 1..at + length]).ok();
                }
                at += length;
            }
            _ => {}
        }
    }
    open
}

/// Bytes up to and with the closing quote, or to the end.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    let close = text.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    });
    close.map_or(text.len(), |close| close + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_by_the_value_that_ends_there() {
        let text = r#"{"a": 1, "b": [10, {"c/d": "x\"]"}, []]}"#;
        for (end, expected) in [
            (r#"{"#, ""),
            (r#"{"a"#, ""),
            (r#"{"a":"#, "/a"),
            (r#"{"a": 1"#, "/a"),
            (r#"{"a": 1, "#, ""),
            (r#"{"a": 1, "b": ["#, "/b/0"),
            (r#"{"a": 1, "b": [10"#, "/b/0"),
            (r#"{"a": 1, "b": [10, {"#, "/b/1"),
            (r#"{"a": 1, "b": [10, {"c/d": "x\"]""#, "/b/1/c~1d"),
            (r#"{"a": 1, "b": [10, {"c/d": "x\"]"}"#, "/b/1"),
            (r#"{"a": 1, "b": [10, {"c/d": "x\"]"}, []"#, "/b/2"),
            (text, ""),
        ] {
            assert!(text.starts_with(end));
            assert_eq!(at(end.as_bytes()), expected, "{end}");
        }
    }

    #[test]
    fn lines_are_counted() {
        let text = b"{\n  \"a\": [\n    1,\n    2\n  ]\n}";
        let at = |line, column| at(&text[..offset(text, line, column)]);
        assert_eq!(at(3, 5), "/a/0");
        assert_eq!(at(4, 5), "/a/1");
        assert_eq!(at(5, 3), "/a");
        assert_eq!(at(9, 9), "", "beyond the end");
    }

    #[test]
    fn a_value_of_any_wrong_type_is_told() {
        #[derive(Debug, serde::Deserialize)]
        #[allow(dead_code)]
        struct Read {
            text: Option<String>,
            word: Option<Word>,
            texts: Option<Vec<String>>,
            words: Option<Vec<Word>>,
        }
        #[derive(Debug, serde::Deserialize)]
        enum Word {
            Good,
        }
        for wrong in ["[]", "{}", "[[7]]", "7", "true", "\"Bad\""] {
            for (text, pointer) in [
                (format!("{{\"text\": {wrong}}}"), "/text"),
                (format!("{{\"word\":{wrong}, \"text\": \"\"}}"), "/word"),
                (format!("{{\"texts\": [{wrong}]}}"), "/texts/0"),
                (format!("{{\"texts\":[\"\", {wrong}, \"\"]}}"), "/texts/1"),
                (format!("{{\"words\":[{wrong}]}}"), "/words/0"),
                (format!("{{\"words\": [\"Good\", {wrong} ]}}"), "/words/1"),
            ] {
                if let Err(error) = serde_json::from_str::<Read>(&text) {
                    assert_eq!(super::pointer(text.as_bytes(), &error), pointer, "{text}");
                } else {
                    assert!(pointer.starts_with("/text") && wrong == "\"Bad\"", "{text}");
                }
            }
        }
    }
}
