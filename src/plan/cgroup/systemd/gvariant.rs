//! Values in GVariant's text form, as far as properties of units need it: booleans, numbers,
//! strings and arrays of them, with the type in front (`uint64 5`, `@as []`) where it is not
//! plain. Dictionaries, tuples, variants and maybes are refused.

use crate::dbus::Value;

/// The one value of a text.
///
/// # Errors
/// Words for what is wrong with it.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser {
        rest: text,
        depth: 0,
    };
    let value = parser.value(None)?;
    parser.skip_space();
    match parser.rest {
        "" => Ok(value),
        rest => Err(format!("{rest:?} after the value")),
    }
}

/// Arrays within arrays, and types before types.
const MAX_DEPTH: u32 = 16;

struct Parser<'a> {
    rest: &'a str,
    depth: u32,
}

impl<'a> Parser<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, letter: char) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(letter) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Letters, digits and what else numbers and types are made of.
    fn word(&mut self) -> &'a str {
        let ends = |c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c));
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// One value; `wanted` is its signature, when that has been said.
    fn value(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        if self.depth == MAX_DEPTH {
            return Err("arrays too deep within each other".to_owned());
        }
        self.depth += 1;
        let value = self.any_value(wanted);
        self.depth -= 1;
        value
    }

    fn any_value(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        self.skip_space();
        let rest = self.rest;
        let Some(first) = rest.chars().next() else {
            return Err("a value is missing".to_owned());
        };
        match first {
            '\'' | '"' => {
                let text = self.quoted(first)?;
                string(text, wanted)
            }
            'b' if rest.starts_with("b'") || rest.starts_with("b\"") => {
                self.rest = &rest[1..];
                let quote = self.rest.chars().next().unwrap_or('\'');
                let text = self.quoted(quote)?;
                match wanted {
                    None | Some("ay") => Ok(Value::bytes(text.into_bytes().into_iter().chain([0]))),
                    Some(other) => Err(format!("a byte string is not of the type {other:?}")),
                }
            }
            '[' => self.array(wanted),
            '@' => {
                self.rest = &rest[1..];
                let signature = self.word().to_owned();
                match signature.trim_start_matches('a') {
                    "b" | "y" | "n" | "q" | "i" | "u" | "x" | "t" | "d" | "s" | "o" | "g" => {}
                    _ => return Err(format!("the type {signature:?} is not taken here")),
                }
                self.typed(&signature, wanted)
            }
            '{' | '(' | '<' => Err(format!(
                "dictionaries, tuples and variants are not taken here: {rest:?}"
            )),
            _ => {
                let word = self.word();
                match keyword(word) {
                    Some(signature) => self.typed(signature, wanted),
                    None => plain(word, wanted),
                }
            }
        }
    }

    /// A value after its type.
    fn typed(&mut self, signature: &str, wanted: Option<&str>) -> Result<Value, String> {
        match wanted {
            Some(wanted) if wanted != signature => Err(format!(
                "a value of the type {signature:?} where one of {wanted:?} is needed"
            )),
            _ => self.value(Some(signature)),
        }
    }

    fn array(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        let mut element = match wanted {
            None => None,
            Some(signature) => match signature.strip_prefix('a') {
                Some(element) => Some(element.to_owned()),
                None => return Err(format!("an array is not of the type {signature:?}")),
            },
        };
        self.eat('[');
        let mut values = Vec::new();
        while !self.eat(']') {
            if !values.is_empty() && !self.eat(',') {
                return Err("a comma is missing in an array".to_owned());
            }
            let value = self.value(element.as_deref())?;
            element.get_or_insert_with(|| value.signature());
            values.push(value);
        }
        match element {
            Some(element) => Ok(Value::Array(element, values)),
            None => Err("an empty array needs its type in front: @as []".to_owned()),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut letters = self.rest[1..].char_indices();
        while let Some((at, letter)) = letters.next() {
            if letter == quote {
                self.rest = &self.rest[1 + at + letter.len_utf8()..];
                return Ok(text);
            }
            if letter == '\0' {
                return Err("a string cannot have a NUL in it".to_owned());
            }
            if letter != '\\' {
                text.push(letter);
                continue;
            }
            match letters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, other)) if !other.is_ascii_alphanumeric() => text.push(other),
                _ => return Err("a string has an escape that is not taken here".to_owned()),
            }
        }
        Err("a string has no end".to_owned())
    }
}

fn string(text: String, wanted: Option<&str>) -> Result<Value, String> {
    match wanted {
        None | Some("s") => Ok(Value::String(text)),
        Some("o") => Ok(Value::ObjectPath(text)),
        Some("g") if text.len() <= 255 => Ok(Value::Signature(text)),
        Some(other) => Err(format!("a string is not of the type {other:?}")),
    }
}

