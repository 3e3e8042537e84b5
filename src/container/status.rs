//! What a container is doing now, told from four things: what the runtime wrote down, whether
//! init lives, whether it still waits at its socket, and whether its cgroup is frozen.

use super::process;
use super::state::{Phase, State};
use super::store::Dir;
use crate::cgroup::Cgroup;
use crate::error::Result;

/// The words of the specification, and runc's `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }

    /// Ask the kernel. A create that was killed has no init and counts as stopped, so that
    /// delete takes it.
    pub fn of(state: &State, dir: &Dir) -> Result<Self> {
        let alive = process::is_alive(state.init_process_pid, state.init_process_start)?;
        if !alive {
            return Ok(Self::Stopped);
        }
        let waiting = match state.orlop.phase {
            Phase::Creating => return Ok(Self::Creating),
            Phase::Created => dir.has_start_socket()?,
            Phase::Running => false,
        };
        if Cgroup::open(&state.cgroup_paths).is_frozen()? {
            return Ok(Self::Paused);
        }
        Ok(if waiting {
            Self::Created
        } else {
            Self::Running
        })
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::id::ContainerId;
    use crate::container::state::tests::state;
    use crate::container::store::tests::store;

    fn id() -> ContainerId {
        ContainerId::new("x").unwrap()
    }

    #[test]
    fn status_follows_init_the_socket_and_the_freezer() {
        let (root, store) = store("status");
        let dir = store.create(&id()).unwrap();
        let mut state = state("x");
        let freezer = root.join("freezer");
        std::fs::create_dir(&freezer).unwrap();
        state.cgroup_paths = [("freezer".to_owned(), freezer.clone())].into();
        assert_eq!(Status::of(&state, &dir).unwrap(), Status::Stopped);

        let me = std::process::id() as i32;
        let start = process::stat(me).unwrap().unwrap().start;
        state.set_init(me, start);
        assert_eq!(Status::of(&state, &dir).unwrap(), Status::Creating);

        state.orlop.phase = Phase::Created;
        assert_eq!(Status::of(&state, &dir).unwrap(), Status::Running);
        std::fs::write(root.join("root/x/start.sock"), "").unwrap();
        assert_eq!(Status::of(&state, &dir).unwrap(), Status::Created);
        state.orlop.phase = Phase::Running;
        assert_eq!(Status::of(&state, &dir).unwrap(), Status::Running);

        std::fs::write(freezer.join("freezer.state"), "FROZEN\n").unwrap();
        std::fs::write(freezer.join("freezer.self_freezing"), "1\n").unwrap();
        assert_eq!(Status::of(&state, &dir).unwrap(), Status::Paused);
        std::fs::write(freezer.join("freezer.state"), "THAWED\n").unwrap();
        assert_eq!(Status::of(&state, &dir).unwrap(), Status::Running);

        state.cgroup_paths = [(String::new(), freezer.clone())].into();
        std::fs::write(freezer.join("cgroup.freeze"), "1\n").unwrap();
        assert_eq!(Status::of(&state, &dir).unwrap(), Status::Paused);

        state.set_init(me, start + 1);
        assert_eq!(Status::of(&state, &dir).unwrap(), Status::Stopped);
        std::fs::remove_dir_all(root).unwrap();
    }
}
