//! The words of a mount's `options`, as config.md, "Linux mount options", lists them.
//!
//! Each word is one row of a table: what it sets or clears, on this mount or on the whole
//! tree. What is in no row belongs to the filesystem. Later words win over earlier ones, as in
//! mount(8).

use super::Links;
use crate::sys::mount as attr;

/// What one word asks for.
#[derive(Debug, Clone, Copy)]
enum Word {
    /// Set these MS_* flags.
    Set(u64),
    /// Clear them.
    Clear(u64),
    /// Set these MOUNT_ATTR_* bits on the whole tree.
    SetAll(u64),
    ClearAll(u64),
    /// The access time of the whole tree: a value of the MOUNT_ATTR_ATIME field.
    AtimeAll(u64),
    Propagation(u64),
    Bind {
        recursive: bool,
    },
    IdMap {
        recursive: bool,
    },
    CopyUp,
    /// crun's words for sources and targets that are symbolic links.
    Link(Links),
    /// `rnorelatime`: relatime is the kernel's default and has no bit, so not to ask for it
    /// asks for nothing. `defaults` likewise.
    Nothing,
}

/// Flags of a whole filesystem, which a bind can neither have nor change. MS_SILENT is not
/// among them: it speaks of messages of the kernel, of which a bind gives none.
const OF_FILESYSTEM: u64 = libc::MS_SYNCHRONOUS
    | libc::MS_DIRSYNC
    | libc::MS_MANDLOCK
    | libc::MS_LAZYTIME
    | libc::MS_I_VERSION;

/// The access time has one mode.
const ATIME_MODES: u64 = libc::MS_NOATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;

/// Sorted by name, so that a word is found by binary search.
const WORDS: &[(&str, Word)] = &[
    ("async", Word::Clear(libc::MS_SYNCHRONOUS)),
    ("atime", Word::Clear(libc::MS_NOATIME)),
    ("bind", Word::Bind { recursive: false }),
    (
        "copy-symlink",
        Word::Link(Links {
            copy: true,
            ..Links::FOLLOWED
        }),
    ),
    ("defaults", Word::Nothing),
    (
        "dest-nofollow",
        Word::Link(Links {
            mount_over: true,
            ..Links::FOLLOWED
        }),
    ),
    ("dev", Word::Clear(libc::MS_NODEV)),
    ("diratime", Word::Clear(libc::MS_NODIRATIME)),
    ("dirsync", Word::Set(libc::MS_DIRSYNC)),
    ("exec", Word::Clear(libc::MS_NOEXEC)),
    ("idmap", Word::IdMap { recursive: false }),
    ("iversion", Word::Set(libc::MS_I_VERSION)),
    ("lazytime", Word::Set(libc::MS_LAZYTIME)),
    ("loud", Word::Clear(libc::MS_SILENT)),
    ("mand", Word::Set(libc::MS_MANDLOCK)),
    ("noatime", Word::Set(libc::MS_NOATIME)),
    ("nodev", Word::Set(libc::MS_NODEV)),
    ("nodiratime", Word::Set(libc::MS_NODIRATIME)),
    ("noexec", Word::Set(libc::MS_NOEXEC)),
    ("noiversion", Word::Clear(libc::MS_I_VERSION)),
    ("nolazytime", Word::Clear(libc::MS_LAZYTIME)),
    ("nomand", Word::Clear(libc::MS_MANDLOCK)),
    ("norelatime", Word::Clear(libc::MS_RELATIME)),
    ("nostrictatime", Word::Clear(libc::MS_STRICTATIME)),
    ("nosuid", Word::Set(libc::MS_NOSUID)),
    ("nosymfollow", Word::Set(libc::MS_NOSYMFOLLOW)),
    ("private", Word::Propagation(libc::MS_PRIVATE)),
    ("ratime", Word::AtimeAll(0)),
    ("rbind", Word::Bind { recursive: true }),
    ("rdev", Word::ClearAll(attr::ATTR_NODEV)),
    ("rdiratime", Word::ClearAll(attr::ATTR_NODIRATIME)),
    ("relatime", Word::Set(libc::MS_RELATIME)),
    ("remount", Word::Set(libc::MS_REMOUNT)),
    ("rexec", Word::ClearAll(attr::ATTR_NOEXEC)),
    ("ridmap", Word::IdMap { recursive: true }),
    ("rnoatime", Word::AtimeAll(attr::ATTR_NOATIME)),
    ("rnodev", Word::SetAll(attr::ATTR_NODEV)),
    ("rnodiratime", Word::SetAll(attr::ATTR_NODIRATIME)),
    ("rnoexec", Word::SetAll(attr::ATTR_NOEXEC)),
    ("rnorelatime", Word::Nothing),
    ("rnostrictatime", Word::AtimeAll(0)),
    ("rnosuid", Word::SetAll(attr::ATTR_NOSUID)),
    ("rnosymfollow", Word::SetAll(attr::ATTR_NOSYMFOLLOW)),
    ("ro", Word::Set(libc::MS_RDONLY)),
    (
        "rprivate",
        Word::Propagation(libc::MS_PRIVATE | libc::MS_REC),
    ),
    ("rrelatime", Word::AtimeAll(0)),
    ("rro", Word::SetAll(attr::ATTR_RDONLY)),
    ("rrw", Word::ClearAll(attr::ATTR_RDONLY)),
    ("rshared", Word::Propagation(libc::MS_SHARED | libc::MS_REC)),
    ("rslave", Word::Propagation(libc::MS_SLAVE | libc::MS_REC)),
    ("rstrictatime", Word::AtimeAll(attr::ATTR_STRICTATIME)),
    ("rsuid", Word::ClearAll(attr::ATTR_NOSUID)),
    ("rsymfollow", Word::ClearAll(attr::ATTR_NOSYMFOLLOW)),
    (
        "runbindable",
        Word::Propagation(libc::MS_UNBINDABLE | libc::MS_REC),
    ),
    ("rw", Word::Clear(libc::MS_RDONLY)),
    ("shared", Word::Propagation(libc::MS_SHARED)),
    ("silent", Word::Set(libc::MS_SILENT)),
    ("slave", Word::Propagation(libc::MS_SLAVE)),
    (
        "src-nofollow",
        Word::Link(Links {
            mount_itself: true,
            ..Links::FOLLOWED
        }),
    ),
    ("strictatime", Word::Set(libc::MS_STRICTATIME)),
    ("suid", Word::Clear(libc::MS_NOSUID)),
    ("symfollow", Word::Clear(libc::MS_NOSYMFOLLOW)),
    ("sync", Word::Set(libc::MS_SYNCHRONOUS)),
    ("tmpcopyup", Word::CopyUp),
    ("unbindable", Word::Propagation(libc::MS_UNBINDABLE)),
];

