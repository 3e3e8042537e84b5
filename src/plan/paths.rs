//! Paths inside the rootfs as text: absolute, lexically clean, without NUL.
//!
//! Nothing here looks at a disk. A clean path is still only a wish: whoever opens it resolves
//! it by file descriptor inside the rootfs, where symbolic links may lead elsewhere.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// `path` as an absolute path without `.`, `..` and doubled slashes; a relative one counts
/// from `/`. `..` at the root stays at the root, as in a chroot.
pub fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::with_capacity(path.as_os_str().len() + 1);
    clean.push("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// Refuse a text that C strings cannot carry: the kernel would see only what is before the NUL.
pub fn no_nul(text: &[u8], pointer: impl FnOnce() -> String) -> Result<()> {
    if text.contains(&0) {
        return Err(Error::field(pointer(), "a NUL character is not allowed"));
    }
    Ok(())
}

/// [`no_nul`] for paths.
pub fn no_nul_path(path: &Path, pointer: impl FnOnce() -> String) -> Result<()> {
    no_nul(path.as_os_str().as_encoded_bytes(), pointer)
}

/// `linux.maskedPaths` or `linux.readonlyPaths` (config-linux.md): absolute paths in the
/// container, in order, a path named twice kept once.
pub fn plan(list: &[String], at: &str) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = Vec::with_capacity(list.len());
    let mut seen = std::collections::HashSet::with_capacity(list.len());
    for (index, text) in list.iter().enumerate() {
        let pointer = || format!("{at}/{index}");
        no_nul(text.as_bytes(), pointer)?;
        let path = Path::new(text);
        if !path.is_absolute() {
            return Err(Error::field(
                pointer(),
                format!("{text:?} must be an absolute path"),
            ));
        }
        let path = clean(path);
        if path == Path::new("/") {
            return Err(Error::field(
                pointer(),
                "the root directory itself cannot be masked or made read-only here",
            )
            .with_hint("root.readonly makes the root read-only"));
        }
        if seen.insert(path.clone()) {
            paths.push(path);
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_path_is_absolute_and_cannot_climb_out() {
        for (given, wanted) in [
            ("/a//b/./c/", "/a/b/c"),
            ("a/b", "/a/b"),
            ("/a/../../..", "/"),
            ("../etc", "/etc"),
            ("", "/"),
        ] {
            assert_eq!(clean(Path::new(given)), Path::new(wanted), "{given:?}");
        }
    }

    #[test]
    fn masked_paths_keep_their_order_and_are_kept_once() {
        let list = ["/proc/kcore", "/proc/acpi/", "/proc//kcore"].map(String::from);
        let paths = plan(&list, "/linux/maskedPaths").unwrap();
        assert_eq!(paths, ["/proc/kcore", "/proc/acpi"].map(PathBuf::from));
    }

    #[test]
    fn a_relative_masked_path_and_the_root_are_refused_by_name() {
        for bad in ["proc/kcore", "", "/", "/..", "/proc/\0"] {
            let list = vec!["/ok".to_owned(), bad.to_owned()];
            let error = plan(&list, "/linux/maskedPaths").unwrap_err();
            assert!(
                error.to_string().contains("/linux/maskedPaths/1"),
                "{bad:?}: {error}"
            );
        }
    }
}
