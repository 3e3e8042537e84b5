mod channel;
mod rootfs;
