//! A socket for sd_notify(3): in the container it is at a place of its own, and the program is
//! told of it.

use std::path::Path;

use super::{Links, Mount, MountKind, Plan};

/// In the container: the directory that is mounted, and the socket in it.
const DIRECTORY: &str = "/run/notify";
/// The socket's name, on both sides.
pub const SOCKET: &str = "notify.sock";
const VARIABLE: &str = "NOTIFY_SOCKET=";

impl Plan {
    /// Mount `dir` of the host, which has or will have the socket, after all that the config
    /// mounts, and tell the program. Only for a container that can mount.
    pub fn add_notify_socket(&mut self, dir: &Path) {
        self.mounts.push(mount(dir));
        let env = &mut self.process.env;
        env.retain(|pair| !pair.starts_with(VARIABLE));
        env.push(format!("{VARIABLE}{DIRECTORY}/{SOCKET}"));
    }
}

fn mount(dir: &Path) -> Mount {
    Mount {
        // It is in no config.
        field: String::new(),
        target: DIRECTORY.into(),
        source: dir.to_string_lossy().into_owned(),
        what: MountKind::Bind {
            source: dir.to_owned(),
            recursive: false,
            inside: None,
        },
        flags: libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
        cleared: 0,
        recursive_set: 0,
        recursive_clear: 0,
        propagation: Vec::new(),
        copy_up: false,
        links: Links::FOLLOWED,
        idmap: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::state::tests::plan;

    #[test]
    fn the_socket_is_the_last_mount_and_the_only_one_that_the_program_knows() {
        let mut plan = plan("x");
        plan.process.env = vec!["NOTIFY_SOCKET=/old".to_owned(), "A=b".to_owned()];
        plan.add_notify_socket(Path::new("/root/x/notify"));
        assert_eq!(
            plan.process.env,
            ["A=b", "NOTIFY_SOCKET=/run/notify/notify.sock"]
        );
        let last = plan.mounts.last().unwrap();
        assert_eq!(
            (last.target.to_str(), last.source.as_str()),
            (Some("/run/notify"), "/root/x/notify")
        );
        assert_ne!(last.flags & libc::MS_RDONLY, 0);
    }
}
