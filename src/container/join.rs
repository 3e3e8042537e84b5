//! Namespaces that are joined by path: opened and looked at before anything is cloned, and
//! then entered in the one order that works.
//!
//! To join a namespace takes rights in the user namespace that owns it. The host's root has
//! them everywhere, but keeps them only until it enters another user namespace itself; a
//! caller without privileges gets them only by entering. So all are tried before the user
//! namespace, and what was refused is tried again after it. A middle process does this, since
//! the runtime could not come back; without a user or pid namespace in play init joins them
//! itself ([`Joins::need_middle`]).

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::error::{Error, Result, Step};
use crate::init::namespaces::{Opened, clone_flag, join};
use crate::plan::{JoinNamespace, NamespaceKind, Namespaces};
use crate::sys::namespace;

/// The namespaces of a plan that have a path, open.
pub struct Joins {
    user: Option<Opened>,
    /// In the order of the kinds.
    others: Vec<Opened>,
}

impl Joins {
    /// # Errors
    /// The path of an entry that cannot be opened, or is no namespace of its kind.
    pub fn open(plan: &Namespaces) -> Result<Self> {
        let mut joins = Self {
            user: None,
            others: Vec::with_capacity(plan.join.len()),
        };
        for entry in &plan.join {
            let opened =
                open(entry).map_err(|error| error.with_field(format!("{}/path", entry.field)))?;
            match entry.kind {
                NamespaceKind::User => joins.user = Some(opened),
                _ => joins.others.push(opened),
            }
        }
        Ok(joins)
    }

    /// The user namespace among them.
    pub fn user(&self) -> Option<BorrowedFd<'_>> {
        self.user.as_ref().map(|opened| opened.fd.as_fd())
    }

    /// A user namespace cannot be left again, nor a pid namespace joined but for a child; and
    /// from within a new user namespace those that the host's owns are out of reach.
    pub fn need_middle(&self, plan: &Namespaces) -> bool {
        self.user.is_some()
            || self.others.iter().any(|o| o.kind == NamespaceKind::Pid)
            || (plan.is_new(NamespaceKind::User) && !self.others.is_empty())
    }

    /// For init to join, where no middle process does it.
    pub fn into_others(self) -> Vec<Opened> {
        self.others
    }

    /// In the middle process: join them, and give what only the new user namespace of init may
    /// have the right to join.
    pub fn join(&mut self, new_user_namespace: bool) -> Result<Vec<Opened>> {
        let mut refused = Vec::new();
        for opened in self.others.drain(..) {
            match join(&opened) {
                Ok(()) => {}
                Err(error)
                    if error.errno() == Some(Errno::EPERM)
                        && (self.user.is_some() || new_user_namespace) =>
                {
                    refused.push(opened);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(user) = &self.user {
            join(user)?;
            for opened in refused.drain(..) {
                join(&opened)?;
            }
        }
        Ok(refused)
    }
}

fn open(entry: &JoinNamespace) -> Result<Opened> {
    let path = &entry.path;
    // Not to wait for the writer of a pipe that somebody put there.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open(path, flags, Mode::empty()).step_on("open a namespace", path)?;
    let name = entry.kind.name();
    match namespace::kind_of(fd.as_fd()) {
        Ok(kind) if kind == clone_flag(entry.kind) => Ok(Opened {
            kind: entry.kind,
            fd,
            join: entry.clone(),
        }),
        Ok(kind) => {
            let mut kinds = NamespaceKind::ALL.into_iter();
            let other = kinds.find(|k| clone_flag(*k) == kind);
            let other = other.map_or("unknown", NamespaceKind::name);
            let path = path.display();
            let problem = format!("{path} is a namespace of type {other}, not {name}");
            Err(Error::invalid(problem))
        }
        Err(_) => {
            let problem = format!("{} is not a namespace of type {name}", path.display());
            Err(Error::invalid(problem))
        }
    }
}
