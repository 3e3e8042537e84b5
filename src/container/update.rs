//! `update`: other limits for a container that is there.
//!
//! The change is planned from what the state remembers, then written to the container's cgroup,
//! then to its resctrl group, and at last remembered. What fails takes back what came before
//! it, so that the limits and the state go on telling the same. A paused container stays
//! paused; the device rules are not touched, so that there is no moment without them.

use oci_spec::runtime::LinuxResources;

use super::id::ContainerId;
use super::status::Status;
use super::store::Store;
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::intel_rdt;
use crate::plan::{IntelRdt, cgroup};

/// What is to be changed.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Change {
    pub resources: LinuxResources,
    /// Lines for the schemata of the container's resctrl group.
    pub intel_rdt: Option<IntelRdt>,
}

/// The verb. JSON pointers of errors begin at the resources.
pub fn update(host: &Host, store: &Store, id: &ContainerId, change: &Change) -> Result<()> {
    let dir = store.open(id)?;
    let _lock = dir.lock_made()?;
    let mut state = dir.load()?;
    match Status::of(&state, &dir)? {
        Status::Created | Status::Running | Status::Paused => {}
        Status::Creating | Status::Stopped => return Err(Error::not_running()),
    }
    let layout = host.layout()?;
    let given = state.orlop.resources.as_ref();
    let mut warnings = Vec::new();
    let plan = cgroup::update::plan(given, &change.resources, layout, &mut warnings)?;
    let groups = change.intel_rdt.as_ref();
    let groups = groups
        .map(|rdt| intel_rdt::Change::find(rdt, &state.intel_rdt_path))
        .transpose()?;
    for warning in &warnings {
        log::warn!("{warning}");
    }

    let cgroup = Cgroup::open(&state.cgroup_paths);
    let limits = cgroup.update(&plan, layout)?;
    if let Some(unit) = &state.orlop.unit {
        // The kernel has taken them, so systemd may know. It writes what it is told in a rounder
        // form, so they are written once more.
        let told = unit.update(&plan.writes, layout.is_v2_only());
        if let Err(error) = told.and_then(|()| cgroup.update(&plan, layout).map(drop)) {
            limits.put_back();
            return Err(error);
        }
    }
    if let Some(groups) = &groups
        && let Err(error) = groups.make()
    {
        limits.put_back();
        return Err(error);
    }
    state.set_resources(plan.resources);
    dir.save(&state).inspect_err(|_| {
        if let Some(groups) = &groups {
            groups.put_back();
        }
        limits.put_back();
    })
}
