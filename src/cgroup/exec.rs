//! Where the process of exec goes: into the container's cgroup, into one below it that the
//! caller names, or, when the container's own cannot take it, to where init is now.

use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::{Cgroup, UNIFIED, file, layout};
use crate::error::{Error, Result, Step};

impl Cgroup {
    /// Where exec's process goes. `subs` is what `--cgroup [CONTROLLER:]PATH` names: each pair
    /// a controller and a path below the container's cgroup. The empty controller stands for
    /// all hierarchies; those that are not named stay as they are.
    pub fn for_exec(&self, subs: &[(String, String)]) -> Result<Self> {
        match subs {
            [] => Ok(Self::open(&self.paths())),
            subs => self.below(subs),
        }
    }

    /// Where exec's process goes when it cannot be in the container's cgroup for this `error`: to
    /// where init is now. Only on a host with cgroup v2 alone, where a cgroup can be gone, or hand
    /// controllers down and so take no processes.
    pub fn instead(&self, error: &Error, init: Pid) -> Result<Option<OwnedFd>> {
        match error.errno() {
            Some(Errno::ENOENT | Errno::ENODEV | Errno::EBUSY | Errno::EOPNOTSUPP)
                if self.is_unified_only() && self.unified_dir().is_some() =>
            {
                Self::of_process(init, Path::new(layout::ROOT))?.take_v2_fd()
            }
            _ => Ok(None),
        }
    }

    fn below(&self, subs: &[(String, String)]) -> Result<Self> {
        let mut dirs = self.dirs.clone();
        for (controller, sub) in subs {
            let path = inside(sub)?;
            let mut known = false;
            for dir in &mut dirs {
                if controller.is_empty() || dir.keys.contains(controller) {
                    dir.path.push(path);
                    known = true;
                }
            }
            if !known {
                return Err(Error::invalid(format!("unknown controller {controller}")));
            }
        }
        if let Some(gone) = dirs.iter().find(|dir| !dir.path.is_dir()) {
            return Err(Error::invalid("bad sub cgroup path: no such cgroup").with_path(&gone.path));
        }
        Ok(Self {
            dirs,
            made: Vec::new(),
            unified: None,
            unit: None,
            oom_before: 0,
        })
    }

    /// The cgroup that a process is in now, on a v2 host. Init may have left its own, or have
    /// made it one that takes no processes (with controllers handed down to cgroups below).
    fn of_process(pid: Pid, mount: &Path) -> Result<Self> {
        let path = format!("/proc/{pid}/cgroup");
        let text = file::read(Path::new(&path)).step_on("read the cgroup of init", &path)?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::"));
        let own = own.ok_or_else(|| Error::new("init has no v2 cgroup").with_path(&path))?;
        let dir = layout::join(mount, inside(own)?);
        Ok(Self::open(&[(UNIFIED.to_owned(), dir)].into()))
    }
}

/// A path that stays below where it is joined to, without its leading slash.
fn inside(sub: &str) -> Result<&Path> {
    let path = Path::new(sub);
    let path = path.strip_prefix("/").unwrap_or(path);
    let plain = |c: Component| matches!(c, Component::Normal(_) | Component::CurDir);
    match path.components().all(plain) {
        true => Ok(path),
        false => Err(Error::invalid(format!("bad sub cgroup path: {sub}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn cgroup(root: &Path) -> Cgroup {
        let paths = [("cpu", "cpu"), ("cpuacct", "cpu"), ("pids", "pids")];
        Cgroup::open(
            &paths
                .map(|(key, dir)| (key.to_owned(), root.join(dir)))
                .into(),
        )
    }

    fn below(cgroup: &Cgroup, subs: &[(&str, &str)]) -> Result<Vec<PathBuf>> {
        let own = |(c, p): &(&str, &str)| ((*c).to_owned(), (*p).to_owned());
        let subs: Vec<(String, String)> = subs.iter().map(own).collect();
        Ok(cgroup.for_exec(&subs)?.paths().into_values().collect())
    }

    #[test]
    fn a_sub_cgroup_is_below_the_containers() {
        let root = std::env::temp_dir().join(format!("orlop-below-{}", std::process::id()));
        let all = ["cpu/a/b", "pids/a/b"].map(|path| root.join(path));
        all.iter()
            .for_each(|path| std::fs::create_dir_all(path).unwrap());
        let cgroup = cgroup(&root);

        let [cpu, pids] = all;
        assert_eq!(
            below(&cgroup, &[("", "/a/b")]).unwrap(),
            [cpu.clone(), cpu.clone(), pids]
        );
        assert_eq!(
            below(&cgroup, &[("cpuacct", "a/b")]).unwrap(),
            [cpu.clone(), cpu, root.join("pids")]
        );
        for (subs, words) in [
            (("", "../x"), "bad sub cgroup path: ../x"),
            (("pids", "a/../../x"), "bad sub cgroup path: a/../../x"),
            (("memory", "a"), "unknown controller memory"),
            (("pids", "nowhere"), "bad sub cgroup path: no such cgroup"),
        ] {
            let error = below(&cgroup, &[subs]).unwrap_err();
            assert!(error.to_string().starts_with(words), "{error}");
        }
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_process_is_found_in_the_unified_hierarchy() {
        let found = Cgroup::of_process(Pid::this(), Path::new("/m"));
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        match text.lines().find_map(|line| line.strip_prefix("0::")) {
            Some(own) => {
                let dir = layout::join(Path::new("/m"), Path::new(own));
                assert_eq!(found.unwrap().paths().get(""), Some(&dir));
            }
            None => assert!(found.is_err()),
        }
    }
}