/// Every word that is not left to the filesystem, sorted; what `features` reports.
pub fn known() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|(name, _)| *name)
}

/// `idmap` or `ridmap`; the last of them counts.
#[derive(Debug)]
pub struct IdMapWord<'a> {
    pub recursive: bool,
    /// The place in the list.
    pub index: usize,
    /// What follows the `=` in crun's form, `idmap=uids=...;gids=...`; else empty.
    pub maps: &'a str,
}

/// The words of one mount, added up.
#[derive(Debug, Default)]
pub struct Options<'a> {
    pub flags: u64,
    pub cleared: u64,
    pub recursive_set: u64,
    pub recursive_clear: u64,
    pub propagation: Vec<u64>,
    /// `Some(true)`: the whole tree.
    pub bind: Option<bool>,
    pub idmap: Option<IdMapWord<'a>>,
    pub copy_up: bool,
    pub links: Links,
    pub remount: bool,
    /// The words that only a whole filesystem can have, with the place in the list.
    pub of_filesystem: Vec<(usize, &'a str)>,
    /// What belongs to the filesystem, with the place in the list.
    pub data: Vec<(usize, &'a str)>,
}

impl<'a> Options<'a> {
    /// Read `words` from left to right.
    pub fn read(words: &'a [String]) -> Self {
        let mut options = Self::default();
        for (index, text) in words.iter().enumerate() {
            let (name, maps) = match text.split_once('=') {
                Some((name @ ("idmap" | "ridmap"), maps)) => (name, maps),
                _ => (text.as_str(), ""),
            };
            match WORDS.binary_search_by_key(&name, |(name, _)| name) {
                Ok(row) => match WORDS[row].1 {
                    Word::IdMap { recursive } => {
                        options.idmap = Some(IdMapWord {
                            recursive,
                            index,
                            maps,
                        });
                    }
                    word => {
                        if matches!(word, Word::Set(flags) | Word::Clear(flags)
                            if flags & OF_FILESYSTEM != 0)
                        {
                            options.of_filesystem.push((index, text));
                        }
                        options.apply(word);
                    }
                },
                Err(_) if text.is_empty() => {}
                Err(_) => options.data.push((index, text)),
            }
        }
        options
    }

    fn apply(&mut self, word: Word) {
        match word {
            Word::Set(libc::MS_REMOUNT) => self.remount = true,
            Word::Set(flags) => {
                if flags & ATIME_MODES != 0 {
                    self.flags &= !ATIME_MODES;
                }
                self.flags |= flags;
                self.cleared &= !flags;
            }
            Word::Clear(flags) => {
                self.flags &= !flags;
                self.cleared |= flags;
            }
            Word::SetAll(bits) => {
                self.recursive_set |= bits;
                self.recursive_clear &= !bits;
            }
            Word::ClearAll(bits) => {
                self.recursive_set &= !bits;
                self.recursive_clear |= bits;
            }
            // mount_setattr(2): a new access time needs the whole field in attr_clr.
            Word::AtimeAll(value) => {
                self.recursive_clear |= attr::ATTR_ATIME;
                self.recursive_set = self.recursive_set & !attr::ATTR_ATIME | value;
            }
            Word::Propagation(flags) => self.propagation.push(flags),
            // "bind" after "rbind" does not take the tree back: mount(2) joins the two flags.
            Word::Bind { recursive } => {
                self.bind = Some(recursive || self.bind == Some(true));
            }
            // By `read`, as it has an argument.
            Word::IdMap { .. } => {}
            Word::CopyUp => self.copy_up = true,
            Word::Link(links) => {
                self.links.copy |= links.copy;
                self.links.mount_itself |= links.mount_itself;
                self.links.mount_over |= links.mount_over;
            }
            Word::Nothing => {}
        }
    }

    /// The filesystem's words, joined by commas.
    pub fn data(&self) -> String {
        let mut data = String::new();
        for (_, word) in &self.data {
            if !data.is_empty() {
                data.push(',');
            }
            data.push_str(word);
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> (u64, u64, u64, u64) {
        let words: Vec<_> = words.split(',').map(String::from).collect();
        let options = Options::read(&words);
        assert!(options.data.is_empty(), "{:?}", options.data);
        (
            options.flags,
            options.cleared,
            options.recursive_set,
            options.recursive_clear,
        )
    }

    #[test]
    fn the_table_is_sorted_and_without_doubles() {
        assert!(WORDS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn the_table_has_every_word_of_the_specification() {
        let listed = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud \
            copy-symlink dest-nofollow src-nofollow \
            mand noatime nodev nodiratime noexec noiversion nolazytime nomand norelatime \
            nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime \
            remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid \
            rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid \
            rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync \
            tmpcopyup unbindable rnodev idmap ridmap";
        for word in listed.split_whitespace() {
            assert!(known().any(|name| name == word), "{word}");
        }
        assert_eq!(known().count(), listed.split_whitespace().count());
    }

    #[test]
    fn the_last_word_wins() {
        assert_eq!(read("ro,rw"), (0, libc::MS_RDONLY, 0, 0));
        assert_eq!(read("rw,ro"), (libc::MS_RDONLY, 0, 0, 0));
        assert_eq!(read("rro,rrw"), (0, 0, 0, attr::ATTR_RDONLY));
        assert_eq!(read("rrw,rro"), (0, 0, attr::ATTR_RDONLY, 0));
    }

    #[test]
    fn the_access_time_has_one_mode() {
        assert_eq!(read("noatime,strictatime").0, libc::MS_STRICTATIME);
        assert_eq!(read("strictatime,relatime").0, libc::MS_RELATIME);
        // The access times of directories are apart from it.
        let both = libc::MS_NODIRATIME | libc::MS_NOATIME;
        assert_eq!(read("nodiratime,noatime").0, both);
    }

    #[test]
    fn what_only_a_filesystem_can_have_is_told_apart() {
        let words = ["ro", "sync", "nolazytime", "silent"].map(String::from);
        let options = Options::read(&words);
        assert_eq!(options.of_filesystem, [(1, "sync"), (2, "nolazytime")]);
    }

    #[test]
    fn a_recursive_access_time_names_the_whole_field() {
        for (word, value) in [
            ("rnoatime", attr::ATTR_NOATIME),
            ("rstrictatime", attr::ATTR_STRICTATIME),
            ("rrelatime", 0),
            ("ratime", 0),
            ("rnoatime,rstrictatime", attr::ATTR_STRICTATIME),
        ] {
            assert_eq!(read(word), (0, 0, value, attr::ATTR_ATIME), "{word}");
        }
        assert_eq!(read("rnorelatime"), (0, 0, 0, 0));
        assert_eq!(read("rdiratime"), (0, 0, 0, attr::ATTR_NODIRATIME));
    }

    #[test]
    fn the_bits_are_those_of_the_kernel() {
        // linux/mount.h and the mount(2) flags, written out.
        for (word, flags) in [
            ("ro", 1),
            ("nosuid", 2),
            ("nodev", 4),
            ("noexec", 8),
            ("sync", 16),
            ("mand", 64),
            ("dirsync", 128),
            ("nosymfollow", 256),
            ("noatime", 1024),
            ("nodiratime", 2048),
            ("silent", 32768),
            ("relatime", 1 << 21),
            ("iversion", 1 << 23),
            ("strictatime", 1 << 24),
            ("lazytime", 1 << 25),
        ] {
            assert_eq!(read(word).0, flags, "{word}");
        }
        for (word, flags) in [
            ("unbindable", 1 << 17),
            ("private", 1 << 18),
            ("slave", 1 << 19),
            ("shared", 1 << 20),
        ] {
            let words = [word.to_owned(), format!("r{word}")];
            assert_eq!(Options::read(&words).propagation, [flags, flags | 16384]);
        }
    }

    #[test]
    fn unknown_words_are_the_filesystems() {
        let words = ["size=1m", "ro", "", "acl"].map(String::from);
        let options = Options::read(&words);
        assert_eq!(options.data(), "size=1m,acl");
        assert_eq!(options.data[1].0, 3);
    }
}
