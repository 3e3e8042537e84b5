//! Sysctls of the container's own namespaces.

use crate::error::Result;
use crate::plan::Sysctl;
use crate::procfs::ProcFs;

/// Write each to a private procfs: what the rootfs has at /proc/sys may be read-only by now,
/// or not a procfs at all.
pub fn apply(sysctls: &[Sysctl]) -> Result<()> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let procfs = ProcFs::open()?;
    for sysctl in sysctls {
        procfs
            .write(&format!("sys/{}", sysctl.path), &sysctl.value)
            .map_err(|error| error.within("set a sysctl").with_field(&sysctl.field))?;
    }
    Ok(())
}
