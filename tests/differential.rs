//! The same command lines given to orlop and to Debian's runc, and the answers compared.
//!
//! The lines are in `differential/lines.txt`, which also says how they are written. Of each
//! answer these parts are compared: `code`, the exit status; `out`, what stdout is (the keys and
//! types of JSON in their order, the head of a table, or that there is text at all); `words`, the
//! last line of stderr; `log`, the last record of the log file. A difference that is meant names
//! its reason, and one that is gone fails the test too, so that the list stays true.
//! docs/compatibility.md tells each reason to people.

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::json;

use crate::support::isolate;
use crate::support::{Bundle, Output, Runtime, Test, View, wait_until};

const LINES: &str = include_str!("differential/lines.txt");
const DOCS: &str = include_str!("../docs/compatibility.md");
const STATES: [&str; 5] = ["absent", "created", "running", "paused", "stopped"];

/// Why some parts of some answers differ.
struct Reason {
    name: &'static str,
    parts: Vec<&'static str>,
    text: &'static str,
}

/// A command line, and the name of the reason for which its answers differ.
struct Line {
    state: &'static str,
    words: &'static str,
    reason: Option<&'static str>,
}

fn reasons() -> Vec<Reason> {
    let lines = LINES
        .lines()
        .filter_map(|line| line.strip_prefix("reason "));
    let parse = |line: &'static str| {
        let (head, text) = line.split_once(": ").expect("a reason has a text");
        let (name, parts) = head.split_once(' ').expect("a reason has parts");
        Reason {
            name,
            parts: parts.split(' ').collect(),
            text,
        }
    };
    lines.map(parse).collect()
}

fn lines() -> Vec<Line> {
    let plain =
        |line: &&str| !line.is_empty() && !line.starts_with('#') && !line.starts_with("reason ");
    let parse = |line: &'static str| {
        let (reason, line) = match line.strip_prefix('~') {
            Some(marked) => marked
                .split_once(' ')
                .map(|(name, rest)| (Some(name), rest)),
            None => Some((None, line)),
        }
        .expect("a mark is followed by a line");
        let (state, words) = line.split_once(':').expect("a line names a state");
        assert!(STATES.contains(&state), "no such state: {line}");
        Line {
            state,
            words: words.trim(),
            reason,
        }
    };
    LINES.lines().filter(plain).map(parse).collect()
}

#[test]
fn every_difference_has_a_reason_that_the_documentation_tells() {
    let (reasons, lines) = (reasons(), lines());
    assert!(lines.len() >= 200, "{} command lines", lines.len());
    for Reason { name, text, .. } in &reasons {
        let row = format!("| {name} | {text} |");
        assert!(DOCS.contains(&row), "docs/compatibility.md lacks: {row}");
        let used = lines.iter().any(|line| line.reason == Some(name));
        assert!(used, "no line differs because of {name}");
    }
    for line in &lines {
        let known = |name| reasons.iter().any(|reason| reason.name == name);
        assert!(
            line.reason.is_none_or(known),
            "no such reason: {:?}",
            line.reason
        );
    }
    let rows = DOCS
        .lines()
        .skip_while(|line| *line != "| reason | what differs, and why |");
    let told = rows
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .count();
    assert_eq!(
        told,
        reasons.len(),
        "docs/compatibility.md tells other reasons"
    );
}

#[test]
fn command_lines_are_answered_as_runc_answers_them() {
    // With v1, as on a hybrid host the unified hierarchy has no controller to update.
    let name = concat!(
        module_path!(),
        "::command_lines_are_answered_as_runc_answers_them"
    );
    isolate::run(View::V1, name, compare);
}

