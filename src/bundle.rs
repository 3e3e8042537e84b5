//! Find and read config.json, once.
//!
//! The directory is made absolute as the kernel has it, the file is read whole, up to a bound,
//! its brackets are glanced at (`arrays`), and it is parsed from memory into oci-spec's types.
//! That is the whole good path. Only when the parse fails is the text looked at again, as
//! untyped JSON: to mend what the specification allows and oci-spec does not (`repair`), and
//! then to say which field is wrong (`locate`). With `--debug` it is also searched for keys that
//! the specification does not have (`unknown`).

mod arrays;
mod config;
mod fields;
mod locate;
mod repair;
mod unknown;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime as oci;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result, Step};
use config::Config;
use repair::Repair;

const CONFIG: &str = "config.json";

/// Longest config.json that is read. All arguments and environment of a process together may
/// have 6 MiB (execve(2)), and that is by far the longest thing in a config that can work.
const LIMIT: u64 = 16 << 20;

/// A bundle whose config.json has the right shape. Nothing has been decided yet.
#[derive(Debug)]
pub struct Bundle {
    /// Absolute, without symbolic links.
    pub dir: PathBuf,
    pub spec: oci::Spec,
    /// What was mended or left out while reading.
    pub warnings: Vec<String>,
}

impl Bundle {
    /// Read the bundle in `dir`, which may be relative to the working directory.
    ///
    /// # Errors
    /// No such directory, no config.json, one that is too long, broken JSON (with line and
    /// column), a field of a wrong type (with its JSON pointer), or a section that oci-spec has
    /// no place for, so that the plan could not refuse it.
    pub fn open(dir: &Path) -> Result<Self> {
        let dir = std::fs::canonicalize(dir).step_on("open the bundle", dir)?;
        let path = dir.join(CONFIG);
        let text = match File::open(&path) {
            Ok(file) => read(file, &path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(
                    Error::invalid("JSON specification file config.json not found").with_path(path),
                );
            }
            Err(error) => return Err(error).step_on("open the config", path),
        };
        let bundle = Self::parse(dir, &text)?;
        unknown::show(&text, CONFIG, repair::CONFIG.within);
        Ok(bundle)
    }

    /// The bundle of a config that has been read; `dir` is absolute.
    pub fn parse(dir: PathBuf, text: &[u8]) -> Result<Self> {
        let (config, warnings) = parse(text, CONFIG, &repair::CONFIG)?;
        let Config { spec, freebsd } = config;
        if freebsd {
            let problem = "freebsd is not supported: this is a runtime for Linux containers";
            return Err(Error::field("/freebsd", problem));
        }
        Ok(Self {
            dir,
            spec,
            warnings,
        })
    }
}

/// Read a resources object, as `update --resources FILE` has it, with what was mended. `-` is
/// standard input.
pub fn read_resources(path: &Path) -> Result<(oci::LinuxResources, Vec<String>)> {
    let file = open_or_stdin(path).step_on("open the resources", path)?;
    let name = path.display().to_string();
    let text = read(file, path)?;
    let parsed = parse(&text, &name, &repair::RESOURCES).map_err(|error| error.in_file(path))?;
    unknown::show(&text, &name, repair::RESOURCES.within);
    Ok(parsed)
}

/// Read a process object, as `exec --process FILE` has it, with what was mended. `-` is standard
/// input.
pub fn read_process(path: &Path) -> Result<(oci::Process, Vec<String>)> {
    let file = open_or_stdin(path).step_on("open the process file", path)?;
    let name = path.display().to_string();
    let text = read(file, path)?;
    let parsed = parse(&text, &name, &repair::PROCESS).map_err(|error| error.in_file(path))?;
    unknown::show(&text, &name, repair::PROCESS.within);
    Ok(parsed)
}

fn open_or_stdin(path: &Path) -> std::io::Result<File> {
    match path.to_str() {
        Some("-") => std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map(File::from),
        _ => File::open(path),
    }
}

fn read(file: File, path: &Path) -> Result<Vec<u8>> {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut text = Vec::with_capacity(length.min(LIMIT) as usize + 1);
    file.take(LIMIT + 1)
        .read_to_end(&mut text)
        .step_on("read", path)?;
    if text.len() as u64 > LIMIT {
        return Err(
            Error::invalid(format!("longer than the {} MiB that are read", LIMIT >> 20))
                .with_path(path),
        );
    }
    Ok(text)
}

/// Parse `text`, of the file `name`; `repair` puts right what oci-spec takes amiss.
fn parse<T: DeserializeOwned>(
    text: &[u8],
    name: &str,
    repair: &Repair<T>,
) -> Result<(T, Vec<String>)> {
    arrays::refuse(text, name, repair.within)?;
    let first = match serde_json::from_slice(text) {
        Ok(value) if !(repair.doubts)(&value) => return Ok((value, Vec::new())),
        other => other,
    };
    let mut json: serde_json::Value =
        serde_json::from_slice(text).map_err(|error| broken(name, &error))?;
    if json.is_null() {
        return Err(Error::field("", "config cannot be null"));
    }
    let mut warnings = Vec::new();
    let original = json.clone();
    (repair.mend)(&mut json, &mut warnings);
    let unmended = json == original;
    let first = match first {
        Ok(value) if unmended => return Ok((value, warnings)),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    if let Some(first) = &first {
        // Untyped JSON keeps the last of two, as do the peers.
        if first.to_string().starts_with("duplicate field") {
            warnings.push(format!("the last one is taken: {first}"));
        } else if unmended {
            let place = locate::pointer(text, first);
            return Err(misfit(&place, problem(first)));
        }
    }
    let mended = json.to_string().into_bytes();
    match serde_json::from_slice(&mended) {
        Ok(value) => Ok((value, warnings)),
        Err(error) => {
            let place = locate::pointer(&mended, &error);
            // The lines of the mended text are not those that its writer knows; the first parse
            // knows them when nothing was mended on the way to this error.
            let text = problem(&error);
            let problem = text.split(" at line ").next().unwrap_or_default();
            let problem = match first.as_ref().map(self::problem) {
                Some(known) if known.starts_with(problem) => known,
                _ => problem.to_owned(),
            };
            Err(misfit(&place, problem))
        }
    }
}

/// What is wrong, in words.
fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("expected value") {
        // serde_json's words where one of several strings is due.
        Some(place) if error.is_syntax() => format!("invalid type, expected a string{place}"),
        _ => text,
    }
}

