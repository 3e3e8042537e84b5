//! The life of a container on the host: its directory, its state, and each verb as the steps
//! that the parent takes.
//!
//! `store` holds one directory a container below the root, with `state.json` in it (`state`);
//! `process` is the one way to look at and to signal a process of the host; `status` tells
//! from all of them what the container is doing now.

pub mod agent;
pub mod checkpoint;
mod checkpoint_mounts;
mod checks;
pub mod create;
mod criu_options;
pub mod delete;
mod descriptors;
pub mod events;
pub mod exec;
mod exec_process;
mod foreground;
pub mod id;
mod idmap;
mod idmapped;
mod join;
pub mod kill;
mod middle;
mod net_devices;
mod nodes;
pub mod notify;
pub mod options;
pub mod pause;
pub mod process;
mod publish;
pub mod restore;
pub mod run;
mod sources;
mod spawn;
pub mod start;
mod start_socket;
pub mod state;
pub mod status;
pub mod store;
mod swrk;
mod undo;
pub mod update;