fn compare(t: &Test) {
    t.only_orlop("it is compared with itself");
    let path = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&path).any(|dir| dir.join("runc").is_file()) {
        t.skip("no runc is installed to compare with");
    }
    let (lines, reasons) = (lines(), reasons());
    let bundles: Vec<Bundle> = STATES
        .iter()
        .map(|&state| {
            let args: &[&str] = match state {
                "absent" => &["exit", "3"],
                "stopped" => &["exit", "0"],
                _ => &["sleep"],
            };
            t.bundle(args, |_| {})
        })
        .collect();
    let runc = Runtime::new(Path::new("runc"), &t.dir, "state-runc");
    let ours = answers(t, &t.runtime, &bundles, &lines);
    let theirs = answers(t, &runc, &bundles, &lines);
    let mut wrong = Vec::new();
    for ((line, ours), theirs) in lines.iter().zip(ours).zip(theirs) {
        let reason = reasons
            .iter()
            .find(|reason| Some(reason.name) == line.reason);
        let meant = reason.map_or(&[][..], |reason| &reason.parts);
        let (mut differs, mut stray) = (false, false);
        let mut report = format!("{}: {}", line.state, line.words);
        for ((part, ours), theirs) in PARTS.iter().zip(&ours).zip(&theirs) {
            if ours != theirs {
                differs = true;
                stray |= !meant.contains(part);
                report += &format!("\n    {part}: {ours}\n    runc: {theirs}");
            }
        }
        if stray {
            wrong.push(report);
        } else if reason.is_some() && !differs {
            wrong.push(format!("{report}\n    does not differ any more"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} lines:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

const PARTS: [&str; 4] = ["code", "out", "words", "log"];
type Answer = [String; 4];

/// Give every line to one runtime.
fn answers(t: &Test, runtime: &Runtime, bundles: &[Bundle], lines: &[Line]) -> Vec<Answer> {
    let work = t.dir.join("work");
    let mut there = [false; STATES.len()];
    let answer = |line: &Line| {
        let n = STATES
            .iter()
            .position(|&state| state == line.state)
            .unwrap();
        let bundle = &bundles[n];
        if !there[n] {
            bring_to(runtime, bundle, line.state);
            there[n] = true;
        }
        lay_out(&work);
        let new = format!("{}-new", t.tag);
        let names = [
            ("$ID", bundle.id.as_str()),
            ("$NEW", &new),
            ("$BUNDLE", bundles[0].path()),
            ("$W", work.to_str().unwrap()),
        ];
        let fill = |word: &str| {
            let word = names
                .iter()
                .fold(word.to_owned(), |word, (name, is)| word.replace(name, is));
            if word == "''" { String::new() } else { word }
        };
        let words: Vec<String> = line.words.split_whitespace().map(fill).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = runtime.command(&words);
        command.current_dir(&work);
        let output = runtime.finish(command);
        let changes = [
            "start", "kill", "delete", "pause", "resume", "update", "create", "run",
        ];
        if words.iter().any(|word| changes.contains(word)) && output.code() == 0 {
            runtime.call(&["delete", "--force", &bundle.id]);
            there[n] = false;
        }
        if runtime.root.join(&new).exists() {
            runtime.call(&["delete", "--force", &new]);
        }
        let log = fs::read_to_string(work.join("log")).unwrap_or_default();
        let plain = |text: &str| normal(last_message(text), runtime, &names);
        [
            output.code().to_string(),
            shape(&output),
            plain(&output.stderr),
            format!("{} {}", kind_of_log(&log), plain(&log)),
        ]
    };
    let answers = lines.iter().map(answer).collect();
    for bundle in bundles {
        runtime.call(&["delete", "--force", &bundle.id]);
    }
    answers
}

/// Make the container of a state.
fn bring_to(runtime: &Runtime, bundle: &Bundle, state: &str) {
    let id = bundle.id.as_str();
    if state == "absent" {
        return;
    }
    let created = runtime.call(&["create", "--bundle", bundle.path(), id]);
    created.expect_ok();
    if state == "created" {
        return;
    }
    runtime.call(&["start", id]).expect_ok();
    if state == "stopped" {
        wait_until("stopped", || {
            runtime.call(&["state", id]).stdout.contains("\"stopped\"")
        });
        return;
    }
    wait_until("ready", || {
        fs::read_to_string(&created.stdout_path)
            .unwrap()
            .contains("ready")
    });
    if state == "paused" {
        runtime.call(&["pause", id]).expect_ok();
    }
}

/// The working directory of a line, as new.
fn lay_out(work: &Path) {
    let _ = fs::remove_dir_all(work);
    fs::create_dir_all(work.join("empty")).unwrap();
    fs::create_dir_all(work.join("full")).unwrap();
    let process =
        json!({"args": ["/probe", "exit", "5"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    fs::write(work.join("process.json"), process.to_string()).unwrap();
    fs::write(work.join("bad.json"), "{nothing").unwrap();
    fs::write(work.join("full/config.json"), "{}").unwrap();
    let resources = json!({"pids": {"limit": 50}});
    fs::write(work.join("resources.json"), resources.to_string()).unwrap();
}

/// What stdout is.
fn shape(output: &Output) -> String {
    let text = output.stdout.trim();
    match serde_json::from_str::<Shape>(text) {
        Ok(Shape(shape)) => shape,
        Err(_) if text.is_empty() => "nothing".to_owned(),
        Err(_)
            if ["ID ", "UID ", "PID "]
                .iter()
                .any(|head| text.starts_with(head)) =>
        {
            let head = text.lines().next().unwrap_or_default();
            head.split_whitespace().collect::<Vec<_>>().join(" ")
        }
        Err(_) => "text".to_owned(),
    }
}

/// Keys and types of JSON in their order, which serde_json's own value does not keep.
struct Shape(String);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Shaper).map(Shape)
    }
}

struct Shaper;

impl<'de> Visitor<'de> for Shaper {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E: Error>(self) -> Result<String, E> {
        Ok("null".to_owned())
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<String, E> {
        Ok("bool".to_owned())
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<String, E> {
        Ok("number".to_owned())
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<String, E> {
        Ok("number".to_owned())
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<String, E> {
        Ok("number".to_owned())
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<String, E> {
        Ok("string".to_owned())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<String, A::Error> {
        let mut kinds = BTreeSet::new();
        while let Some(Shape(kind)) = seq.next_element()? {
            kinds.insert(kind);
        }
        Ok(format!("{kinds:?}")
            .replace('"', "")
            .replace(['{', '}'], "|"))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        let mut all = Vec::new();
        while let Some((key, Shape(kind))) = map.next_entry::<String, Shape>()? {
            all.push(format!("{key} {kind}"));
        }
        Ok(format!("({})", all.join(", ")))
    }
}

/// The message of the last line of a log in text or JSON, or the line itself.
fn last_message(text: &str) -> String {
    let Some(line) = text.lines().rev().find(|line| !line.trim().is_empty()) else {
        return String::new();
    };
    if let Ok(record) = serde_json::from_str::<serde_json::Value>(line) {
        return record["msg"].as_str().unwrap_or_default().to_owned();
    }
    let message = line
        .split_once(" msg=")
        .map_or(line, |(_, message)| message);
    serde_json::from_str(message).unwrap_or_else(|_| message.to_owned())
}

/// The form of a log file and how many records it has.
fn kind_of_log(log: &str) -> String {
    let kind = |line: &str| match serde_json::from_str::<Shape>(line) {
        Ok(Shape(shape)) => shape,
        Err(_) if line.contains(" level=error msg=") => "text".to_owned(),
        Err(_) => "other".to_owned(),
    };
    log.lines().map(kind).collect::<Vec<_>>().join(" ")
}

/// A message without what is each runtime's own.
fn normal(message: String, runtime: &Runtime, names: &[(&str, &str)]) -> String {
    let root = runtime.root.to_str().unwrap();
    let program = runtime.program().to_str().unwrap();
    // What is longer goes first; orlop says runc itself where callers look for runc's words.
    let own = [
        (root, "$ROOT"),
        (program, "NAME"),
        (runtime.name.as_str(), "NAME"),
        ("runc", "NAME"),
    ];
    let known = names.iter().map(|&(name, is)| (is, name)).chain(own);
    known
        .fold(message, |message, (is, name)| message.replace(is, name))
        .trim()
        .to_owned()
}
