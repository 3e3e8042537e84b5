//! `linux.netDevices`: network devices of the host move into the container.
//!
//! Done by the runtime, which has the rights on both sides, while init waits in its namespaces
//! and nothing runs there yet. A device at a time:
//! 1. its addresses are read, the permanent ones of global scope; before it goes down, since
//!    with that the kernel forgets those of IPv6;
//! 2. its new name is seen to be free, or found for a template such as `eth%d`: the kernel
//!    renames after it has moved, so that a refused name would strand the device inside;
//! 3. it goes down, so that nobody on the host meets it half moved, and moves under that name;
//!    MTU and hardware address go with it;
//! 4. inside it gets its addresses, and goes up.
//!
//! A container that ends gives physical devices back by the kernel's own doing, and virtual
//! ones end with it (config-linux.md, "Namespace Lifecycle and Container Termination"). A create
//! that fails is another matter: then they are put back where and as they were, but for routes
//! and addresses that are not permanent. One that is killed leaves them to the kernel, too.
//!
//! Others may live in a network namespace that is joined, and change what is in it meanwhile. What
//! they put in the place of a device must not come to the host in its stead, so a device is known
//! by the kernel's word of where it went, and that none of its number has left since.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;

use crate::error::{Error, Result, Step};
use crate::netlink::{Address, Change, Departures, Link, Refused, Route};
use crate::plan::NetDevice;

/// The kernel itself does not look much further for a free number.
const HIGHEST: u32 = 4096;

/// A network namespace, and a socket to change it with.
#[derive(Debug)]
struct Side {
    netns: OwnedFd,
    route: Route,
    departures: Departures,
}

/// A device on its way, or inside.
#[derive(Debug)]
struct Moved {
    plan: NetDevice,
    /// As it was on the host.
    link: Link,
    addresses: Vec<Address>,
    /// Its index inside; none while it is on the host.
    inside: Option<u32>,
}

/// What has been moved, to be put back unless create succeeds. Holds the container's namespace,
/// which otherwise ends with init.
#[derive(Debug)]
pub struct NetDevices {
    host: Side,
    container: Side,
    moved: Vec<Moved>,
}

/// Look for the devices before anything else is done.
pub fn check(plan: &[NetDevice]) -> Result<()> {
    plan.iter().try_for_each(|device| {
        nix::net::if_::if_nametoindex(device.host.as_str())
            .map(drop)
            .map_err(|errno| Refused::from(errno).missing(device))
    })
}

impl NetDevices {
    /// From the namespace of the runtime to that of process `init`.
    pub fn between_us_and(init: i32) -> Result<Self> {
        let netns = |process: &str| {
            let path = format!("/proc/{process}/ns/net");
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            open(path.as_str(), flags, Mode::empty()).step_on("open a network namespace", path)
        };
        let (ours, theirs) = (netns("self")?, netns(&init.to_string())?);
        let side = |netns| {
            let step = "open a routing socket";
            Ok(Side {
                netns,
                route: Route::open().step(step)?,
                departures: Departures::open().step(step)?,
            })
        };
        let host = side(ours)?;
        // A socket stays in the namespace that it was made in, so a short visit is enough.
        let enter = |side: &OwnedFd| setns(side.as_fd(), CloneFlags::CLONE_NEWNET);
        enter(&theirs).step("visit the container's network namespace")?;
        let container = side(theirs);
        enter(&host.netns).step("return to the host's network namespace")?;
        Ok(Self {
            host,
            container: container?,
            moved: Vec::new(),
        })
    }

    /// Move all of them, in order.
    pub fn move_in(&mut self, plan: &[NetDevice]) -> Result<()> {
        plan.iter().try_for_each(|device| self.move_one(device))
    }

    fn move_one(&mut self, plan: &NetDevice) -> Result<()> {
        let route = &self.host.route;
        let link = route.link(&plan.host).map_err(|no| no.missing(plan))?;
        let addresses = route
            .addresses(link.index)
            .map_err(|no| no.at(plan, "list the addresses"))?;
        let name = free_name(&self.container.route, plan)?;
        let mut moved = Moved {
            plan: plan.clone(),
            link,
            addresses,
            inside: None,
        };
        let done = self.carry(&mut moved, &name);
        // However far it got, it is put back when create fails.
        self.moved.push(moved);
        done
    }

