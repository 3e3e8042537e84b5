//! criu, the program that checkpoints and restores processes, as it is spoken to: protobuf
//! messages over a socket whose other end `criu swrk FD` inherits (criu's images/rpc.proto).
//!
//! `wire` is the encoding, `rpc` the few messages that are ours to send and read, `log` what
//! criu says of a failure in its log. The process is started and asked in `container::swrk`.
//!
//! There is a crate for this (rust-criu). It starts criu by itself and sends the request at
//! once, so that criu cannot be put into the container's cgroup and into a mount namespace of
//! its own before it begins, and the protobuf library that it brings is a good part of what our
//! whole binary may weigh. Of protobuf two kinds of fields are used here, numbers and bytes.

pub mod log;
pub mod rpc;
mod wire;
