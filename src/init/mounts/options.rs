//! The options of a filesystem in the form that fsconfig(2) takes: a key, or key and value.

use std::ffi::CString;

use crate::error::{Error, Result};
use crate::sys::mount::FsOption;

/// MS_* flags that belong to a filesystem, and the words for them: to set, to clear.
const FLAGS: [(u64, &str, Option<&str>); 6] = [
    (libc::MS_RDONLY, "ro", Some("rw")),
    (libc::MS_SYNCHRONOUS, "sync", Some("async")),
    (libc::MS_DIRSYNC, "dirsync", None),
    (libc::MS_MANDLOCK, "mand", Some("nomand")),
    (libc::MS_LAZYTIME, "lazytime", Some("nolazytime")),
    (libc::MS_I_VERSION, "iversion", Some("noiversion")),
];

/// Owns the text.
#[derive(Debug, Default)]
pub struct FsOptions(Vec<(CString, Option<CString>)>);

impl FsOptions {
    /// Of a new filesystem.
    pub fn new(source: &str, set: u64, cleared: u64, data: &str) -> Result<Self> {
        let mut options = Self::default();
        options.push("source", Some(source))?;
        options.add(set, cleared, data)?;
        Ok(options)
    }

    /// Of one that is there already.
    pub fn changes(set: u64, cleared: u64, data: &str) -> Result<Self> {
        let mut options = Self::default();
        options.add(set, cleared, data)?;
        Ok(options)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_slice(&self) -> Vec<FsOption<'_>> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_c_str(), value.as_deref()))
            .collect()
    }

    fn add(&mut self, set: u64, cleared: u64, data: &str) -> Result<()> {
        for (flag, word, clear) in FLAGS {
            if set & flag != 0 {
                self.push(word, None)?;
            } else if cleared & flag != 0 {
                clear.map_or(Ok(()), |word| self.push(word, None))?;
            }
        }
        split(data)
            .into_iter()
            .try_for_each(|option| match option.split_once('=') {
                Some((key, value)) => self.push(key, Some(value.trim_matches('"'))),
                None => self.push(option, None),
            })
    }

    fn push(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        let text = |text: &str| {
            CString::new(text).map_err(|_| Error::invalid("an option holds a zero byte"))
        };
        self.0.push((text(key)?, value.map(text).transpose()?));
        Ok(())
    }
}

/// At each comma, but for those between quotes, as the kernel splits the data of mount(2).
fn split(data: &str) -> Vec<&str> {
    let mut quoted = false;
    data.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .filter(|option| !option.is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(options: &FsOptions) -> Vec<String> {
        let word = |(key, value): &(CString, Option<CString>)| {
            let key = key.to_str().unwrap();
            match value {
                Some(value) => format!("{key}={}", value.to_str().unwrap()),
                None => key.to_owned(),
            }
        };
        options.0.iter().map(word).collect()
    }

    #[test]
    fn flags_and_text_become_keys() {
        let set = libc::MS_SYNCHRONOUS | libc::MS_NOSUID | libc::MS_RDONLY;
        let options = FsOptions::new("shm", set, 0, "size=1m,,noswap").unwrap();
        let expected = ["source=shm", "ro", "sync", "size=1m", "noswap"];
        assert_eq!(shown(&options), expected);
    }

    #[test]
    fn what_is_cleared_by_name_is_said() {
        let cleared = libc::MS_RDONLY | libc::MS_DIRSYNC | libc::MS_LAZYTIME;
        let options = FsOptions::changes(0, cleared, "").unwrap();
        assert_eq!(shown(&options), ["rw", "nolazytime"]);
        assert!(
            FsOptions::changes(0, libc::MS_NOSUID, "")
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_security_context_is_one_option() {
        let options = FsOptions::changes(0, 0, "mode=1,context=\"u:r:t:s0:c1,c2\",x").unwrap();
        let expected = ["mode=1", "context=u:r:t:s0:c1,c2", "x"];
        assert_eq!(shown(&options), expected);
    }
}
