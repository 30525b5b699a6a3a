//! The bells of event loops: non-blocking eventfds, handed over in the hello.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use ipc_core::SetupError;
use rustix::event::EventfdFlags;

use crate::errno::setup_error;

/// A bell that has not been rung.
///
/// # Errors
/// `Limit` when there is no descriptor for it.
pub(crate) fn create() -> Result<Arc<OwnedFd>, SetupError> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map(Arc::new)
        .map_err(|error| setup_error("create", "an eventfd", error))
}

/// Whether writing to `fd` rings and never blocks: a pipe, say, could be full.
pub(crate) fn is_one(fd: &OwnedFd) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    // Without /proc the kernel still tells files, pipes and sockets (they have a type) from anonymous inodes (none).
    let anonymous = match link {
        Ok(name) => name.as_os_str() == "anon_inode:[eventfd]",
        Err(_) => rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_mode & 0o170_000 == 0),
    };
    anonymous && rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::NONBLOCK))
}
