//! What this machine offers: cgroup layout, capabilities, who the caller is.
//!
//! Each answer is asked of the kernel at most once and only when somebody needs it. Nothing
//! here changes anything. Stored plans in the tests use [`Host::fixed`], so that they do not
//! depend on the machine they run on.

use std::cell::OnceCell;

use crate::cgroup::Layout;
use crate::cgroup::systemd::Manager;
use crate::error::Result;
use crate::plan::SystemdHost;

/// CAP_MKNOD.
const MKNOD: u64 = 1 << 27;

/// See the module's text. Passed by reference to whoever plans.
#[derive(Debug, Default)]
pub struct Host {
    layout: OnceCell<Layout>,
    last_capability: OnceCell<u8>,
    capabilities: OnceCell<u64>,
    rootless: OnceCell<bool>,
    in_user_namespace: OnceCell<bool>,
    selinux: OnceCell<bool>,
    /// The caller wants units of systemd for cgroups.
    uses_systemd: bool,
    systemd: OnceCell<SystemdHost>,
}

impl Host {
    /// The machine that we run on, for tests of rooms that need one.
    #[cfg(test)]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with the caller's word on whether it is rootless; `None` is to find out.
    pub fn with_rootless(rootless: Option<bool>) -> Self {
        Self {
            rootless: rootless.map(OnceCell::from).unwrap_or_default(),
            ..Self::default()
        }
    }

    /// The same, with cgroups by systemd or not.
    pub fn with_systemd_cgroups(self, uses_systemd: bool) -> Self {
        Self {
            uses_systemd,
            ..self
        }
    }

    /// A host with given answers, for tests of pure code.
    #[cfg(test)]
    pub fn fixed(layout: Layout, last_capability: u8, capabilities: u64, rootless: bool) -> Self {
        Self {
            layout: OnceCell::from(layout),
            last_capability: OnceCell::from(last_capability),
            capabilities: OnceCell::from(capabilities),
            rootless: OnceCell::from(rootless),
            in_user_namespace: OnceCell::from(rootless),
            selinux: OnceCell::from(false),
            ..Self::default()
        }
    }

    /// The same with SELinux.
    #[cfg(test)]
    pub fn with_selinux(self) -> Self {
        Self {
            selinux: OnceCell::from(true),
            ..self
        }
    }

    /// The same with the systemd driver.
    #[cfg(test)]
    pub fn with_systemd(self, systemd: SystemdHost) -> Self {
        Self {
            uses_systemd: true,
            systemd: OnceCell::from(systemd),
            ..self
        }
    }

    /// Whether containers get units of systemd instead of bare cgroups.
    pub fn uses_systemd(&self) -> bool {
        self.uses_systemd
    }

    /// The systemd that makes them, asked on its bus: the system's, or the user's where we are
    /// rootless.
    pub fn systemd(&self) -> Result<&SystemdHost> {
        if self.systemd.get().is_none() {
            let facts = Manager::connect(self.is_rootless())?.facts()?;
            let _ = self.systemd.set(facts);
        }
        self.systemd
            .get()
            .ok_or_else(|| crate::error::Error::new("ask for systemd"))
    }

    /// How cgroups are mounted, and where the caller sits in them.
    pub fn layout(&self) -> Result<&Layout> {
        if self.layout.get().is_none() {
            let _ = self.layout.set(Layout::probe()?);
        }
        self.layout
            .get()
            .ok_or_else(|| crate::error::Error::new("probe the cgroup layout"))
    }

    /// Number of the last capability that the kernel knows.
    pub fn last_capability(&self) -> u8 {
        *self
            .last_capability
            .get_or_init(crate::sys::caps::last_capability)
    }

    /// The caller's permitted capabilities, as a bit mask.
    pub fn capabilities(&self) -> u64 {
        *self
            .capabilities
            .get_or_init(|| crate::sys::caps::permitted().unwrap_or(0))
    }

    /// Whether we run without the host's root: as another user, or in a user namespace that
    /// does not map the whole host.
    pub fn is_rootless(&self) -> bool {
        *self
            .rootless
            .get_or_init(|| !nix::unistd::geteuid().is_root() || self.in_user_namespace())
    }

    /// Whether device nodes can be made: mknod is for the host's root alone, whatever
    /// `--rootless` says.
    pub fn can_make_nodes(&self) -> bool {
        self.capabilities() & MKNOD != 0 && !self.in_user_namespace()
    }

    fn in_user_namespace(&self) -> bool {
        *self.in_user_namespace.get_or_init(in_user_namespace)
    }

    /// Whether SELinux is on: its filesystem is known to the kernel only then.
    pub fn has_selinux(&self) -> bool {
        *self.selinux.get_or_init(|| {
            std::fs::read_to_string("/proc/filesystems")
                .is_ok_and(|list| list.lines().any(|line| line.ends_with("\tselinuxfs")))
        })
    }
}

/// Whether ids are mapped at all; the first user namespace maps each to itself.
pub fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| !map.split_whitespace().eq(["0", "0", "4294967295"]))
}