    fn carry(&self, moved: &mut Moved, name: &str) -> Result<()> {
        let plan = &moved.plan;
        let (route, inside) = (&self.host.route, &self.container.route);
        let index = moved.link.index;
        set_up(route, index, false).map_err(|no| no.at(plan, "set the link down"))?;
        let change = Change {
            name: Some(name),
            netns: Some(self.container.netns.as_fd()),
            ..Change::default()
        };
        let lost = |no: Refused| no.at(plan, "see where it went");
        self.host.departures.forget().map_err(|e| lost(e.into()))?;
        let changed = route.change(index, &change);
        // It may have moved all the same, but not been renamed: somebody took the name meanwhile.
        moved.inside = last_seen(&self.host.departures, index).map_err(lost)?;
        changed.map_err(|no| no.at(plan, "move it to the container's network namespace"))?;
        let index = moved.inside.ok_or_else(|| {
            Refused::from(Errno::ENODEV).at(plan, "find it in the container's network namespace")
        })?;
        dress(inside, index, &moved.addresses)
            .and_then(|()| set_up(inside, index, true))
            .map_err(|no| no.at(plan, "set it up in the container's network namespace"))
    }

    /// Put back what has been moved. What cannot be is logged: there is an error already.
    pub fn put_back(&mut self) {
        while let Some(moved) = self.moved.pop() {
            if let Err(refused) = self.put_one_back(&moved) {
                let error = refused.at(&moved.plan, "put it back");
                log::warn!("undo: {error}");
            }
        }
    }

    fn put_one_back(&self, moved: &Moved) -> Result<(), Refused> {
        let route = &self.host.route;
        let index = match moved.inside {
            Some(inside) => self.fetch(inside, &moved.plan.host)?,
            None => moved.link.index,
        };
        if moved.inside.is_some() && moved.link.master != 0 {
            let change = Change {
                master: Some(moved.link.master),
                ..Change::default()
            };
            route.change(index, &change)?;
        }
        dress(route, index, &moved.addresses)?;
        set_up(route, index, moved.link.up)
    }

    /// Move the device `inside` back to the host, under this name. Gives its number there.
    fn fetch(&self, inside: u32, name: &str) -> Result<u32, Refused> {
        let departures = &self.container.departures;
        if !departures.of(inside)?.is_empty() {
            return Err(exchanged());
        }
        set_up(&self.container.route, inside, false)?;
        let change = Change {
            name: Some(name),
            netns: Some(self.host.netns.as_fd()),
            ..Change::default()
        };
        self.container.route.change(inside, &change)?;
        let index = last_seen(departures, inside)?.ok_or(Refused::from(Errno::ENODEV))?;
        // Exchanged between the two: it is down, and goes back.
        if departures.of(inside)?.len() != 1 {
            let change = Change {
                netns: Some(self.container.netns.as_fd()),
                ..Change::default()
            };
            self.host.route.change(index, &change)?;
            return Err(exchanged());
        }
        Ok(index)
    }
}

/// Where the last link that had this number went: its number there.
fn last_seen(departures: &Departures, index: u32) -> Result<Option<u32>, Refused> {
    let all = departures.of(index)?;
    Ok(all.last().and_then(|departure| departure.new_index))
}

fn exchanged() -> Refused {
    Refused {
        errno: Errno::ESTALE,
        reason: Some("somebody has moved or removed it in that network namespace".to_owned()),
    }
}

/// The name that the device will have inside: the planned one, which must be free there, or
/// the first that is free for a template.
fn free_name(route: &Route, plan: &NetDevice) -> Result<String> {
    let is_free = |name: &str| match route.link(name) {
        Ok(_) => Ok(false),
        Err(refused) if refused.errno == Errno::ENODEV => Ok(true),
        Err(refused) => Err(refused.at(plan, "look for its name inside")),
    };
    let Some((before, after)) = plan.name.split_once("%d") else {
        return match is_free(&plan.name)? {
            true => Ok(plan.name.clone()),
            false => Err(Refused::from(Errno::EEXIST).at(
                plan,
                &format!("give it the name {} in the container", plan.name),
            )),
        };
    };
    for number in 0..HIGHEST {
        let name = format!("{before}{number}{after}");
        if is_free(&name)? {
            return Ok(name);
        }
    }
    Err(Refused::from(Errno::ENFILE).at(plan, "find a free name in the container"))
}

/// Give the device its addresses. One that it still has is fine.
fn dress(route: &Route, index: u32, addresses: &[Address]) -> Result<(), Refused> {
    for address in addresses {
        match route.add_address(index, address) {
            Err(refused) if refused.errno == Errno::EEXIST => {}
            other => other?,
        }
    }
    Ok(())
}

fn set_up(route: &Route, index: u32, up: bool) -> Result<(), Refused> {
    let change = Change {
        up: Some(up),
        ..Change::default()
    };
    route.change(index, &change)
}

impl Refused {
    fn at(&self, device: &NetDevice, what: &str) -> Error {
        self.to_error(format!("move netDevice {}: {what}", device.host))
            .with_field(&device.field)
    }

    fn missing(&self, device: &NetDevice) -> Error {
        self.to_error(format!(
            "link not found for interface {} on runtime namespace",
            device.host
        ))
        .with_field(&device.field)
    }
}