fn keyword(word: &str) -> Option<&'static str> {
    Some(match word {
        "boolean" => "b",
        "byte" => "y",
        "int16" => "n",
        "uint16" => "q",
        "int32" => "i",
        "uint32" => "u",
        "int64" => "x",
        "uint64" => "t",
        "double" => "d",
        "string" => "s",
        "objectpath" => "o",
        "signature" => "g",
        _ => return None,
    })
}

/// A boolean or a number; without a type a whole number is an int32, as GVariant has it.
fn plain(word: &str, wanted: Option<&str>) -> Result<Value, String> {
    let wrong = || match wanted {
        Some(signature) => format!("{word:?} is no value of the type {signature:?}"),
        None => format!("{word:?} is no value"),
    };
    let truth = match word {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    };
    if let Some(truth) = truth.filter(|_| matches!(wanted, None | Some("b"))) {
        return Ok(Value::Bool(truth));
    }
    let looks_real = word.contains('.') || (!is_hex(word) && word.contains(['e', 'E']));
    let signature = wanted.unwrap_or(if looks_real { "d" } else { "i" });
    if signature == "d" {
        let number = word.parse::<f64>().ok().filter(|number| number.is_finite());
        return number.map(Value::Double).ok_or_else(wrong);
    }
    let whole = whole_number(word).ok_or_else(wrong)?;
    let value = match signature {
        "y" => whole.try_into().map(Value::Byte),
        "n" => whole.try_into().map(Value::Int16),
        "q" => whole.try_into().map(Value::Uint16),
        "i" => whole.try_into().map(Value::Int32),
        "u" => whole.try_into().map(Value::Uint32),
        "x" => whole.try_into().map(Value::Int64),
        "t" => whole.try_into().map(Value::Uint64),
        _ => return Err(wrong()),
    };
    value.map_err(|_| wrong())
}

fn is_hex(word: &str) -> bool {
    let digits = word.trim_start_matches(['-', '+']);
    digits.starts_with("0x") || digits.starts_with("0X")
}

/// Decimal, `0x` hexadecimal, or octal with a 0 in front.
fn whole_number(word: &str) -> Option<i128> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    };
    let (radix, digits) = match digits {
        hex if is_hex(hex) => (16, &hex[2..]),
        octal if octal.len() > 1 && octal.starts_with('0') => (8, &octal[1..]),
        decimal => (10, decimal),
    };
    // from_str_radix would take a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    i128::from_str_radix(digits, radix).ok().map(|n| n * sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_types() {
        let strings = |texts: &[&str]| {
            Value::Array(
                "s".to_owned(),
                texts.iter().map(|text| (*text).into()).collect(),
            )
        };
        for (text, value) in [
            ("true", Value::Bool(true)),
            (" false ", Value::Bool(false)),
            ("5", Value::Int32(5)),
            ("-0x10", Value::Int32(-16)),
            ("010", Value::Int32(8)),
            ("1.5", Value::Double(1.5)),
            ("1e3", Value::Double(1000.0)),
            ("uint64 123456789", Value::Uint64(123_456_789)),
            ("@t 18446744073709551615", Value::Uint64(u64::MAX)),
            ("byte 0xff", Value::Byte(255)),
            ("int16 -3", Value::Int16(-3)),
            ("'inactive-or-failed'", "inactive-or-failed".into()),
            (r#""it's \"x\" \\""#, r#"it's "x" \"#.into()),
            ("objectpath '/a'", Value::ObjectPath("/a".to_owned())),
            ("['a.service', \"b\"]", strings(&["a.service", "b"])),
            ("@as []", strings(&[])),
            (
                "[uint32 1, 2]",
                Value::Array("u".to_owned(), vec![Value::Uint32(1), Value::Uint32(2)]),
            ),
            ("b'a'", Value::bytes([b'a', 0])),
            ("'é'", "é".into()),
        ] {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_not_taken_is_refused_with_words() {
        for (text, words) in [
            ("", "missing"),
            ("'a", "no end"),
            ("[]", "type in front"),
            ("['a' 'b']", "comma"),
            ("['a', 5]", "\"s\""),
            ("{'a': 5}", "not taken"),
            ("<5>", "not taken"),
            ("(1, 2)", "not taken"),
            ("@a{sv} {}", "not taken"),
            ("@", "not taken"),
            ("5 6", "after the value"),
            ("uint32 -1", "\"u\""),
            ("byte 256", "\"y\""),
            ("4294967296", "\"4294967296\""),
            ("boolean 1", "\"b\""),
            ("uint64 'a'", "\"t\""),
            ("--5", "no value"),
            ("0x", "no value"),
            ("yes", "no value"),
            ("é", "no value"),
            ("double inf", "no value"),
            ("uint64", "missing"),
            ("'\\x41'", "escape"),
            ("'a\0'", "NUL"),
        ] {
            let problem = parse(text).expect_err(text);
            assert!(problem.contains(words), "{text}: {problem}");
        }
        assert!(parse(&"[".repeat(100_000)).unwrap_err().contains("deep"));
        assert!(parse(&"@s ".repeat(100_000)).unwrap_err().contains("deep"));
    }
}