/// The error for a value that does not fit its field.
fn misfit(pointer: &str, problem: String) -> Error {
    let error = Error::field(pointer, problem);
    match words(pointer) {
        Some(words) => error.within(words),
        None => error,
    }
}

fn broken(name: &str, error: &serde_json::Error) -> Error {
    Error::invalid(format!("{name} is not valid JSON: {error}"))
}

/// Words that callers match in the error of a field whose values are an enum in oci-spec.
fn words(pointer: &str) -> Option<&'static str> {
    match pointer.strip_prefix("/linux/memoryPolicy/")? {
        "mode" => Some("invalid memory policy mode"),
        rest if rest.starts_with("flags/") => Some("invalid memory policy flag"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Kind, Target};

    fn fails(text: &str) -> Error {
        parse::<Config>(text.as_bytes(), CONFIG, &repair::CONFIG).unwrap_err()
    }

    #[test]
    fn a_bundle_without_a_config_says_so() {
        let dir = std::env::temp_dir();
        let dir = dir.canonicalize().unwrap();
        let error = Bundle::open(&dir).unwrap_err();
        assert_eq!(error.step, "JSON specification file config.json not found");
        let path = dir.join("config.json").display().to_string();
        assert_eq!(error.target, Some(Target::Path(path)));
        assert_eq!(error.kind, Kind::Invalid);
    }

    #[test]
    fn a_bundle_that_is_not_there_says_so() {
        let error = Bundle::open(Path::new("/nonexistent/bundle")).unwrap_err();
        assert_eq!(error.errno(), Some(nix::errno::Errno::ENOENT));
    }

    #[test]
    fn broken_json_has_line_and_column() {
        for (text, at) in [
            (
                "{\n  \"ociVersion\": \"1.0.0\"\n  \"root\": 1}",
                "line 3 column 3",
            ),
            ("{\"ociVersion\": ", "line 1 column 15"),
            ("", "line 1 column 0"),
            ("{} {}", "line 1 column 4"),
        ] {
            let error = fails(text);
            assert!(error.step.contains("not valid JSON"), "{error}");
            assert!(error.step.ends_with(at), "{text:?}: {error}");
        }
        assert_eq!(fails("null").step, "config cannot be null");
        assert!(fails(" []").step.contains("not an array"));
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let text = format!(
            "{{\"mounts\": {}1{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(fails(&text).step.contains("recursion limit"));
    }

    #[test]
    fn a_wrong_type_has_its_pointer_and_its_line() {
        for (text, pointer) in [
            ("{\"root\": {\"path\": 1}}", "/root/path"),
            ("{\"mounts\": [{\"destination\": \"/\"}, {}]}", "/mounts/1"),
            (
                "{\"linux\": {\"namespaces\": [{\"type\": \"mnt2\"}]}}",
                "/linux/namespaces/0/type",
            ),
            (
                "{\"linux\": {\"sysctl\": {\"net/ipv4\": 1}}}",
                "/linux/sysctl/net~1ipv4",
            ),
            (
                "{\"hooks\": {\"poststop\": [{\"path\": \"/x\", \"timeout\": \"1\"}]}}",
                "/hooks/poststop/0/timeout",
            ),
            ("1", ""),
        ] {
            let error = fails(text);
            assert_eq!(
                error.target,
                Some(Target::Field(pointer.to_owned())),
                "{error}"
            );
            assert!(error.step.contains("line 1 column"), "{error}");
        }
    }

    #[test]
    fn a_config_that_never_ends_is_not_read_to_its_end() {
        let file = File::open("/dev/zero").unwrap();
        let error = read(file, Path::new("/dev/zero")).unwrap_err();
        assert!(error.step.contains("16 MiB"), "{error}");
    }

    #[test]
    fn the_last_of_two_fields_counts() {
        let text = b"{\"hostname\": \"a\", \"hostname\": \"b\"}";
        let (config, warnings) = parse::<Config>(text, CONFIG, &repair::CONFIG).unwrap();
        assert_eq!(config.spec.hostname().as_deref(), Some("b"));
        assert!(warnings[0].contains("duplicate field `hostname`"));
    }

    #[test]
    fn what_is_mended_leaves_no_other_mistake_unseen() {
        let error = fails("{\"process\": {\"cwd\": \"/\", \"args\": \"sh\"}}");
        assert_eq!(error.target, Some(Target::Field("/process/args".into())));
    }

    #[test]
    fn a_bad_memory_policy_has_the_words_that_callers_match() {
        for (policy, words) in [
            ("{\"mode\": \"MPOL_X\"}", "invalid memory policy mode"),
            (
                "{\"mode\": \"MPOL_BIND\", \"flags\": [\"X\"]}",
                "invalid memory policy flag",
            ),
        ] {
            let error = fails(&format!("{{\"linux\": {{\"memoryPolicy\": {policy}}}}}"));
            assert!(error.step.starts_with(words), "{error}");
        }
    }
}
